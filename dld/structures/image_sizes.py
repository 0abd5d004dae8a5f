"""Sizes of resized and padded images, and which images run together. Imports neither torch nor detectron2."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

__all__ = ["group_by", "group_by_scale", "padded_size", "photo_size", "scaled_size"]

Key = TypeVar("Key", bound=Hashable)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return pixels (H, W) of an unpadded image of `size` (H, W) resized by `scale`.

    Each side is side x scale rounded to the nearest whole number, halves up (Python's `round` takes them to the even
    neighbour, and a scale would treat 5 and 7 pixels differently), and at least 1.

    Raises:
        ValueError: `scale` is not a positive finite number.
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale must be positive, got {scale}")
    # the small term keeps products such as 0.35 x 10 = 3.4999999999999996 on the side they belong to
    height, width = (max(math.floor(side * scale + 0.5 + 1e-9), 1) for side in size)
    return height, width


def photo_size(short: int, longest: int) -> tuple[int, int]:
    """Return pixels (H, W) of a picture of 4:3 whose short side is `short`, its long side at most `longest`; 0: any."""
    if longest and short * 4 / 3 > longest:
        return round(longest * 3 / 4), longest
    return short, round(short * 4 / 3)


def padded_size(size: tuple[int, int], divisibility: int) -> tuple[int, int]:
    """Return pixels (H, W) of the batch that an image of `size` needs when it runs alone: each side up to the next multiple."""
    step = max(divisibility, 1)
    height, width = (-(-side // step) * step for side in size)
    return height, width


def group_by(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Group the positions of equal keys, in the order in which the keys first appear."""
    groups: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return groups


def group_by_scale(
    image_sizes: Sequence[tuple[int, int]], scales: Sequence[float], divisibility: int = 32
) -> dict[tuple[float, tuple[int, int]], list[int]]:
    """Group the positions of images that run together: same scale and same padded size (H, W) at that scale.

    Nothing is padded beyond what the image needs alone, so a batch costs what its images cost one by one, and the
    network sees the same pixels of every image.

    Args:
        image_sizes: unpadded (H, W) of N images at full resolution.
        scales: N scales.
    """
    sizes = [scaled_size(size, scale) for size, scale in zip(image_sizes, scales, strict=True)]
    return group_by([(scale, padded_size(size, divisibility)) for scale, size in zip(scales, sizes, strict=True)])
