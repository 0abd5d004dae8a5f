"""How many compiled layers oneDNN keeps; to be settled before its first one, so nothing here imports torch."""

from __future__ import annotations

import os

__all__ = ["CAPACITY", "keep_compiled_layers"]

CAPACITY = 16384
KEYS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")


def keep_compiled_layers() -> None:
    """Let oneDNN keep 16,384 compiled layers, not 1,024, unless the environment says how many.

    Torch compiles each layer for each shape of its input, in some tenths of a millisecond. Pictures of many sizes and batches
    of many strips have more shapes than 1,024 layers allow for, so that all are compiled again and again. Processes that are
    started from here inherit it.
    """
    if not any(key in os.environ for key in KEYS):
        os.environ[KEYS[0]] = str(CAPACITY)
