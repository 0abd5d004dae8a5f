"""Makes the polygons of annotations usable: repaired where they can be, don't-care where not, all of it counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import shapely

from dld.data.annotation import ImageAnnotation, TextAnnotation
from dld.structures.polygon import clip_polygon, polygon_box, repair_polygon, ring_of_four

__all__ = ["RepairCounts", "refuse_crossed_outlines", "repair_annotations"]


@dataclass
class RepairCounts:
    """What was met in a data set.

    Attributes:
        images, words: all of them.
        ignored: words that are don't-care in the end, for whatever reason.
        repaired: polygons replaced by the largest valid part of themselves.
        reordered: four corners whose edges crossed, put in the order around the word.
        unusable: polygons without any area (two points, a line), set to ignore with their box.
        outside: words that lie wholly outside their image, set to ignore.
        without_characters: words whose characters' corners did not fit their text, and were left out.
    """

    images: int = 0
    words: int = 0
    ignored: int = 0
    repaired: int = 0
    unusable: int = 0
    outside: int = 0
    reordered: int = 0
    without_characters: int = 0

    def __add__(self, other: RepairCounts) -> RepairCounts:
        return RepairCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def changed(self) -> int:
        """Words that differ from what the file said."""
        return self.repaired + self.unusable + self.outside + self.reordered

    def __str__(self) -> str:
        reordered = f"; {self.reordered} outlines of four corners crossed themselves and go around the word now"
        left_out = f"; characters of {self.without_characters} words did not fit their text and were left out"
        more = (reordered if self.reordered else "") + (left_out if self.without_characters else "")
        return (
            f"{self.images} images, {self.words} words of which {self.ignored} are don't-care; "
            f"{self.repaired} invalid polygons repaired, {self.unusable} without an area and {self.outside} outside "
            "their image set to don't-care" + more
        )


def _box_outline(points: np.ndarray) -> np.ndarray:
    """Return the upright box of the points, at least one pixel on each side, as four points."""
    x0, y0, x1, y1 = polygon_box(points)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _valid(words: Sequence[TextAnnotation]) -> np.ndarray:
    """Find words with a simple outline that has an area, bool (R,); all polygons in one call of shapely."""
    valid = np.zeros(len(words), dtype=bool)
    rows = [i for i, word in enumerate(words) if len(word.polygon) >= 3 and np.isfinite(word.polygon).all()]
    if rows:
        sizes = [len(words[i].polygon) for i in rows]
        coordinates = np.concatenate([words[i].polygon for i in rows])
        polygons = shapely.polygons(shapely.linearrings(coordinates, indices=np.repeat(np.arange(len(rows)), sizes)))
        valid[rows] = shapely.is_valid(polygons) & (shapely.area(polygons) > 0)
    return valid


def repair_annotations(images: Sequence[ImageAnnotation]) -> RepairCounts:
    """Repair the polygons of all words in place.

    Four corners whose edges cross are put in the order around the word. Any other polygon that crosses itself becomes the
    largest part of what `make_valid` gives; one without an area becomes its box, don't-care; a word outside the image stays
    where it is, don't-care. Polygons that reach over the border stay whole: the official scoring compares them so.

    Returns:
        the counts, for one line of report.
    """
    counts = RepairCounts(images=len(images))
    pairs = [(image, word) for image in images for word in image.words]
    valid = _valid([word for _, word in pairs])
    for (image, word), is_valid in zip(pairs, valid, strict=True):
        if not is_valid:
            repaired = repair_polygon(word.polygon)
            if repaired is None:
                counts.unusable += 1
                word.polygon, word.ignore = _box_outline(word.polygon), True
            else:
                ordered = ring_of_four(word.polygon) is not None
                counts.reordered += ordered
                counts.repaired += not ordered
                word.polygon = repaired
        x0, y0 = word.polygon.min(axis=0)
        x1, y1 = word.polygon.max(axis=0)
        inside = x0 >= 0 and y0 >= 0 and x1 <= image.width and y1 <= image.height
        if not inside and clip_polygon(word.polygon, image.width, image.height) is None:
            counts.outside += not word.ignore
            word.ignore = True
        counts.words += 1
        counts.ignored += word.ignore
    return counts


def refuse_crossed_outlines(counts: RepairCounts, where: str) -> None:
    """Raise ValueError where most outlines had to be repaired: their points are in another order than ours.

    Args:
        counts: of :func:`repair_annotations`.
        where: what the message names, a file or a data set.
    """
    if 2 * counts.repaired > counts.words:
        raise ValueError(
            f"{where}: the outlines of {counts.repaired} of {counts.words} words cross or touch themselves; their points must "
            "go around the word (top left, top right, bottom right, bottom left), not row by row"
        )
