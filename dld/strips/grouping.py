"""Strips of many words as a few batches of one width each.

A word's padded width depends on its own strip alone, never on the words beside it: so it reads the same alone, in a photo of
hundred words, and in a batch of photos.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dld.strips.cutting import MOST_HEIGHTS
from dld.strips.heights import FORMS, MARGIN, TEXT_ROWS

__all__ = ["PADDED_WIDTHS", "StripSize", "padded_widths", "strip_batches"]

# at 48 rows: multiples of the network's stride of 8 columns; the last holds the longest strip there is
PADDED_WIDTHS = (96, 160, 256, 416, TEXT_ROWS * MOST_HEIGHTS + 2 * MARGIN)
# pixels of the largest batch: what bounds the memory of reading
_MOST_COLUMNS = 8192


class StripSize(NamedTuple):
    """What reading a strip costs: its rows, and the columns that it would be padded to at 48 rows."""

    rows: int
    width: int


def padded_widths(widths: np.ndarray | Sequence[int]) -> np.ndarray:
    """Return the padded width of strips of 48 rows, int64: the smallest of `PADDED_WIDTHS` that holds each."""
    return np.array(PADDED_WIDTHS)[np.searchsorted(PADDED_WIDTHS, np.asarray(widths, dtype=np.int64))]


def strip_batches(
    strips: Sequence[np.ndarray], sizes: Sequence[StripSize], readers: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the strips in batches of one size, as the network wants them, those with most pixels first.

    Args:
        strips: uint8 (H_i, W_i, 3), BGR.
        sizes: of each.
        readers: how many read side by side: strips of one size are parted so that no batch is much more than one's share.

    Yields:
        positions int64 (N,) in `strips`, and pixels float32 (N, H, W, 3): x / 127.5 - 1, and 0 where a strip has ended.
    """
    columns = {size: int(FORMS[size.rows].columns(size.width)) for size in sizes}
    share = sum(size.rows * columns[size] for size in sizes) / readers
    batches: list[tuple[int, StripSize, np.ndarray]] = []
    for size in sorted(columns):
        alike = np.array([i for i, other in enumerate(sizes) if other == size])
        pixels_of_one = size.rows * columns[size]
        most = max(min(_MOST_COLUMNS // size.width, math.ceil(share / pixels_of_one)), 1)
        parts = np.array_split(alike, math.ceil(len(alike) / most))
        batches += [(len(part) * pixels_of_one, size, part) for part in parts]
    for _, size, part in sorted(batches, key=lambda batch: -batch[0]):
        pixels = np.zeros((len(part), size.rows, columns[size], 3), np.float32)
        for row, i in zip(pixels, part, strict=True):
            np.multiply(strips[i], np.float32(1 / 127.5), out=row[:, : strips[i].shape[1]], casting="unsafe")
            row[:, : strips[i].shape[1]] -= 1
        yield part, pixels
