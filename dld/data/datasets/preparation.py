"""Turns an official release into our layout: images matched with their ground truth, checked, counted and written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dld.data.annotation import ImageAnnotation, write_annotations
from dld.data.datasets.archives import TextFormat
from dld.data.datasets.coco_text import read_coco_text
from dld.data.datasets.image_files import IMAGE_EXTENSIONS, image_size, link_or_copy, list_images, orient_points
from dld.data.repair import RepairCounts, refuse_crossed_outlines, repair_annotations

__all__ = ["Collection", "collect_coco_text", "collect_text_files", "few", "link_folder", "write_dataset"]


@dataclass
class Collection:
    """Images with their words, the file each image comes from, and remarks for the user."""

    images: list[ImageAnnotation] = field(default_factory=list)
    sources: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def part(self, image_ids: set[str]) -> Collection:
        """Return the images with these ids."""
        images = [image for image in self.images if image.image_id in image_ids]
        return Collection(images, {image.file_name: self.sources[image.file_name] for image in images})


def few(names: Sequence[str]) -> str:
    """List the first five names, and say how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _turn_upright(image: ImageAnnotation, orientation: int) -> None:
    for word in image.words:
        word.polygon = orient_points(word.polygon, orientation, image.width, image.height)


def _note_turned(turned: list[str], upright_pixels: bool) -> list[str]:
    if not turned:
        return []
    taken = "in the upright image" if upright_pixels else "in the pixels as stored, and turned with the image"
    other = "without" if upright_pixels else "with"
    return [
        f"{len(turned)} images carry an EXIF rotation ({few(turned)}); their polygons were taken to be {taken}. "
        f"If they lie beside the words, prepare again {other} --upright-pixels"
    ]


def collect_text_files(
    image_folders: list[Path],
    gt_folders: list[Path],
    text_format: TextFormat,
    allow_missing: bool = False,
    upright_pixels: bool = False,
) -> Collection:
    """Match every image with its ground-truth file and read both (of images the header only).

    Some images of ICDAR, MLT, Total-Text and CTW1500 carry an EXIF rotation, and their polygons were drawn without it,
    on the pixels as stored. We read images turned upright, so these polygons are turned with them.

    Args:
        image_folders, gt_folders: where the files lie, not below.
        text_format: reader and file names.
        allow_missing: leave out images without ground truth instead of refusing.
        upright_pixels: polygons were drawn on the image turned upright; leave them.

    Raises:
        FileNotFoundError: images without ground truth, or no images at all.
        ValueError: an unreadable image or a malformed line; names it.
    """
    paths = list_images(image_folders)
    if not paths:
        raise FileNotFoundError(f"no images in {', '.join(map(str, image_folders))}")
    found = {path: text_format.find(path.stem, gt_folders) for path in paths}
    missing = [path.name for path, gt in found.items() if gt is None]
    if len(missing) == len(paths) or (missing and not allow_missing):
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} images have no ground-truth file {' or '.join(text_format.names)} in "
            f"{', '.join(map(str, gt_folders))}: {few(missing)} (--allow-missing leaves such images out)"
        )
    collection, turned = Collection(), []
    for path, gt in tqdm(found.items(), desc="reading", unit="image", disable=None):
        if gt is None:
            continue
        width, height, orientation = image_size(path)
        image = ImageAnnotation(path.name, path.stem, width, height, text_format.parse(gt))
        if orientation != 1:
            turned.append(path.name)
            if not upright_pixels:
                _turn_upright(image, orientation)
        collection.images.append(image)
        collection.sources[path.name] = path
    read = set(found.values())
    beside = (path for folder in gt_folders for path in sorted(folder.iterdir()) if path not in read)
    unused = [p.name for p in beside if not p.name.startswith(".") and p.suffix.lower() not in IMAGE_EXTENSIONS]
    if missing:
        collection.notes.append(f"{len(missing)} images without ground truth left out: {few(missing)}")
    if unused:
        collection.notes.append(f"{len(unused)} files beside the ground truth belong to no image: {few(unused)}")
    collection.notes += _note_turned(turned, upright_pixels)
    return collection


def collect_coco_text(
    image_folders: list[Path], json_file: Path, allow_missing: bool = False, upright_pixels: bool = False
) -> Collection:
    """Read the training images of COCO-Text, sizes from the images. Arguments and errors are those of `collect_text_files`."""
    collection, turned, missing = Collection(), [], []
    for image in tqdm(read_coco_text(json_file, "train"), desc="reading", unit="image", disable=None):
        path = next((f / image.file_name for f in image_folders if (f / image.file_name).is_file()), None)
        if path is None:
            missing.append(image.file_name)
            continue
        image.width, image.height, orientation = image_size(path)
        if orientation != 1:
            turned.append(path.name)
            if not upright_pixels:
                _turn_upright(image, orientation)
        collection.images.append(image)
        collection.sources[image.file_name] = path
    if not collection.images or (missing and not allow_missing):
        raise FileNotFoundError(
            f"{len(missing)} images of {json_file} are not in {', '.join(map(str, image_folders))}: {few(missing)} "
            "(--allow-missing leaves them out)"
        )
    collection.notes += [f"{len(missing)} images are not there and left out: {few(missing)}"] if missing else []
    collection.notes += _note_turned(turned, upright_pixels)
    return collection


def write_dataset(folder: Path, name: str, collection: Collection) -> RepairCounts:
    """Write `folder/images/` (hard links, or copies) and, last, `folder/annotations.json`.

    Raises:
        ValueError: two images of one name without extension: they would share an id; or most outlines cross themselves.
    """
    counts = repair_annotations(collection.images)
    refuse_crossed_outlines(counts, name)
    for file_name, source in tqdm(collection.sources.items(), desc=f"linking {name}", unit="image", disable=None):
        link_or_copy(source, folder / "images" / file_name)
    write_annotations(folder / "annotations.json", collection.images, name)
    return counts


def link_folder(source: Path, target: Path) -> None:
    """Put a whole folder of images at `target` as a symbolic link: for data sets too large to touch file by file.

    Raises:
        FileExistsError: something else lies at `target`.
        OSError: the file system knows no symbolic links; says what to do.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        if target.resolve() == source.resolve():
            return
        if not target.is_symlink():
            raise FileExistsError(f"{target} exists and is not {source}: move it away")
        target.unlink()
    try:
        os.symlink(source.resolve(), target, target_is_directory=True)
    except OSError as error:
        raise OSError(f"cannot link {target} to {source} ({error}): move the folder there by hand") from error
