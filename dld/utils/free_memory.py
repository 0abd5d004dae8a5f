"""Memory that the allocator holds but nobody uses, given back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

__all__ = ["MemoryReturner", "return_free_memory"]


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library than glibc
        return None


def return_free_memory() -> bool:
    """Hand free pages of glibc's heap back to the system; takes some 40 ms after eight pictures.

    Returns:
        whether this system knows how.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
    return trim is not None


class MemoryReturner:
    """Calls :func:`return_free_memory` once for so many pictures.

    Activations of pictures of ever other sizes leave holes in the heap that later ones do not fit into: a process that
    needs one gigabyte comes to hold four.

    Args:
        every: pictures between two calls.
    """

    def __init__(self, every: int = 8) -> None:
        self.every, self._seen = every, 0

    def after(self, pictures: int) -> None:
        """Take note of pictures that were read."""
        self._seen += pictures
        if self._seen >= self.every:
            self._seen = 0
            return_free_memory()
