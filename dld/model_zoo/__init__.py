"""Weights shipped with the package, and where they come from (index.json)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

__all__ = ["find_weights", "list_weights", "sha256_of"]

FOLDER = Path(__file__).parent


def list_weights() -> dict[str, dict]:
    """Entries of the index by name: file, sha256, what it is, how it was made, what it scores."""
    with open(FOLDER / "index.json", encoding="utf-8") as f:
        return json.load(f)


def sha256_of(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_weights(name: str) -> str:
    """Path of shipped weights, after their hash was compared with the index.

    Raises:
        KeyError: unknown name; the message lists the known ones.
        FileNotFoundError: the index names a file that is not there.
        ValueError: the file is not the one the index speaks of.
    """
    index = list_weights()
    if name not in index:
        raise KeyError(f"no shipped weights are called {name!r}; there are: {', '.join(sorted(index))}")
    path = FOLDER / index[name]["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: install the package again")
    found = sha256_of(path)
    if found != index[name]["sha256"]:
        raise ValueError(f"{path} has SHA-256 {found}, the index says {index[name]['sha256']}: install the package again")
    return str(path)
