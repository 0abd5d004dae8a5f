"""Where the characters of words stand. R words, at most T characters of each."""

from __future__ import annotations

import numpy as np

__all__ = ["jittered_centers"]


def jittered_centers(corners: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Return the middles of characters, moved as found ones differ from annotated ones.

    Args:
        corners: (R, T, 4, 2), NaN where there is no character.
        amount: each coordinate moves by up to this share of the character's shortest side.

    Returns:
        float32 (R, T, 2), NaN where there is none.
    """
    edges = np.roll(corners, -1, axis=2) - corners
    shortest = np.hypot(edges[..., 0], edges[..., 1]).min(2)
    moves = rng.uniform(-amount, amount, (*corners.shape[:2], 2))
    return (corners.mean(2) + moves * shortest[..., None]).astype(np.float32)
