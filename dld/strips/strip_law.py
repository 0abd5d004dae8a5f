"""What reading one strip costs, by its height and width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dld.strips.heights import FORMS, STRIP_ROWS

__all__ = ["StripLaw", "strip_laws"]


class StripLaw(NamedTuple):
    """FLOPs of a strip at one height: a + b W + c W^2 for W columns at 48 rows, and d for each column of padding.

    Padding are columns that an encoder adds inside to reach a multiple of `multiple` at this height.
    """

    rows: int
    constant: float
    linear: float
    square: float
    multiple: int = 1
    padded: float = 0.0

    def padding(self, widths: np.ndarray | float) -> np.ndarray:
        """Return the columns, at this height, that are added to strips of `widths` columns at 48 rows, int64."""
        return -FORMS[self.rows].columns(widths) % self.multiple

    def flops(self, widths: np.ndarray | float) -> np.ndarray:
        """Return the FLOPs of strips of `widths` columns at 48 rows, float64 of the same shape."""
        widths = np.asarray(widths, dtype=np.float64)
        own = self.constant + self.linear * widths + self.square * widths**2
        return own + self.padded * self.padding(widths)


def strip_laws(numbers: Mapping[str, Any]) -> dict[int, StripLaw]:
    """Return the law of each height from the numbers of a `dld.modeling.resolution.cost.SpotterCost` by name.

    Numbers that are not there are 0: tables of before know nothing of strips.
    """
    constant, linear, square = (float(numbers.get(f"strip_{part}", 0)) for part in ("constant", "linear", "square"))
    padded = {int(rows): (int(multiple), float(cost)) for rows, multiple, cost in numbers.get("padded_strips", ())}
    heights = [(STRIP_ROWS, constant, linear), *numbers.get("other_strips", ())]
    return {
        int(rows): StripLaw(int(rows), float(a), float(b), square, *padded.get(int(rows), (1, 0.0))) for rows, a, b in heights
    }
