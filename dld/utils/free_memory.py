"""Gives memory that the allocator holds but nobody uses back to the system."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["MemoryReturner", "resident_memory", "return_free_memory"]


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library than glibc
        return None


def return_free_memory() -> bool:
    """Hand free pages of glibc's heap back to the system; takes some 40 ms for a gigabyte.

    Returns:
        whether this system can do so.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
    return trim is not None


def resident_memory() -> int:
    """Return the bytes of this process that are in memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class MemoryReturner:
    """Calls :func:`return_free_memory` when a process has grown far above what it needs.

    Activations of images of changing sizes leave holes in the heap that later ones do not fit into: a process that
    needs one gigabyte grows to four. Images of one size leave no holes, and then nothing is done.

    Args:
        share, most: allowed growth, as a share of what was resident after the last call, and in bytes; the smaller counts.
    """

    def __init__(self, share: float = 0.75, most: int = 1 << 30) -> None:
        self.share, self.most = share, most
        self._least = 0

    def look(self) -> None:
        """Compare with the last time; call it after every batch, it takes some microseconds."""
        resident = resident_memory()
        if resident > self._least + min(self.share * self._least, self.most) and return_free_memory():
            self._least = resident_memory()
