"""Decides when memory that the allocator holds but nobody uses goes back to the system."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["MemoryReturner", "keep_free_memory", "resident_memory", "return_free_memory"]

# of glibc's malloc.h: how much at the end of the heap is given back, and how large a block must be to get pages of its own
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_IN_HEAP = 32 << 20  # glibc allows no more


@functools.cache
def _glibc(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):  # another C library than glibc
        return None


def keep_free_memory(most: int = 1 << 30) -> bool:
    """Let glibc's heap keep up to `most` bytes that are free at its end, and hold blocks of up to 32 MiB.

    By default it gives them back at once, so that large tensors are made of new pages again and again: 40,000 page faults for a
    photo of `teacher_tiny`, for which several threads wait for each other. :class:`MemoryReturner` bounds what is kept.
    Settings of malloc in the environment (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`) go first.

    Returns:
        whether it was set.
    """
    set_option = _glibc("mallopt")
    told = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ)
    if set_option is None or told or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    return bool(set_option(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP) and set_option(_M_TRIM_THRESHOLD, most))


def return_free_memory() -> bool:
    """Hand free pages of glibc's heap back to the system; takes some 40 ms for a gigabyte.

    Returns:
        whether this system can do so.
    """
    trim = _glibc("malloc_trim")
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
