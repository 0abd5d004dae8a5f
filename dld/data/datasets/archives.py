"""Which folders the unpacked official archives hold, how their files are named, and what reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dld.data.annotation import TextAnnotation
from dld.data.datasets.ctw1500 import parse_ctw1500
from dld.data.datasets.icdar import parse_icdar2013, parse_icdar2015, parse_icdar2017_mlt
from dld.data.datasets.image_files import IMAGE_EXTENSIONS
from dld.data.datasets.total_text import parse_total_text

__all__ = ["ARCHIVES", "FORMATS", "Archive", "TextFormat", "find_file", "find_folders"]

SEARCH_DEPTH = 5


@dataclass(frozen=True)
class TextFormat:
    """A kind of ground-truth file: its reader, and its possible names for the image `{stem}`."""

    parse: Callable[[Path], list[TextAnnotation]]
    names: tuple[str, ...]

    def find(self, stem: str, folders: list[Path]) -> Path | None:
        """Return the ground-truth file of an image, or None."""
        candidates = (folder / name.format(stem=stem) for folder in folders for name in self.names)
        return next((path for path in candidates if path.is_file()), None)


@dataclass(frozen=True)
class Archive:
    """Where images and ground truth of a data set lie: ends of folder paths (`*` allowed), the usual one first.

    The first end under which something is found counts, with all folders it names.
    """

    format: str
    images: tuple[str, ...]
    gt: tuple[str, ...]


FORMATS = {
    "icdar2013": TextFormat(parse_icdar2013, ("gt_{stem}.txt", "{stem}.txt")),
    "icdar2015": TextFormat(parse_icdar2015, ("gt_{stem}.txt", "{stem}.txt")),
    "icdar2017_mlt": TextFormat(parse_icdar2017_mlt, ("gt_{stem}.txt", "{stem}.txt")),
    "totaltext": TextFormat(parse_total_text, ("poly_gt_{stem}.txt", "{stem}.txt", "poly_gt_{stem}.mat", "gt_{stem}.mat")),
    "ctw1500": TextFormat(parse_ctw1500, ("{stem}.xml", "000{stem}.txt", "{stem}.txt")),
}

_TOTAL_TEXT_TRAIN = Archive(
    "totaltext",
    images=("Images/Train", "totaltext/Train", "train_images"),
    gt=("gt/Train", "txt_format/Train", "Polygon/Train", "Text/Train", "Groundtruth*/Train", "train_gts", "Train"),
)

ARCHIVES = {
    "icdar2013_train": Archive(
        "icdar2013",
        images=("Challenge2_Training_Task12_Images", "ch2_training_images"),
        gt=("Challenge2_Training_Task1_GT", "ch2_training_localization_transcription_gt"),
    ),
    "icdar2013_test": Archive(
        "icdar2013",
        images=("Challenge2_Test_Task12_Images", "ch2_test_images"),
        gt=("Challenge2_Test_Task1_GT", "ch2_test_localization_transcription_gt"),
    ),
    "icdar2015_train": Archive(
        "icdar2015",
        images=("ch4_training_images",),
        gt=("ch4_training_localization_transcription_gt",),
    ),
    "icdar2015_val": Archive("icdar2015", images=(), gt=()),
    "icdar2015_test": Archive(
        "icdar2015",
        images=("ch4_test_images",),
        gt=("Challenge4_Test_Task4_GT", "Challenge4_Test_Task1_GT", "ch4_test_localization_transcription_gt"),
    ),
    "icdar2017_mlt_train": Archive(
        "icdar2017_mlt",
        images=("ch8_training_images*",),
        gt=("ch8_training_localization_transcription_gt_v2", "ch8_training_localization_transcription_gt*"),
    ),
    "totaltext_train": _TOTAL_TEXT_TRAIN,
    "totaltext_val": _TOTAL_TEXT_TRAIN,
    "totaltext_test": Archive(
        "totaltext",
        images=("Images/Test", "totaltext/Test", "test_images"),
        gt=("gt/Test", "txt_format/Test", "Polygon/Test", "Text/Test", "Groundtruth*/Test", "test_gts", "Test"),
    ),
    "ctw1500_train": Archive(
        "ctw1500",
        images=("ctw1500_train_images", "train_images", "train/text_image"),
        gt=("ctw1500_train_labels", "train_labels", "train/text_label_curve"),
    ),
    "ctw1500_test": Archive(
        "ctw1500",
        images=("ctw1500_test_images", "test_images", "test/text_image"),
        gt=("gt_ctw1500", "ctw1500_test_labels", "test_labels", "test/text_label_circum"),
    ),
    "cocotext_train": Archive("cocotext", images=("train2014",), gt=("cocotext*.json", "COCO_Text*.json")),
    "synthtext_train": Archive("synthtext", images=(), gt=("gt.mat",)),
}


def _walk(root: Path, depth: int = SEARCH_DEPTH) -> Iterator[Path]:
    """Yield `root` and the folders in it, nearest first, hidden ones left out."""
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [
            Path(entry.path)
            for folder in level
            for entry in sorted(os.scandir(folder), key=lambda e: e.name)
            if not entry.name.startswith((".", "__MACOSX")) and entry.is_dir()
        ]


def _matches(path: Path, root: Path, end: str) -> bool:
    # the name of the root itself counts: `--root ch4_training_images` works as the folder above it does
    return fnmatchcase("/" + str(path.relative_to(root.parent)).lower(), "*/" + end.lower())


def find_folders(root: Path, ends: tuple[str, ...], extensions: frozenset[str] = IMAGE_EXTENSIONS) -> list[Path]:
    """Return the folders below `root` whose path ends in the first of `ends` that occurs, and which hold files themselves.

    Args:
        root: where archives were unpacked; a folder of the same name inside one, as some archives make, is found too.
        ends: like "Images/Train" or "ch8_training_images*", upper and lower case alike.
        extensions: of the files to look for.
    """
    root = root.absolute()
    folders = list(_walk(root))
    for end in ends:
        found = [f for f in folders if _matches(f, root, end)]
        found = [f for f in found if any(p.suffix.lower() in extensions for p in f.iterdir())]
        if found:
            return found
    return []


def find_file(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first file below `root` with one of these names (`*` allowed, upper and lower case alike), or None."""
    folders = list(_walk(root.absolute()))
    for name in names:
        for folder in folders:
            for path in sorted(folder.iterdir()):
                if fnmatchcase(path.name.lower(), name.lower()) and path.is_file():
                    return path
    return None
