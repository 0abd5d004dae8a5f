"""Files named by a local path or by an address: s3://bucket/a.jpg, gs://bucket/a.jpg, file:///photos/a.jpg.

Addresses are opened by pyarrow. What stands behind "?" are options of its file systems (`?region=eu-west-1`,
`?endpoint_override=host:9000`); credentials come from the environment, never from the address, which is written into results.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote, unquote

from dld.utils.atomic_write import atomic_write

__all__ = [
    "INSTALL",
    "check_installed",
    "exists",
    "is_address",
    "is_folder",
    "joined",
    "list_below",
    "list_names",
    "open_file",
    "read_file",
    "remove_file",
    "write_whole",
]

INSTALL = 'pip install "dld[ray]"'

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_OPTIONS = re.compile(r"\?[a-z_]+=[^/?]*$")


def check_installed(*modules: str) -> None:
    """Raise ImportError, naming the extra, where one of these modules is missing."""
    for module in modules:
        try:
            __import__(module)
        except ImportError as error:
            raise ImportError(f"--engine ray needs {module.partition('.')[0]} ({error}): {INSTALL}") from None


def is_address(name: str) -> bool:
    """Tell whether a name is an address, not a local path."""
    return bool(_ADDRESS.match(name))


class _Address(NamedTuple):
    root: str  # "s3://bucket"
    path: str  # "day1/a.jpg", as the file system spells it
    options: str  # "?region=eu-west-1", or empty

    @classmethod
    def of(cls, name: str) -> _Address:
        scheme, _, rest = name.partition("://")
        options = match.group() if (match := _OPTIONS.search(rest)) else ""
        host, _, path = rest.removesuffix(options).partition("/")
        if "@" in host:
            raise ValueError(f"{scheme}://{host.partition('@')[2]}/...: an address must not hold credentials: set them outside")
        return cls(f"{scheme}://{host}", unquote(path) if scheme == "file" else path, options)

    def __str__(self) -> str:
        # only addresses of local files are percent-encoded; the keys of object stores are taken as they are
        path = quote(self.path) if self.root == "file://" else self.path
        return f"{self.root}/{path}{self.options}"


@lru_cache(maxsize=64)
def _file_system(root: str, options: str) -> tuple[Any, str]:
    """Return the file system of an address and the path of its root in it."""
    check_installed("pyarrow.fs")
    from pyarrow import fs

    try:
        system, base = fs.FileSystem.from_uri(f"{root}/{options}")
    except (ValueError, OSError, ImportError) as error:  # ArrowInvalid is a ValueError
        raise ValueError(f"{root} cannot be opened: {error}") from error
    return system, base.rstrip("/")


def _place(address: _Address) -> tuple[Any, str]:
    system, base = _file_system(address.root, address.options)
    return system, f"{base}/{address.path}" if base or address.root == "file://" else address.path


def _info(name: str):
    system, path = _place(_Address.of(name))
    return system.get_file_info(path.rstrip("/"))


def joined(folder: str, name: str) -> str:
    """Return the name of a file in a folder."""
    if not is_address(folder):
        return os.path.join(folder, name)
    address = _Address.of(folder)
    return str(address._replace(path="/".join(filter(None, [address.path.rstrip("/"), name]))))


def is_folder(name: str) -> bool:
    """Tell whether a folder is there; object stores have one where something lies in it."""
    return _info(name).type.name == "Directory" if is_address(name) else os.path.isdir(name)


def exists(name: str) -> bool:
    """Tell whether a file is there."""
    return _info(name).is_file if is_address(name) else os.path.isfile(name)


def list_names(folder: str) -> list[str]:
    """Return names of the files directly in a folder, which need not exist."""
    if not is_address(folder):
        return [entry.name for entry in os.scandir(folder) if entry.is_file()] if os.path.isdir(folder) else []
    from pyarrow import fs

    system, path = _place(_Address.of(folder))
    found = system.get_file_info(fs.FileSelector(path.rstrip("/"), allow_not_found=True))
    return [info.base_name for info in found if info.is_file]


def list_below(folder: str) -> Iterator[str]:
    """Yield addresses of all files in a folder given by its address, at any depth, sorted."""
    from pyarrow import fs

    address = _Address.of(folder)
    system, path = _place(address)
    base = len(path) - len(address.path)
    below = system.get_file_info(fs.FileSelector(path.rstrip("/"), recursive=True))
    for found in sorted(info.path for info in below if info.is_file):
        yield str(address._replace(path=found[base:]))


def read_file(name: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        FileNotFoundError, OSError, ValueError: there is none, or no regular one; names it.
    """
    with open_file(name) as file:
        return file.read()


def open_file(name: str) -> IO[bytes]:
    """Return a file that is open for reading, at any place of it. Raises as :func:`read_file`."""
    if not is_address(name):
        if not os.path.exists(name):
            raise FileNotFoundError(f"{name} does not exist")
        if not os.path.isfile(name):  # a pipe would be waited for, perhaps for ever
            raise ValueError(f"cannot read {name}: it is no regular file")
        return open(name, "rb")
    system, path = _place(_Address.of(name))
    try:
        return system.open_input_file(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name} does not exist") from error


def write_whole(name: str, content: bytes) -> None:
    """Write a file that appears whole or not at all; its folder is made where it is missing.

    A local one goes through a temporary file in a folder `_dld` beside it, which readers of Parquet folders pass over. An
    object store shows an object when all of it is there.

    Raises:
        OSError: disk full, or no permission; names the file.
    """
    if not is_address(name):
        folder, own = os.path.split(name)
        unfinished = folder if os.path.basename(folder) == "_dld" else os.path.join(folder, "_dld")
        os.makedirs(unfinished, exist_ok=True)
        temporary = os.path.join(unfinished, f"{own}.{uuid.uuid4().hex}.tmp")
        atomic_write(name, lambda file: file.write(content), temporary)
        return
    system, path = _place(_Address.of(name))
    if system.type_name == "local":
        # a local disk under an address: written as local files are
        write_whole(path, content)
        return
    system.create_dir(path.rpartition("/")[0], recursive=True)
    with system.open_output_stream(path) as stream:
        stream.write(content)


def remove_file(name: str) -> None:
    """Remove a file; nothing happens where there is none."""
    if not is_address(name):
        Path(name).unlink(missing_ok=True)
    elif exists(name):
        system, path = _place(_Address.of(name))
        system.delete_file(path)
