"""Which words stand on end."""

from __future__ import annotations

import torch

__all__ = ["is_tall"]


def is_tall(boxes: torch.Tensor, ratio: float = 1.5) -> torch.Tensor:
    """Find words to be transposed before reading: box (R, 4) higher than `ratio` x its width. Return bool (R,)."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return height > ratio * width
