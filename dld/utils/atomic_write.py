"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["atomic_write", "atomic_write_text"]


def atomic_write(
    path: str | os.PathLike, write: Callable[[IO[bytes]], object], temporary: str | os.PathLike | None = None
) -> None:
    """Write a file through a temporary one, flushed to disk and renamed over it.

    Args:
        path: the file; its folder must exist.
        write: called with the open binary file.
        temporary: the other file, on the same disk; by default one beside it, named after it and this process.

    Raises:
        OSError: disk full or folder gone; the message names the path, and an earlier file there is untouched.
    """
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.tmp" if temporary is None else os.fspath(temporary)
    try:
        with open(temporary, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
        _sync_folder(os.path.dirname(path) or ".")
    except (OSError, RuntimeError) as error:
        raise OSError(f"could not write {path}: {_cause(error)}; what was there before is intact") from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _cause(error: BaseException) -> BaseException:
    """Return the OSError behind an error: torch.save reports a full disk as an unexpected position in its file."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, OSError):
        behind = behind.__cause__ or behind.__context__
    return behind or error


def _sync_folder(folder: str) -> None:
    # a rename is safe from a power cut only when the folder that holds the name is on disk, too
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_text(path: str | os.PathLike, text: str) -> None:
    """Write text in UTF-8 as :func:`atomic_write` does; create missing folders.

    What UTF-8 cannot hold, the bytes of a file name that is none itself, is written as `\\udce9`, which json reads back.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda f: f.write(text.encode("utf-8", "backslashreplace")))
