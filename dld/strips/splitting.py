"""Words of a strip that holds several: cut apart where the reader saw spaces.

A detector that saw few pixels takes neighbouring words for one. The reader sees the space between them, and in which of its
columns, so both words and their places are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dld.strips.collapsing import Characters
from dld.strips.heights import COLUMN, MARGIN
from dld.strips.sides import GROW_HEIGHT

__all__ = ["Piece", "outline_between", "pieces_of"]

# points on each side of a piece's outline
POINTS = 5


class Piece(NamedTuple):
    """A run of characters without a space."""

    first: int
    last: int  # one past the last character
    begin: float  # where it begins and ends along the word, 0 to 1
    end: float


def pieces_of(read: Characters, space: int | None, width: int) -> list[Piece]:
    """Find where the words of a strip stand.

    A word reaches half a character beyond the middles of its first and last characters, but not beyond the middle of the space;
    the outer words reach to the ends of the strip. A character is as wide as the median distance of two neighbours.

    Args:
        read: the characters of the strip.
        space: class of the space; None: the reader knows none, so all characters are one word.
        width: columns W_i of the strip at 48 rows, margins included, of which eight become one column of `read`.

    Returns:
        the words in their order. Spaces around all of them are left out; none of a strip that holds spaces alone.
    """
    spaces = np.zeros(len(read.ids), bool) if space is None else read.ids == space
    inside = np.flatnonzero(~spaces)
    if not len(inside):
        return []
    along = ((read.columns + 0.5) * COLUMN - MARGIN) / max(width - 2 * MARGIN, 1)
    starts = [inside[0], *(i for i in inside[1:] if spaces[i - 1])]
    stops = [*(i + 1 for i in inside[:-1] if spaces[i + 1]), inside[-1] + 1]
    neighbours = [along[i + 1] - along[i] for i in inside[:-1] if not spaces[i + 1]]
    # single characters between spaces have no neighbours: half of the distance across a space
    distances = neighbours or np.diff(along[inside]) / 2
    half = float(np.median(distances)) / 2 if len(distances) else 0.0
    pieces = []
    for first, last in zip(starts, stops, strict=True):
        begin = 0.0 if first == inside[0] else max(along[first] - half, along[first - 1])
        end = 1.0 if last == inside[-1] + 1 else min(along[last - 1] + half, along[last])
        pieces.append(Piece(int(first), int(last), float(np.clip(begin, 0, 1)), float(np.clip(end, 0, 1))))
    return pieces


def outline_between(
    sides: np.ndarray, begin: float, end: float, photo_size: Sequence[int], grown: float = GROW_HEIGHT
) -> np.ndarray:
    """Return the part of a word between two places along it, as high as its outline was.

    Args:
        sides: (2, n, 2), as the strip was cut between them.
        begin, end: 0 to 1, begin < end.
        photo_size: (H, W), beyond which nothing reaches.
        grown: so much farther apart than those of the word the sides lie.

    Returns:
        float64 (10, 2), clockwise where the word runs rightwards.
    """
    at = np.linspace(begin, end, POINTS) * (sides.shape[1] - 1)
    before = np.minimum(at.astype(int), sides.shape[1] - 2)
    share = (at - before)[:, None]
    upper, lower = sides[:, before] * (1 - share) + sides[:, before + 1] * share
    middle, half = (upper + lower) / 2, (lower - upper) / 2 / grown
    outline = np.concatenate([middle - half, (middle + half)[::-1]])
    return np.clip(outline, 0, np.array(photo_size[:2])[::-1])
