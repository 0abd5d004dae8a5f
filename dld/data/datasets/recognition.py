"""Which of the official kinds of ground truth some files are of, found out by reading them."""

from __future__ import annotations

from pathlib import Path

from dld.data.annotation import TextAnnotation
from dld.data.datasets.archives import FORMATS
from dld.data.datasets.image_files import list_images

__all__ = ["recognise_text_format"]

TRIED = 20  # files
# the strictest first: a line of ICDAR 2017-MLT is one of ICDAR 2015, too, and that one of ICDAR 2013
ORDER = ("totaltext", "ctw1500", "icdar2017_mlt", "icdar2015", "icdar2013")
LANGUAGES = frozenset("Arabic Latin Chinese Japanese Korean Bangla Hindi Symbols Mixed None".split())


def recognise_text_format(image_folders: list[Path], gt_folders: list[Path]) -> str | None:
    """Return the first name in `FORMATS` whose reader reads the ground truth of the first 20 images; None: none does.

    Args:
        image_folders, gt_folders: where the files lie, not below.
    """
    gt_folders = [path for path in gt_folders if path.is_dir()]
    stems = [path.stem for path in list_images(image_folders)]
    for name in ORDER:
        files = [path for stem in stems if (path := FORMATS[name].find(stem, gt_folders)) is not None][:TRIED]
        try:
            words = [word for path in files for word in FORMATS[name].parse(path)]
        except (ValueError, ImportError):  # ImportError: a .mat, without scipy
            continue
        if words and (name != "icdar2017_mlt" or all(map(_has_language, words))):
            return name
    return None


def _has_language(word: TextAnnotation) -> bool:
    return word.language in LANGUAGES
