"""Strips of a photo's outlines, and what was read in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dld.strips.collapsing import Characters
from dld.strips.cutting import PhotoPyramid, cut_strips, strip_widths, word_heights
from dld.strips.grouping import StripSize, padded_widths, strip_batches
from dld.strips.heights import choose_rows
from dld.strips.rows_price import RowsPrice
from dld.strips.rules import ReadingRules
from dld.strips.scoring import reading_score
from dld.strips.sides import GROW_HEIGHT, can_be_cut, sides_of_outlines, with_points

__all__ = ["OutlineReading", "PhotoStrip", "ReadStrips", "SideBySide", "read_strips", "strips_of"]

# pixels float32 (N, H, W, 3) -> the characters of each strip, whatever head read them; see `dld.strips.heights`
ReadStrips = Callable[[np.ndarray], Sequence[Characters]]
Batch = tuple[np.ndarray, np.ndarray]  # of `strip_batches`


class SideBySide(NamedTuple):
    """Reads several batches at once."""

    readers: int
    for_each: Callable[[Callable[[Batch], None], Iterable[Batch]], object]  # calls the first with each of the second


class PhotoStrip(NamedTuple):
    photo: int
    row: int  # the outline that it is of
    sides: np.ndarray  # (2, n, 2), it was cut between them
    pixels: np.ndarray  # uint8 (rows, columns, 3)
    width: int  # its columns at 48 rows
    size: StripSize
    grown: float = GROW_HEIGHT  # its sides lie so much farther apart than those of the word

    def turned(self) -> PhotoStrip:
        """Return the same strip upside down: its lower side, backwards, is then the upper one."""
        return self._replace(sides=self.sides[::-1, ::-1], pixels=np.ascontiguousarray(self.pixels[::-1, ::-1]))


class OutlineReading(NamedTuple):
    """What was read in one outline."""

    row: int
    outline: np.ndarray
    detection: float
    sure: float
    seen: Characters
    strip: PhotoStrip
    joined: bool = False

    def text(self, characters: Sequence[str]) -> str:
        return "".join(characters[i - 1] for i in self.seen.ids).strip()


def strips_of(
    n: int,
    pyramid: PhotoPyramid,
    outlines: Sequence[np.ndarray],
    rules: ReadingRules,
    given: Sequence[np.ndarray | None] | None = None,
    price: RowsPrice | None = None,
) -> tuple[list[PhotoStrip], int]:
    """Cut the strips of a photo, whose number is `n`.

    Args:
        outlines: polygons (P, 2) in pixels of the photo.
        given: of each outline its sides (2, n, 2) from the first letter to the last, if something knows them better than its
            shape does. None, and sides that no strip fits between (:func:`~dld.strips.sides.can_be_cut`): those of its shape.
        price: chooses the heights of strips by what they cost, too; None: the heights of the words choose.

    Returns:
        the strips (a tall outline whose sides were not given has two, one from either end), and how many outlines have none.
    """
    height, width = pyramid.levels[0].shape[:2]
    sides = sides_of_outlines(outlines)
    known = np.zeros(len(outlines), bool)
    for row, own in enumerate(given or ()):
        if own is not None and can_be_cut(own, (height, width)):
            sides.points[row], known[row] = with_points(own, sides.points.shape[2]), True
    inside = np.array(
        [
            bool(found) and (outline.max(0) > 0).all() and (outline.min(0) < (width, height)).all()
            for outline, found in zip(outlines, sides.found | known, strict=True)
        ],
        dtype=bool,
    )
    lying = np.flatnonzero(inside)
    tall = np.flatnonzero(inside & sides.tall & ~known)
    # read from the other end: the lower side backwards is the upper one
    points = np.concatenate([sides.points[lying], sides.points[tall][:, ::-1, ::-1]])
    heights = word_heights(points)
    widths = strip_widths(points, heights)
    padded = padded_widths(widths)
    if price is None:
        chosen = choose_rows(heights, rules.rows, rules.enlarge)
    else:
        chosen = price.choose(heights, padded, rules.rows, rules.enlarge)
    pixels = cut_strips(pyramid, points, chosen)
    sizes = [StripSize(int(h), int(w)) for h, w in zip(chosen, padded, strict=True)]
    of = [*lying.tolist(), *tall.tolist()]
    grown = np.where(known[of], 1.0, GROW_HEIGHT).tolist() if of else []
    strips = [PhotoStrip(n, *parts) for parts in zip(of, points, pixels, widths.tolist(), sizes, grown, strict=True)]
    return strips, len(outlines) - len(lying)


def read_strips(
    strips: Sequence[PhotoStrip], read: ReadStrips, side_by_side: SideBySide | None = None
) -> list[tuple[float, Characters]]:
    """Read strips in a few batches; return :func:`~dld.strips.scoring.reading_score` and characters of each, in their order.

    Args:
        side_by_side: None: one batch after another.
    """
    found: dict[int, tuple[float, Characters]] = {}

    def read_batch(batch: Batch) -> None:
        for i, seen in zip(batch[0].tolist(), read(batch[1]), strict=True):
            found[i] = (reading_score(seen.certainty), seen)

    readers = 1 if side_by_side is None else side_by_side.readers
    batches = strip_batches([strip.pixels for strip in strips], [strip.size for strip in strips], readers)
    if side_by_side is None:
        for batch in batches:
            read_batch(batch)
    else:
        side_by_side.for_each(read_batch, batches)
    return [found[i] for i in range(len(strips))]
