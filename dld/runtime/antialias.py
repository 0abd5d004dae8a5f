"""Antialiased bilinear resize in numpy, equal to torch's `interpolate(..., antialias=True)`."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["resize_antialiased", "triangle_weights"]


def triangle_weights(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which samples make each resized one, and with which weight.

    The triangle is as wide as one sample of the coarser side; at the border it is cut and its weights again sum to 1.

    Returns:
        index int64 and weights float32, (taps, after) each.
    """
    # places rounded to single precision, as in torch: differences shrink from 4e-6 to the last digit
    step = float(np.float32(before / after))
    reach = max(step, 1.0)
    centre = ((np.arange(after) + 0.5) * step).astype(np.float32).astype(np.float64)
    first = np.floor(centre - reach + 0.5)
    index = first + np.arange(2 * math.ceil(reach) + 1)[:, None]
    weights = np.clip(1 - np.abs(index + 0.5 - centre) / reach, 0, None)
    weights[(index < 0) | (index >= before)] = 0
    index = index.clip(0, before - 1).astype(np.int64)
    return index, (weights / weights.sum(0)).astype(np.float32)


def resize_antialiased(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize float32 (C, H, W) to `size` (H', W'); return the same array where the size stays."""
    if image.shape[1:] == tuple(size):
        return image
    index, weights = triangle_weights(image.shape[2], size[1])
    image = sum(image[:, :, i] * w for i, w in zip(index, weights, strict=True))
    index, weights = triangle_weights(image.shape[1], size[0])
    return sum(image[:, i] * w[:, None] for i, w in zip(index, weights, strict=True))
