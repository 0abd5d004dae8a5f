"""Which height of a strip is worth its cost: what a word of each height loses at it, against the price of computing.

R words, B = 7 classes of words by their height in the photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dld.strips.heights import FORMS, choose_rows
from dld.strips.strip_law import StripLaw

__all__ = ["HEIGHT_EDGES", "RowsPrice", "checked_shares", "height_class", "loss_table"]

# pixels of a word's height in the photo between its classes
HEIGHT_EDGES = (12.0, 16.0, 20.0, 28.0, 40.0, 64.0)


def height_class(heights: np.ndarray) -> np.ndarray:
    """Return the class of each height in pixels, int64 (R,), 0 for those below the first of `HEIGHT_EDGES`."""
    return np.searchsorted(HEIGHT_EDGES, np.asarray(heights, dtype=np.float64), side="right")


def loss_table(rows: Sequence[Sequence[float]]) -> dict[int, np.ndarray]:
    """Read MODEL.STRIPS.ROWS_LOSSES: for each height of strips its rows, then B losses, in words from 0 to 1.

    Raises:
        ValueError: an unknown height, one that comes twice, another number of losses, or one outside of 0 to 1.
    """
    table: dict[int, np.ndarray] = {}
    for numbers in rows:
        try:
            given = np.array(numbers, dtype=np.float64)
        except (TypeError, ValueError):
            given = np.empty(0)
        fits = given.shape == (len(HEIGHT_EDGES) + 2,) and given[0] in FORMS and int(given[0]) not in table
        if not (fits and ((given[1:] >= 0) & (given[1:] <= 1)).all()):
            raise ValueError(
                f"MODEL.STRIPS.ROWS_LOSSES must hold, once for each of {', '.join(map(str, FORMS))}, the rows and "
                f"{len(HEIGHT_EDGES) + 1} losses from 0 to 1, got {numbers}"
            )
        table[int(given[0])] = given[1:]
    return table


def checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """Return MODEL.STRIPS.HEIGHT_SHARES: B shares, or none.

    Raises:
        ValueError: another number of them, one below 0, or a sum that is not 1.
    """
    try:
        given = tuple(float(share) for share in shares)
    except (TypeError, ValueError):
        given = (-1.0,)
    if given and not (len(given) == len(HEIGHT_EDGES) + 1 and min(given) >= 0 and abs(sum(given) - 1) < 1e-3):
        raise ValueError(
            f"MODEL.STRIPS.HEIGHT_SHARES must be empty or {len(HEIGHT_EDGES) + 1} shares that add up to 1, got {list(shares)}"
        )
    return given


@dataclass(frozen=True)
class RowsPrice:
    """Chooses the height of each strip that costs least: expected words lost + price x FLOPs.

    It is how the resolution selector chooses scales (`dld.modeling.resolution.word_loss_selector`), word by word: what a word
    loses at a height does not depend on the other words, or on the scale at which it was found.

    Args:
        losses: of each height of strips, (B,): by how much a word is read less surely than at 48 rows.
        laws: of each height, what a strip costs.
        price: words to one FLOP.
    """

    losses: Mapping[int, np.ndarray]
    laws: Mapping[int, StripLaw]
    price: float

    def choose(self, heights: np.ndarray, widths: np.ndarray, rows: Sequence[int], enlarge: float) -> np.ndarray:
        """Choose among `rows` up to the height that :func:`~dld.strips.heights.choose_rows` gives.

        Args:
            heights: of words in pixels of the photo (R,).
            widths: columns of their strips at 48 rows (R,), padded.
            rows: heights to choose from, from the largest to the smallest; one without a loss or a law is only taken as
                that highest one.
            enlarge: see :func:`~dld.strips.heights.choose_rows`.

        Returns:
            int64 (R,), each one of `rows`; of equal ones the largest.
        """
        highest = choose_rows(heights, rows, enlarge)
        classes, widths = height_class(heights), np.asarray(widths, dtype=np.float64)
        best, least = highest, self._burden(highest, classes, widths)
        for row in rows:
            burden = self._burden(np.full_like(highest, row), classes, widths)
            better = (row < highest) & (burden < least)
            best, least = np.where(better, row, best), np.where(better, burden, least)
        return best

    def _burden(self, rows: np.ndarray, classes: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Return loss and priced cost of words (R,), nan at a height of which nothing is known."""
        burden = np.full(len(rows), np.nan)
        for row in np.unique(rows).tolist():
            if row in self.losses and row in self.laws:
                own = rows == row
                burden[own] = self.losses[row][classes[own]] + self.price * self.laws[row].flops(widths[own])
        return burden

    def expected_flops(self, shares: Sequence[float], width: int, rows: Sequence[int], enlarge: float) -> float:
        """Return the mean FLOPs of a word of `width` columns where words of each class have the shares (B,)."""
        edges = np.array([*HEIGHT_EDGES, 2 * HEIGHT_EDGES[-1]])
        chosen = self.choose(edges - 1e-3, np.full(len(edges), width), rows, enlarge)
        return float(np.asarray(shares) @ np.array([self.laws[int(row)].flops(width) for row in chosen]))
