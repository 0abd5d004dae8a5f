"""Strips of many words as a few batches of one width each.

A word's padded width depends on its own strip alone, never on the words beside it: so it reads the same alone, in a photo of
hundred words, and in a batch of photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dld.strips.cutting import MARGIN, MOST_HEIGHTS, STRIP_ROWS, TEXT_ROWS

__all__ = ["PADDED_WIDTHS", "padded_widths", "strip_batches"]

# multiples of the network's stride of 8 columns; the last holds the longest strip there is
PADDED_WIDTHS = (96, 160, 256, 416, TEXT_ROWS * MOST_HEIGHTS + 2 * MARGIN)
# pixels of the largest batch: what bounds the memory of reading
_MOST_COLUMNS = 8192


def padded_widths(widths: np.ndarray | Sequence[int]) -> np.ndarray:
    """The padded width of each strip, int64: the smallest of `PADDED_WIDTHS` that holds it."""
    return np.array(PADDED_WIDTHS)[np.searchsorted(PADDED_WIDTHS, np.asarray(widths, dtype=np.int64))]


def strip_batches(strips: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The strips in batches of one padded width, as the network wants them.

    Args:
        strips: uint8 (48, W_i, 3), BGR.

    Yields:
        positions int64 (N,) in `strips`, and pixels float32 (N, 48, W, 3): x / 127.5 - 1, and 0 where a strip has ended.
    """
    padded = padded_widths([strip.shape[1] for strip in strips])
    for width in np.unique(padded):
        rows = np.flatnonzero(padded == width)
        most = max(_MOST_COLUMNS // int(width), 1)
        for first in range(0, len(rows), most):
            part = rows[first : first + most]
            pixels = np.zeros((len(part), STRIP_ROWS, width, 3), np.float32)
            for row, i in zip(pixels, part, strict=True):
                np.multiply(strips[i], np.float32(1 / 127.5), out=row[:, : strips[i].shape[1]], casting="unsafe")
                row[:, : strips[i].shape[1]] -= 1
            yield part, pixels
