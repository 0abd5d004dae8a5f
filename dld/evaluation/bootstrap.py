"""How sure an H-mean is: paired bootstrap over images, from the counts of each image.

One resampling draws as many images as there are, with replacement, and pools their counts as the score itself does.
Compared systems are drawn on the same images, so that what all of them find easy or hard cancels out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Interval",
    "draw_sums",
    "hmean_interval",
    "hmean_of",
    "paired_difference_interval",
    "percentile_interval",
]

_DRAWS_AT_ONCE = 256


@dataclass(frozen=True)
class Interval:
    """A fraction (or a difference of fractions) and the two ends of its interval."""

    value: float
    low: float
    high: float


def hmean_interval(
    counts: Sequence[Sequence[int]] | np.ndarray, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> Interval:
    """Compute the percentile interval of the pooled H-mean.

    Args:
        counts: (N, 3) for each image: matched, detections, words.
        level: probability that the interval is to cover, in (0, 1).
        samples: number of resamplings.
        seed: of the draws; equal seeds give equal intervals.
    """
    table = _table(counts, "counts")
    return percentile_interval(hmean_of(table.sum(axis=0)), hmean_of(draw_sums(table, samples, seed)), level)


def paired_difference_interval(
    counts_a: Sequence[Sequence[int]] | np.ndarray,
    counts_b: Sequence[Sequence[int]] | np.ndarray,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Compute the percentile interval of H-mean(a) - H-mean(b), both (N, 3) over the same images in the same order.

    Raises:
        ValueError: different numbers of images.
    """
    a, b = _table(counts_a, "counts_a"), _table(counts_b, "counts_b")
    if len(a) != len(b):
        raise ValueError(f"paired counts must be of the same images, got {len(a)} and {len(b)}")
    drawn = draw_sums(np.concatenate([a, b], axis=1), samples, seed)
    value = hmean_of(a.sum(axis=0)) - hmean_of(b.sum(axis=0))
    return percentile_interval(value, hmean_of(drawn[:, :3]) - hmean_of(drawn[:, 3:]), level)


def _table(counts: Sequence[Sequence[int]] | np.ndarray, name: str) -> np.ndarray:
    table = np.asarray(counts, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != 3 or not len(table):
        raise ValueError(f"{name} must be (N, 3) with N >= 1: matched, detections, words; got shape {table.shape}")
    return table


def draw_sums(table: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Sum the rows of `table` (N, C) over `samples` drawings of N images with replacement; return (samples, C)."""
    generator = np.random.default_rng(seed)
    images = len(table)
    sums = []
    for start in range(0, samples, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, samples - start)
        weights = generator.multinomial(images, np.full(images, 1 / images), size=size)  # (size, N)
        sums.append(weights @ table)
    return np.concatenate(sums)


def hmean_of(sums: np.ndarray) -> np.ndarray:
    """Compute H-means (...) of pooled counts (..., 3): matched, detections, words; 0 without any detection or word."""
    # 2PR / (P + R) with P = m/d and R = m/w is 2m / (d + w).
    matched, detections, words = (sums[..., index] for index in range(3))
    return 2 * matched / np.maximum(detections + words, 1)


def percentile_interval(value: np.ndarray, drawn: np.ndarray, level: float) -> Interval:
    """Return the middle `level` of the drawn values, around a value."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))
