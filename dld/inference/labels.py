"""Turns a spotter's readings into labels to train on: the sure ones become words, the doubtful ones don't-care.

The *confidence* of a word is its score (`Word.score`) times the probabilities of all its characters: one wrong letter
makes a wrong label, however good the others are. A doubtful word is `ignore: true` in the labels, neither text nor
background, and keeps its reading for those who correct the file by hand. Training takes what the spotter missed for
background: so detections of low score are kept (`drop_below`), and images without any sure word are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dld.data.annotation import ImageAnnotation, TextAnnotation, is_plain_relative
from dld.data.datasets.image_files import image_size
from dld.data.repair import repair_annotations
from dld.structures.polygon import MOST_POINTS
from dld.structures.words import SpottingResult, Word

__all__ = ["LabelCounts", "confidence", "count_labels", "label_image", "relative_name"]


@dataclass
class LabelCounts:
    """What became of the readings.

    Attributes:
        images: in the labels.
        words, doubtful: of those images; doubtful ones are don't-care.
        unsure_images: left out, because no word on them is sure.
    """

    images: int = 0
    words: int = 0
    doubtful: int = 0
    unsure_images: int = 0

    def __str__(self) -> str:
        return (
            f"{self.images} images, {self.words} words and {self.doubtful} doubtful ones (ignore); "
            f"{self.unsure_images} images without a sure word left out"
        )


def confidence(word: Word) -> float:
    """Return the word's score times the probabilities of its characters, in [0, 1]; 0 where one of them is not finite."""
    value = float(word.score) * math.prod(word.char_scores)
    return value if math.isfinite(value) else 0.0


def label_image(result: SpottingResult, file_name: str, image_id: str, min_score: float) -> ImageAnnotation:
    """Turn the reading of one image into its annotation.

    Args:
        result: polygons in pixels of the upright image (EXIF orientation applied), as annotations have them, too.
        file_name: relative to the folder of images, "/" between folders.
        min_score: confidence from which a reading is a label.

    Returns:
        words in the order of the result, coordinates to a hundredth of a pixel. Outlines without an area, which no
        training could use, are don't-care boxes.
    """
    words = []
    for word in result.words:
        if len(word.polygon) < 3 or len(word.polygon) > MOST_POINTS or not np.isfinite(word.polygon).all():
            continue
        sure = bool(word.text.strip()) and confidence(word) >= min_score
        words.append(TextAnnotation(np.round(word.polygon.astype(np.float64), 2), word.text, ignore=not sure))
    image = ImageAnnotation(file_name, image_id, result.width, result.height, words)
    repair_annotations([image])
    return image


def relative_name(path: Path, folder: Path, size: tuple[int, int]) -> str:
    """Return the name of a picture in the labels, after a check that training will see it in the size it was read in.

    Args:
        path: the picture, in `folder` or deeper.
        size: width and height in pixels in which it was read.

    Raises:
        ValueError: a file that training could not name or would see in another size; names it.
    """
    name = path.relative_to(folder).as_posix()
    if not is_plain_relative(name):
        raise ValueError(f"{path}: the labels cannot hold this name, rename the file (no backslashes)")
    seen = image_size(path)[:2]
    if seen != size:
        raise ValueError(f"{path}: read at {size[0]} x {size[1]}, but training would see {seen[0]} x {seen[1]} pixels")
    return name


def count_labels(images: Iterable[ImageAnnotation], unsure_images: int) -> LabelCounts:
    """Count over the images that are kept."""
    counts = LabelCounts(unsure_images=unsure_images)
    for image in images:
        doubtful = sum(word.ignore for word in image.words)
        counts.images += 1
        counts.words += len(image.words) - doubtful
        counts.doubtful += doubtful
    return counts
