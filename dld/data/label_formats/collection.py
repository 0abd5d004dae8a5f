"""From label files to our layout: each image of the labels matched with its picture, sizes compared, all of it counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dld.data.annotation import ImageAnnotation, image_ids
from dld.data.datasets.image_files import image_size, list_images, orient_points
from dld.data.datasets.preparation import Collection, few
from dld.data.label_formats.entry import LabelledImage
from dld.data.label_formats.pictures import PictureFinder
from dld.data.label_formats.registry import read_labels

__all__ = ["collect_labels"]


def _where(image: LabelledImage) -> str:
    return f"{image.entry.file}: {image.entry.place}" if image.entry.place else str(image.entry.file)


def _annotation(image: LabelledImage, path: Path, name: str, turned: dict[str, list[str]]) -> ImageAnnotation:
    """Return the image with its picture's size; outlines drawn on the pixels as stored are turned upright.

    Raises:
        ValueError: an unreadable picture, or labels of a picture of another size.
    """
    width, height, orientation = image_size(path)
    stored = (height, width) if orientation >= 5 else (width, height)
    size = image.size or (width, height)  # the tools that do not write it show pictures upright
    if size not in ((width, height), stored):
        raise ValueError(f"{_where(image)}: labels of {size[0]} x {size[1]} pixels, but {path} has {width} x {height}")
    if orientation != 1:
        turned["upright" if size == (width, height) else "stored"].append(name)
    if size != (width, height):
        for word in image.words:
            word.polygon = orient_points(word.polygon, orientation, width, height)
            if word.characters is not None:
                corners = orient_points(word.characters.reshape(-1, 2), orientation, width, height)
                word.characters = corners.reshape(-1, 4, 2)
    return ImageAnnotation(name, "", width, height, image.words)


def collect_labels(
    paths: Sequence[Path], image_folders: Sequence[Path], name: str | None = None, allow_missing: bool = False
) -> tuple[str, Collection]:
    """Read label files and match every image in them with its picture.

    Pictures are found by `PictureFinder`. Their size says whether outlines were drawn on the picture
    turned upright by EXIF, as all of these tools show it, or on the pixels as stored.

    Args:
        paths: label files, or folders that are searched for them.
        image_folders: where pictures lie; file names are relative to these.
        name: of the format in `LABEL_FORMATS`; None: found out from the files.
        allow_missing: leave out images whose picture is not there, instead of refusing.

    Returns:
        the name of the format, and the images.

    Raises:
        FileNotFoundError: pictures that are not there.
        ValueError: labels that cannot be read, two for one picture, another size than the picture; names file and entry.
    """
    label_format, labels, others = read_labels(paths, name)
    finder, collection = PictureFinder(image_folders), Collection()
    turned: dict[str, list[str]] = {"upright": [], "stored": []}
    taken: dict[Path, LabelledImage] = {}
    missing = []
    for image in tqdm(labels.images, desc="reading", unit="image", disable=None):
        found = finder.find(image.name, image.entry.file)
        if found is None:
            missing.append(image)
            continue
        folder, inside = found
        path, file_name = folder / inside, inside.as_posix()
        if path in taken:
            raise ValueError(f"{_where(image)}: {path} has labels already in {_where(taken[path])}")
        if file_name in collection.sources:
            raise ValueError(f"{path} and {collection.sources[file_name]} have one name: rename one, or prepare them apart")
        taken[path] = image
        collection.images.append(_annotation(image, path, file_name, turned))
        collection.sources[file_name] = path
    if not collection.images or (missing and not allow_missing):
        first = f"; the first is {missing[0].name!r} ({_where(missing[0])})" if missing else ""
        raise FileNotFoundError(
            f"{len(missing)} of {len(labels.images)} pictures of the labels are not in "
            f"{', '.join(map(str, image_folders))}{first} (--allow-missing leaves such images out)"
        )
    ids = image_ids([image.file_name for image in collection.images])
    for annotation, image_id in zip(collection.images, ids, strict=True):
        annotation.image_id = image_id
    collection.notes += [f"{count} {message}" for message, count in labels.notes.items()]
    collection.notes += _notes([image.name for image in missing], others, turned)
    folders = [path for folder in image_folders for path in (folder, *folder.rglob("*")) if path.is_dir()]
    collection.notes += _doubts(collection, [path for path in list_images(folders) if path not in taken])
    return label_format.name, collection


def _notes(missing: list[str], others: list[Path], turned: dict[str, list[str]]) -> list[str]:
    notes = []
    if missing:
        notes.append(f"{len(missing)} images left out, their pictures are not there: {few(missing)}")
    if others:
        notes.append(f"{len(others)} files passed over that hold no such labels: {few([path.name for path in others])}")
    taken_to_be = {"upright": "in the upright image", "stored": "in the pixels as stored, and turned with the image"}
    for pixels, names in turned.items():
        if names:
            rotated = f"{len(names)} images carry an EXIF rotation ({few(names)})"
            notes.append(f"{rotated}; their polygons were taken to be {taken_to_be[pixels]}")
    return notes


def _doubts(collection: Collection, unlabelled: list[Path]) -> list[str]:
    """List what may be a misunderstanding rather than a state of the data."""
    notes = []
    if unlabelled:
        notes.append(f"{len(unlabelled)} pictures have no labels and are left out: {few([path.name for path in unlabelled])}")
    words = [word for image in collection.images for word in image.words]
    silent = sum(not word.text for word in words)
    if silent:
        notes.append(f"{silent} of {len(words)} words have no text: don't-care")
    return notes
