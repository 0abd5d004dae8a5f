"""Check labels, of an unpacked official release or your own, and write $DETECTRON2_DATASETS/NAME/{annotations.json,images/}.

Your own may come from labelme, CVAT, Label Studio, PPOCRLabel, MMOCR, AdelaiDet or a COCO json, or lie in files like those of a
public data set. The format is found out from the files where --format does not name it.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from dld.cli.command import run_command
from dld.data.datasets.archives import ARCHIVES, FORMATS, Archive, find_file, find_folders
from dld.data.datasets.builtin import datasets_root
from dld.data.datasets.preparation import (
    Collection,
    collect_coco_text,
    collect_text_files,
    link_folder,
    write_dataset,
)
from dld.data.datasets.recognition import recognise_text_format
from dld.data.datasets.synth_text import convert_synth_text
from dld.data.datasets.total_text import is_validation_image
from dld.data.label_formats.collection import collect_labels
from dld.data.label_formats.registry import LABEL_FORMATS, NoLabelsError

__all__ = ["add_arguments", "main", "run"]

EPILOG = """
examples:
  dld prepare icdar2015_train --root downloads/            (holds ch4_training_images/ and ch4_training_localization_...)
  dld prepare totaltext_train --root Total-Text/           (writes totaltext_train and totaltext_val)
  dld prepare icdar2015_val --images photos/ --gt labels/
  dld prepare my_signs --format icdar2015 --images photos/ --gt labels/ --output datasets/
  dld prepare my_signs --images photos/ --gt annotations.xml          (one of your own, its format found out)
  dld prepare my_signs --format labelme --root photos/                (a json beside each photo)
"""

TOTAL_TEXT_SPLIT = ("totaltext_train", "totaltext_val")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(ARCHIVES)}; any other name for your own")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the archives were unpacked; is searched")
    parser.add_argument("--images", type=Path, nargs="+", metavar="DIR", help="folder(s) of images, instead of --root")
    gt_help = "folder(s) of ground-truth files, or label files; COCO-Text's json, SynthText's gt.mat"
    parser.add_argument("--gt", type=Path, nargs="+", metavar="DIR", help=gt_help)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of all data sets, NAME/ is made in it ($DETECTRON2_DATASETS)"
    )
    parser.add_argument(
        "--format",
        choices=[*LABEL_FORMATS, *sorted(FORMATS)],
        help="of your own labels, by default found out: %(choices)s",
        metavar="FORMAT",
    )
    parser.add_argument("--allow-missing", action="store_true", help="leave out images without labels, labels without images")
    parser.add_argument(
        "--upright-pixels",
        action="store_true",
        help="polygons were drawn on images turned upright by EXIF (official sets: on the pixels as stored)",
    )


def _check_name(name: str) -> None:
    """Raise ValueError for a name that looks like that of a public data set and is none."""
    close = [] if name in ARCHIVES else difflib.get_close_matches(name, ARCHIVES, n=1, cutoff=0.8)
    if close:
        known = ", ".join(ARCHIVES)
        raise ValueError(
            f"unknown data set {name!r}: did you mean {close[0]}? known are {known}; one of your own needs --format"
        )


def _check_places(args: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for options that do not say where the files are."""
    if (args.images is None) != (args.gt is None) or (args.root is None) == (args.images is None):
        raise ValueError("give either --root DIR, or both --images DIR and --gt DIR")
    for path in [args.root] if args.root else [*args.images, *args.gt]:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    for path in [args.root] if args.root else args.images:
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is no folder")


def _locate(args: argparse.Namespace, archive: Archive) -> tuple[list[Path], list[Path]]:
    """Find folders of images, and folders (or the one file) of ground truth."""
    if args.root is None:
        return args.images, args.gt
    image_ends = (*archive.images, f"{args.name}/images")
    if archive.format in FORMATS:
        gt_ends = (*archive.gt, f"{args.name}/gt")
        gt = find_folders(args.root, gt_ends, frozenset({".txt", ".xml", ".mat"}))
    else:
        gt_ends = archive.gt
        file = find_file(args.root, gt_ends)
        gt = [file] if file else []
    if archive.format == "synthtext":
        image_ends, images = ("1 ... 200 beside gt.mat",), [gt[0].parent] if gt else []
    else:
        images = find_folders(args.root, image_ends)
    if not images or not gt:
        raise FileNotFoundError(
            f"{args.name} was not found below {args.root}: "
            f"{'found' if images else 'no'} images in folders named {', '.join(image_ends)}; "
            f"{'found' if gt else 'no'} ground truth in {', '.join(gt_ends)}. --images DIR --gt DIR name them directly"
        )
    return images, gt


def _parts(name: str, collection: Collection) -> dict[str, Collection]:
    """Divide one release into its data sets: Total-Text's training images become two."""
    if name not in TOTAL_TEXT_SPLIT:
        return {name: collection}
    held_out = {image.image_id for image in collection.images if is_validation_image(image.image_id)}
    rest = {image.image_id for image in collection.images} - held_out
    return {part: collection.part(ids) for part, ids in zip(TOTAL_TEXT_SPLIT, (rest, held_out), strict=True)}


def _collect_own(args: argparse.Namespace) -> tuple[str, Collection]:
    """Read a user's own labels; return the name of their format, and the labels.

    Raises:
        OSError, ValueError: as `run` does.
    """
    images, labels = ([args.root], [args.root]) if args.root else (args.images, args.gt)
    if args.format not in FORMATS:
        try:
            return collect_labels(labels, images, args.format, args.allow_missing)
        except NoLabelsError as error:
            own_format, gt = recognise_text_format(images, labels), labels
            if own_format is None:
                raise NoLabelsError(f"{error}, {', '.join(sorted(FORMATS))}") from None
    else:
        own_format = args.format
        images, gt = _locate(args, Archive(own_format, images=(), gt=()))
    return own_format, collect_text_files(images, gt, FORMATS[own_format], args.allow_missing, args.upright_pixels)


def _write(args: argparse.Namespace, parts: dict[str, Collection], notes: list[str]) -> None:
    output = args.output or datasets_root()
    for note in notes:
        print(f"note: {note}")
    for name, part in parts.items():
        print(f"{name}: {write_dataset(output / name, name, part)} -> {output / name}")


def run(args: argparse.Namespace) -> None:
    """Find the files, check them, write.

    Raises:
        OSError, ImportError, ValueError: naming the file and line or entry, or what was not found.
    """
    if args.format is None:
        _check_name(args.name)
    _check_places(args)
    if args.format is not None or args.name not in ARCHIVES:
        own_format, collection = _collect_own(args)
        print(f"format: {own_format}")
        _write(args, {args.name: collection}, collection.notes)
        return
    archive = ARCHIVES[args.name]
    images, gt = _locate(args, archive)
    print(f"images: {', '.join(map(str, images))}\nground truth: {', '.join(map(str, gt))}")
    if archive.format == "synthtext":
        folder = (args.output or datasets_root()) / args.name
        link_folder(images[0], folder / "images")
        print(f"{args.name}: {convert_synth_text(gt[0], images[0], folder)} -> {folder}")
        return
    if archive.format == "cocotext":
        collection = collect_coco_text(images, gt[0], args.allow_missing, args.upright_pixels)
    else:
        collection = collect_text_files(images, gt, FORMATS[archive.format], args.allow_missing, args.upright_pixels)
    _write(args, _parts(args.name, collection), collection.notes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld prepare", __doc__, EPILOG, add_arguments, run, argv)
