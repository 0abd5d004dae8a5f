"""The heights at which strips are read, and which of them a word gets.

All heights of a strip have the same columns of text: a strip of W columns at 48 rows gives W / 8. So what a reader says of
them can be compared column by column, and a word's length never decides whether it fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np

__all__ = [
    "COLUMN",
    "FORMS",
    "LOW_ROWS",
    "MARGIN",
    "MOST_ENLARGED",
    "STRIP_ROWS",
    "TEXT_ROWS",
    "StripForm",
    "checked_rows",
    "choose_rows",
    "strip_graph",
]

STRIP_ROWS = 48
TEXT_ROWS, MARGIN = 40, 4  # of these rows: between the two sides, and above and below
# strips of at most this height are read by a network of their own, where there is one
LOW_ROWS = 24
# rows of text to a pixel of a word's height: beyond this a lower strip is read
MOST_ENLARGED = 2.0
# columns of a strip of 48 rows that become one column of the text
COLUMN = 8


class StripForm(NamedTuple):
    """How a strip is laid out at one height.

    Lower strips are narrower, but not by as much as they are lower: what is lost along a word costs most.
    """

    rows: int
    share: float  # its columns, as a share of those at 48 rows
    pooled: int  # columns of the network, 4 pixels each, that become one column of the text

    @property
    def text_rows(self) -> float:
        """Rows between the two sides of the word."""
        return TEXT_ROWS * self.rows / STRIP_ROWS

    def columns(self, widths: np.ndarray | int) -> np.ndarray:
        """Return the columns at this height, int64, of strips that have `widths` at 48 rows."""
        return np.maximum(np.rint(np.asarray(widths) * self.share), 1).astype(np.int64)


FORMS = {
    form.rows: form for form in (StripForm(48, 1.0, 2), StripForm(32, 1.0, 2), StripForm(24, 0.5, 1), StripForm(16, 0.5, 1))
}


def checked_rows(rows: Sequence[int], key: str = "MODEL.STRIPS.ROWS") -> tuple[int, ...]:
    """Return the heights from the largest to the smallest, each once.

    Args:
        key: of the configuration, that gave them.

    Raises:
        ValueError: none, or one that no form has.
    """
    if not len(rows) or not all(isinstance(r, Real) and r in FORMS for r in rows):
        raise ValueError(f"{key} must be of {', '.join(str(r) for r in FORMS)}, got {list(rows)}")
    return tuple(sorted({int(r) for r in rows}, reverse=True))


def choose_rows(heights: np.ndarray, rows: Sequence[int], enlarge: float) -> np.ndarray:
    """Choose the height at which each word is read: the largest that does not enlarge it more than `enlarge` times.

    Where all of them would, the smallest. What a photo does not show, more rows do not bring back; they only cost.

    Args:
        heights: of R words in pixels of the photo, (R,).
        rows: heights to choose from, from the largest to the smallest.
        enlarge: most rows of text to one pixel of the word's height.

    Returns:
        int64 (R,), each one of `rows`.
    """
    text = np.array([FORMS[r].text_rows for r in rows])
    fits = text[None] <= enlarge * np.asarray(heights, dtype=np.float64)[:, None]
    return np.array(rows)[np.where(fits.any(1), fits.argmax(1), len(rows) - 1)]


def strip_graph(rows: int) -> str:
    """Return the name of the graph that reads strips of so many rows."""
    return "strips" if rows == STRIP_ROWS else f"strips{rows}"
