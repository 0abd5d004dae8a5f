"""Puts the output folder of a run that was broken off in order before the run goes on."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

__all__ = ["cut_metrics", "periodic_checkpoints", "remove_unfinished", "tidy_run_folder"]

logger = logging.getLogger(__name__)

_UNFINISHED = re.compile(r".+\.(\d+)\.tmp")
_PERIODIC = re.compile(r"model_\d{7}\.pth")


def tidy_run_folder(folder: str, start: int) -> None:
    """Remove what a killed process left half written, and the log lines of iterations that will be done once more.

    Args:
        folder: OUTPUT_DIR.
        start: the iteration that the run goes on with.
    """
    remove_unfinished(folder)
    cut = cut_metrics(os.path.join(folder, "metrics.json"), start)
    if cut:
        logger.info("metrics.json: %d lines of iterations from %d on are written once more", cut, start)


def remove_unfinished(folder: str) -> list[str]:
    """Delete the temporary files of `atomic_write` whose process is gone; return their names."""
    removed = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        match = _UNFINISHED.fullmatch(entry.name)
        if match and entry.is_file() and not _is_running(int(match[1])):
            os.remove(entry.path)
            removed.append(entry.name)
    return removed


def cut_metrics(path: str, start: int) -> int:
    """Cut a file of json lines at the first that is broken off or belongs to an iteration from `start` on.

    In place: the writer of the run that goes on has the file open already, for appending.

    Returns:
        the number of lines that were cut off.
    """
    if not os.path.isfile(path):
        return 0
    lines = Path(path).read_bytes().splitlines(keepends=True)
    whole = 0
    for number, line in enumerate(lines):
        if not _is_before(line, start):
            os.truncate(path, whole)
            return len(lines) - number
        whole += len(line)
    return 0


def periodic_checkpoints(folder: str) -> list[str]:
    """List the `model_0000123.pth` of a folder, oldest first; only the latest few of them are kept."""
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if _PERIODIC.fullmatch(name)]


def _is_before(line: bytes, start: int) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["iteration"] < start
    except (ValueError, KeyError, TypeError):
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # not ours, or no process at all
        return True
    return True
