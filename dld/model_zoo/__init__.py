"""Weights shipped with the package, and where they come from (index.json; the model card is README.md)."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "PREFIX",
    "UnknownWeightsError",
    "describe_weights",
    "find_weights",
    "list_readers",
    "list_weights",
    "sha256_of",
    "variant_id",
    "variant_options",
    "weights_address",
    "weights_id",
    "with_variants",
]

FOLDER = Path(__file__).parent
PREFIX = "dld://"


class UnknownWeightsError(KeyError):
    """No weights of this name are shipped. The message is one line; a note under a traceback describes the known ones."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show it in quotes


def list_weights() -> dict[str, dict]:
    """Return the entries of the index by name.

    Each has `what`, `file`, `sha256`, `bytes`, `parameters`, `training_data`, `words_seen`, `licence`, `scores`, `charset`
    and `config`; :mod:`dld.model_zoo.index` says what is in them. A variant has `of` and `options` as well, and its file is
    that of the weights that it is a variant of.

    Raises:
        ValueError: the index has a variant of what it does not have.
    """
    with open(FOLDER / "index.json", encoding="utf-8") as f:
        return with_variants(json.load(f))


def with_variants(index: Mapping[str, Mapping[str, Any]]) -> dict[str, dict]:
    """Return the entries of an index.json, each variant with all that it shares with the entry that it is `of`.

    Raises:
        ValueError: a variant of what the index does not have, or of another variant.
    """
    whole = {name: dict(entry) for name, entry in index.items()}
    for name, entry in index.items():
        if "of" not in entry:
            continue
        base = index.get(entry["of"])
        if base is None or "of" in base:
            raise ValueError(f"the index says that {name!r} is a variant of {entry['of']!r}, which has no file there")
        shared = {key: value for key, value in base.items() if key not in ("scores", "packed_from")}
        if "config" in shared:
            shared["config"] = _changed(shared["config"], entry["options"])
        whole[name] = {**shared, **entry}
    return whole


def _changed(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a configuration, nested dicts, with other values under `A.B.C`."""
    changed = copy.deepcopy(dict(config))
    for key, value in options.items():
        *path, last = key.split(".")
        node = changed
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return changed


def list_readers() -> dict[str, dict]:
    """Return the entries of readers.json by name: readers of strips, which are no spotters.

    Each has `what`, `file`, `sha256`, `origin` and `licence`.
    """
    path = FOLDER / "readers.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def describe_weights(index: dict[str, dict]) -> str:
    """Write one line for each entry: name, what it is, its size or whose file it uses."""
    width = max(map(len, index), default=0)
    lines = []
    for name, entry in sorted(index.items()):
        size = f" ({entry['bytes'] / 1e6:.1f} MB)" if "bytes" in entry else ""
        size = f" (the file of {entry['of']})" if "of" in entry else size
        lines.append(f"  {name:<{width}}  {entry.get('what', '')}{size}".rstrip())
    return "\n".join(lines)


def sha256_of(path: str | Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_weights(name: str | os.PathLike, readers: bool = False) -> str:
    """Find the path of weights, however they are named: the one way from what a user writes to a file.

    A shipped name goes before a file of that name; `./NAME` is the file. The path of a variant is that of the weights that it
    is a variant of, and says nothing of its options: what is opened is named by :func:`weights_address`.

    Args:
        name: of shipped weights, whose hash is compared with the index; `dld://NAME`, the same; or a path.
        readers: a reader of strips is asked for; the message about an unknown name lists them, too.

    Raises:
        UnknownWeightsError: a KeyError; the message lists the known names.
        FileNotFoundError: there is no such file, or the index names one that is not there.
        ValueError: the file is not the one the index speaks of.
    """
    name = os.fspath(name)
    if name.startswith(PREFIX) or name in list_weights() or name in list_readers():
        return _shipped_file(name.removeprefix(PREFIX), readers)
    if "://" in name:
        from detectron2.utils.file_io import PathManager

        return PathManager.get_local_path(name)
    if os.path.isfile(name):
        return name
    if os.path.isfile(os.path.join(name, "spotter.json")):
        raise FileNotFoundError(f"{name} is a folder of `dld export`, not weights: TextSpotter.from_onnx reads with it")
    if os.path.isdir(name):
        raise FileNotFoundError(f"weights {name}: a folder, expected a file in it")
    if os.path.dirname(name) or os.path.splitext(name)[1]:
        raise FileNotFoundError(f"weights {name} do not exist")
    raise _unknown(name, readers)


def variant_options(name: str | os.PathLike) -> list[Any]:
    """Return the overrides that make a shipped variant, KEY VALUE KEY VALUE ...; none for other weights, however named."""
    options = list_weights().get(os.fspath(name).removeprefix(PREFIX), {}).get("options", {})
    return [word for pair in options.items() for word in pair]


def weights_address(name: str | os.PathLike) -> str:
    """Return what opens weights, wherever weights are opened: the path of their file; `dld://NAME` of a variant.

    Raises as :func:`find_weights`.
    """
    path = find_weights(name)
    return PREFIX + os.fspath(name).removeprefix(PREFIX) if variant_options(name) else path


def weights_id(name: str | os.PathLike) -> str:
    """Return the SHA-256 by which studies know weights: of their file; of a variant, :func:`variant_id`.

    Raises as :func:`find_weights`.
    """
    digest, options = sha256_of(find_weights(name)), variant_options(name)
    return variant_id(digest, dict(zip(options[::2], options[1::2], strict=True))) if options else digest


def variant_id(sha256: str, options: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of a variant: of that of the file and of the options."""
    return hashlib.sha256(f"{sha256} {json.dumps(options, sort_keys=True)}".encode()).hexdigest()


def _shipped_file(name: str, readers: bool) -> str:
    index = {**list_readers(), **list_weights()}
    if name not in index:
        raise _unknown(name, readers)
    path = FOLDER / index[name]["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: install the package again")
    found = sha256_of(path)
    if found != index[name]["sha256"]:
        raise ValueError(f"{path} has SHA-256 {found}, the index says {index[name]['sha256']}: install the package again")
    return str(path)


def _unknown(name: str, readers: bool) -> UnknownWeightsError:
    known = list_weights()
    text = f"no shipped weights are called {name!r}; there are: {', '.join(sorted(known))}"
    if readers:
        text += f"; readers of strips: {', '.join(sorted(list_readers()))}"
        known |= list_readers()
    error = UnknownWeightsError(text)
    error.add_note(describe_weights(known))
    return error
