"""Chooses a device where the wanted one is not there."""

from __future__ import annotations

import torch

__all__ = ["present_device"]


def present_device(name: str) -> str:
    """Return the device of this name, or "cpu" for a GPU ("cuda", "cuda:1", ...) where torch sees none."""
    return "cpu" if name.startswith("cuda") and not torch.cuda.is_available() else name
