"""Rank correlation: do two quantities rise and fall together, whatever their units and curvature?"""

from collections.abc import Sequence

import numpy as np

__all__ = ["average_ranks", "spearman"]


def average_ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return ranks from 1 up, float64 (N,); equal values share the mean of their places."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float | None:
    """Compute Spearman's rho: Pearson's correlation of the ranks, in [-1, 1] (Spearman 1904, average ranks for ties).

    Args:
        a, b: (N,) each, paired.

    Returns:
        None where it is not defined: fewer than two pairs, or one side is constant.

    Raises:
        ValueError: different lengths, or a value that is not finite.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired values must be two lists of one length, got shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values that are not finite have no rank")
    if len(a) < 2:
        return None
    x, y = (ranks - ranks.mean() for ranks in (average_ranks(a), average_ranks(b)))
    scale = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / scale, -1, 1)) if scale > 0 else None
