"""Which scales and budgets a spotter accepts, and the mu of a budget. Imports neither torch nor detectron2."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["LARGEST_SCALE", "check_budget", "check_scale", "mu_of"]

# Above twice the teacher's resolution nothing was ever trained, and memory grows with the square.
LARGEST_SCALE = 2.0


def check_scale(scale: str | float) -> float | None:
    """Return None for "auto", else the scale as a float.

    Raises:
        ValueError: neither "auto" nor a number in (0, 2].
    """
    if isinstance(scale, str) and scale == "auto":
        return None
    try:
        value = float(scale)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value <= LARGEST_SCALE:
        raise ValueError(f'scale must be "auto" or a number above 0 and at most {LARGEST_SCALE:g}, got {scale!r}')
    return value


def check_budget(budget: float) -> float:
    """Return the budget as a float.

    Raises:
        ValueError: not a positive finite number.
    """
    try:
        value = float(budget)
    except (TypeError, ValueError):
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"budget must be a share of the teacher's cost above 0, such as 0.6, got {budget!r}")
    return value


def mu_of(table: Sequence[Sequence[float]], budget: float) -> float:
    """Return the stored mu whose mean cost on the calibration images is the largest that is at most `budget`.

    Raises:
        ValueError: the budget lies below the table; the message names its reach.
    """
    costs = [row[0] for row in table]
    fitting = [row for row in table if row[0] <= budget + 1e-9]
    if not fitting:
        raise ValueError(f"a budget of {budget:g} is below what these weights can do: {min(costs):.3g} to {max(costs):.3g}")
    return float(max(fitting, key=lambda row: row[0])[1])
