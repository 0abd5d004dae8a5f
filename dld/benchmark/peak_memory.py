"""Reads the peak memory of this process (on Linux since a reset, elsewhere its highest ever) or of a GPU."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

__all__ = ["current_bytes", "peak_bytes", "reset_peak"]


def reset_peak(device: torch.device | str = "cpu") -> None:
    """Forget the peak so far, where that is possible: on Linux and on a GPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device | str = "cpu") -> int:
    """Return the most memory held since :func:`reset_peak`, in bytes."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def current_bytes(device: torch.device | str = "cpu") -> int:
    """Return the memory held now, in bytes; on a system without /proc the peak."""
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS") or peak_bytes(device)


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
