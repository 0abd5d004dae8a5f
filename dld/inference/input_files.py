"""Finds what `dld spot` reads, and where its drawings go: never over an input, never over each other."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["PICTURE_ENDINGS", "STDIN", "VIDEO_ENDINGS", "FreeNames", "find_inputs", "is_video"]

PICTURE_ENDINGS = frozenset(".jpg .jpeg .jpe .jp2 .png .bmp .dib .gif .tif .tiff .webp .avif .ppm .pgm .pbm .pnm".split())
VIDEO_ENDINGS = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv".split())
STDIN = Path("-")


def is_video(path: Path) -> bool:
    """Tell whether the name is that of a film; everything else counts as a picture, whatever its name."""
    return path.suffix.lower() in VIDEO_ENDINGS


def find_inputs(inputs: Sequence[str], output: str | os.PathLike | None = None) -> list[Path]:
    """Find files named by paths, globs and folders, in order and each once; "-" stands for standard input.

    Folders are searched for pictures recursively, except what lies in `output`, which earlier runs wrote. Films are named
    one by one or by a glob.

    Raises:
        FileNotFoundError: an input names nothing.
    """
    written = None if output is None else Path(output).resolve()
    found: dict[Path, Path] = {}
    for name in inputs:
        path = Path(name)
        if name == "-":
            files = [STDIN]
        elif path.is_dir():
            files = _pictures_in(path, written)
        elif path.exists():
            files = [path]
        else:
            files = [p for p in map(Path, sorted(glob.glob(name, recursive=True))) if p.is_file()]
            if not files:
                raise FileNotFoundError(f"input {name} is no file, folder or glob that matches files")
        for file in files:
            found.setdefault(file if file == STDIN else file.resolve(), file)
    return list(found.values())


def _pictures_in(folder: Path, written: Path | None) -> list[Path]:
    # a folder that is itself the output is read: otherwise nothing would be left to read
    skipped = None if written is None or written == folder.resolve() else written
    files = [p for p in folder.rglob("*") if p.is_file() and (skipped is None or skipped not in p.resolve().parents)]
    pictures = sorted(p for p in files if p.suffix.lower() in PICTURE_ENDINGS)
    if not pictures:
        films = sorted(p for p in files if is_video(p))
        hint = f"; its films are read when they are named: {films[0]}" if films else ""
        raise FileNotFoundError(f"no pictures in folder {folder}{hint}")
    return pictures


class FreeNames:
    """Names for files in a folder.

    Args:
        folder: where they go.
        inputs: files that must not be written over, wherever they are.
    """

    def __init__(self, folder: str | os.PathLike, inputs: Iterable[Path]) -> None:
        self.folder = Path(folder)
        self.inputs = {path.resolve() for path in inputs if path != STDIN}
        self._taken = set(self.inputs)

    def fixed(self, name: str) -> Path:
        """Return the file of this name.

        Raises:
            ValueError: it is one of the inputs.
        """
        path = self.folder / name
        if path.resolve() in self.inputs:
            raise ValueError(f"{path} is an input and would be written over: choose another output folder")
        return path

    def like(self, source: Path, ending: str) -> Path:
        """Return a free name with the stem of `source`: a.jpg, a_1.jpg, ..."""
        stem = "stdin" if source == STDIN else source.stem
        path, count = self.folder / f"{stem}{ending}", 1
        while path.resolve() in self._taken:
            path = self.folder / f"{stem}_{count}{ending}"
            count += 1
        self._taken.add(path.resolve())
        return path
