"""Keeps measurements of single images on disk, so that an interrupted or extended study goes on where it stopped.

Each model and scale has one file of json lines: first what was measured, then one image a line. The name of the file
holds a hash of everything that decides the result; delete the folder after a change of the model's code.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dld.utils.atomic_write import atomic_write_text

__all__ = ["MeasurementCache", "file_label", "fingerprint"]

logger = logging.getLogger(__name__)


def fingerprint(values: Any) -> str:
    """Return the hexadecimal SHA-256 of json types; equal values give equal fingerprints in any order of their keys."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_label(name: str) -> str:
    """Turn a name into a part of a file name: letters, digits, `.`, `_` and `-` stay."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


class MeasurementCache:
    """What was measured under one key: image index -> json types.

    Args:
        folder: created if missing.
        label: begins the file name, for people.
        key: json types that decide the result.

    A line that was cut off by an interruption is dropped, with those after it.
    """

    def __init__(self, folder: str | os.PathLike, label: str, key: Mapping[str, Any]) -> None:
        self.path = Path(folder) / f"{file_label(label)}_{fingerprint(key)[:16]}.jsonl"
        self.key = dict(key)
        self._entries: dict[int, Any] = {}
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = []
        for line in lines:
            try:
                values = json.loads(line) if line.endswith("\n") else None
            except json.JSONDecodeError:
                values = None
            if values is None:
                logger.warning("%s: an interrupted line is measured again", self.path)
                break
            whole.append(line)
            if "index" in values:
                self._entries[values.pop("index")] = values
        if len(whole) < len(lines):
            atomic_write_text(self.path, "".join(whole))

    def __contains__(self, index: int) -> bool:
        return index in self._entries

    def __getitem__(self, index: int) -> Any:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, index: int, values: Mapping[str, Any]) -> None:
        """Keep the measurement of an image; on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists() or self.path.stat().st_size == 0
        with open(self.path, "a", encoding="utf-8") as file:
            if new:
                file.write(json.dumps({"key": self.key}, ensure_ascii=False, default=str) + "\n")
            file.write(json.dumps({"index": index, **values}, ensure_ascii=False, allow_nan=False) + "\n")
        self._entries[index] = dict(values)
