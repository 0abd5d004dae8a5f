"""The pictures of a corpus: what folders, lists and addresses name, in a fixed order, each once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from dld.corpus.addresses import exists, is_address, is_folder, list_below, read_file
from dld.inference.input_files import PICTURE_ENDINGS, STDIN, find_inputs, is_video

__all__ = ["LIST_ENDING", "find_pictures"]

LIST_ENDING = ".txt"


def find_pictures(inputs: Sequence[str], output: str, passed_over: Counter[str] | None = None) -> tuple[list[str], int]:
    """Find the pictures that inputs name; local ones get absolute paths, so that every process opens the same files.

    A file that ends in .txt is a list: a path or an address on each line, relative to the working folder. What it names need
    not exist, and is not looked at here. Folders and globs are searched as :func:`~dld.inference.input_files.find_inputs` does.

    Args:
        output: folder of the results, whose content is not read.
        passed_over: gets, by ending, how many files of the folders are no pictures.

    Returns:
        the pictures, and how often one was named again.

    Raises:
        FileNotFoundError: an input names nothing.
        ValueError: an input that is no picture, or nothing to read at all.
    """
    passed_over = Counter() if passed_over is None else passed_over
    found: dict[str, None] = {}
    named = 0
    for name in inputs:
        for picture in _pictures_of(name, output, passed_over):
            found[picture] = None
            named += 1
    if not found:
        raise ValueError(f"nothing to read: {', '.join(inputs)} names no pictures")
    return list(found), named - len(found)


def _pictures_of(name: str, output: str, passed_over: Counter[str]) -> Iterator[str]:
    if is_address(name):
        yield from _at_address(name, passed_over)
    elif _is_list(name) and os.path.isfile(name):
        yield from _lines(name)
    else:
        for path in find_inputs([name], None if is_address(output) else output, passed_over):
            if path == STDIN or is_video(path):
                kind = "standard input" if path == STDIN else f"the film {path}"
                raise ValueError(f"{kind} cannot be read with --engine ray, which reads pictures only")
            yield os.path.abspath(path)


def _is_list(name: str) -> bool:
    return name.lower().endswith(LIST_ENDING)


def _at_address(name: str, passed_over: Counter[str]) -> Iterator[str]:
    if is_folder(name):
        empty = True
        for address in list_below(name):
            ending = PurePosixPath(address.partition("?")[0]).suffix.lower()
            if ending in PICTURE_ENDINGS and not _companion(address):
                empty = False
                yield address
            else:
                passed_over[ending or "without ending"] += 1
        if empty:
            raise FileNotFoundError(f"no pictures in folder {name}")
    elif not exists(name):
        raise FileNotFoundError(f"input {name} is no file or folder")
    elif _is_list(name):
        yield from _lines(name)
    else:
        yield name


def _companion(address: str) -> bool:
    return PurePosixPath(address).name.startswith("._")


def _lines(name: str) -> Iterator[str]:
    """Yield pictures of a list; names that are no UTF-8 keep their bytes."""
    for line in read_file(name).splitlines():
        picture = os.fsdecode(line).strip("\r\n")
        if picture.strip():
            yield picture if is_address(picture) else os.path.abspath(Path(picture).expanduser())
