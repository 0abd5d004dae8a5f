"""How much better a method is than a baseline of the same cost, where the baseline was measured at other costs."""

from collections.abc import Sequence

import numpy as np

from dld.evaluation.bootstrap import Interval, draw_sums, hmean_of, percentile_interval

__all__ = ["gain_over_curve"]


def gain_over_curve(
    counts: Sequence[Sequence[int]],
    cost: Sequence[float],
    curve_counts: Sequence[Sequence[Sequence[int]]],
    curve_costs: Sequence[Sequence[float]],
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Compute the H-mean minus that of the baseline's curve at the same mean cost, on the same images.

    The curve is linear between its points. Images are drawn anew for method and baseline alike, with their costs.

    Args:
        counts: (N, 3) of the method for each image: matched, detections, words.
        cost: (N,) of the method, in any unit.
        curve_counts: (K, N, 3) of the baseline at its K costs.
        curve_costs: (K, N), K >= 2 points of different mean cost.

    Returns:
        the gain with its percentile interval; None where the mean cost lies outside the curve.

    Raises:
        ValueError: other numbers of images, or fewer than two points.
    """
    own, costs = np.asarray(counts, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    curve, curve_cost = np.asarray(curve_counts, dtype=np.float64), np.asarray(curve_costs, dtype=np.float64)
    N, K = len(own), len(curve)
    if K < 2:
        raise ValueError(f"a curve needs two points or more, got {K}")
    if own.shape != (N, 3) or costs.shape != (N,) or curve.shape != (K, N, 3) or curve_cost.shape != (K, N):
        raise ValueError(
            f"counts {own.shape}, cost {costs.shape}, curve {curve.shape} and its costs {curve_cost.shape} do not fit together"
        )
    order = np.argsort(curve_cost.mean(1))
    curve, curve_cost = curve[order], curve_cost[order]
    if not curve_cost[0].mean() <= costs.mean() <= curve_cost[-1].mean():
        return None
    table = np.concatenate([own, costs[:, None], curve.transpose(1, 0, 2).reshape(N, 3 * K), curve_cost.T], 1)

    def gain(sums: np.ndarray) -> np.ndarray:
        """Compute the gain from sums over images (..., 4 + 4 K)."""
        rows = sums.reshape(-1, 4 + 4 * K)
        baseline = hmean_of(rows[:, 4 : 4 + 3 * K].reshape(-1, K, 3))
        # sums of costs stand for means: both have the same number of images
        expected = [np.interp(row[3], row[4 + 3 * K :], hmeans) for row, hmeans in zip(rows, baseline, strict=True)]
        return hmean_of(rows[:, :3]) - np.array(expected)

    return percentile_interval(gain(table.sum(0))[0], gain(draw_sums(table, samples, seed)), level)
