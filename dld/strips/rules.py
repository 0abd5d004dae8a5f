"""The rules by which words are read from strips: what `MODEL.STRIPS` and an exported folder say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dld.strips.heights import MOST_ENLARGED, STRIP_ROWS, checked_rows

__all__ = ["ReadingRules"]


@dataclass(frozen=True)
class ReadingRules:
    """How the outlines of a photo become words.

    Attributes:
        min_score: words of a lower :func:`~dld.strips.scoring.word_score` are left out; with 0 even outlines without a readable
            character stay.
        split: cut an outline apart where the reader saw spaces: several words, each with its part of the outline.
        join: read outlines that overlap end to end along both, and take them for one word where this is what is read
            (:mod:`dld.strips.joining`).
        rows, enlarge: heights of strips to choose from, in any order, see :func:`~dld.strips.heights.choose_rows`.
        turn_below: words that are read less surely (:func:`~dld.strips.scoring.reading_score`) may stand on their heads: they
            are read from the other end, too, and the surer reading counts.

    Raises:
        ValueError: no heights, or one that strips do not have.
    """

    min_score: float = 0.0
    split: bool = True
    join: bool = True
    rows: Sequence[int] = (STRIP_ROWS,)
    enlarge: float = MOST_ENLARGED
    turn_below: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", checked_rows(self.rows))
