"""Weights shipped with the package, and where they come from (index.json; the model card is README.md)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

__all__ = ["UnknownWeightsError", "describe_weights", "find_weights", "list_readers", "list_weights", "sha256_of"]

FOLDER = Path(__file__).parent


class UnknownWeightsError(KeyError):
    """No weights of this name are shipped; prints as its message, where a KeyError prints its lines as one."""

    def __str__(self) -> str:
        return str(self.args[0])


def list_weights() -> dict[str, dict]:
    """Entries of the index by name.

    Each has `what`, `file`, `sha256`, `bytes`, `parameters`, `training_data`, `words_seen`, `licence`, `scores`, `charset`
    and `config`; :mod:`dld.model_zoo.index` says what is in them.
    """
    with open(FOLDER / "index.json", encoding="utf-8") as f:
        return json.load(f)


def list_readers() -> dict[str, dict]:
    """Entries of readers.json by name: readers of strips, which no spotter is. Each has what, file, sha256, origin, licence."""
    path = FOLDER / "readers.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def describe_weights(index: dict[str, dict]) -> str:
    """One line for each entry: name, what it is, its size."""
    width = max(map(len, index), default=0)
    lines = []
    for name, entry in sorted(index.items()):
        size = f" ({entry['bytes'] / 1e6:.1f} MB)" if "bytes" in entry else ""
        lines.append(f"  {name:<{width}}  {entry.get('what', '')}{size}".rstrip())
    return "\n".join(lines)


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
        UnknownWeightsError: a KeyError; the message lists the known names, a line each.
        FileNotFoundError: the index names a file that is not there.
        ValueError: the file is not the one the index speaks of.
    """
    index = {**list_readers(), **list_weights()}
    if name not in index:
        index = list_weights()
        names = ", ".join(sorted(index))
        raise UnknownWeightsError(f"no shipped weights are called {name!r}; there are: {names}\n{describe_weights(index)}")
    path = FOLDER / index[name]["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: install the package again")
    found = sha256_of(path)
    if found != index[name]["sha256"]:
        raise ValueError(f"{path} has SHA-256 {found}, the index says {index[name]['sha256']}: install the package again")
    return str(path)
