"""Which words stand on end, and in what form of a view words fit."""

from __future__ import annotations

import torch

__all__ = ["LYING", "SQUARE", "STANDING", "is_tall", "view_forms"]

# forms of views: wide, high, as wide as high
LYING, STANDING, SQUARE = range(3)


def is_tall(boxes: torch.Tensor, ratio: float = 1.5) -> torch.Tensor:
    """Find words to be transposed before reading: box (R, 4) higher than `ratio` x its width. Return bool (R,)."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return height > ratio * width


def view_forms(boxes: torch.Tensor, ratio: float = 2.0) -> torch.Tensor:
    """Choose the form in which words are looked at as they stand.

    A box (R, 4) wider than `ratio` x its height is `LYING`, one higher than `ratio` x its width `STANDING`, any other `SQUARE`.
    Return int64 (R,).
    """
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    form = torch.full((len(boxes),), SQUARE, dtype=torch.int64, device=boxes.device)
    return form.masked_fill(width > ratio * height, LYING).masked_fill(height > ratio * width, STANDING)
