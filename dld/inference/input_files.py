"""Finds what `dld spot` reads, and where its drawings go: never over an input, never over each other."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dld.data.datasets.image_files import IMAGE_EXTENSIONS

__all__ = ["PICTURE_ENDINGS", "STDIN", "VIDEO_ENDINGS", "FreeNames", "find_inputs", "is_video", "list_passed_over"]

PICTURE_ENDINGS = IMAGE_EXTENSIONS | {".pdf"}
VIDEO_ENDINGS = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv".split())
STDIN = Path("-")


def is_video(path: Path) -> bool:
    """Tell whether the name is that of a film; everything else counts as a picture, whatever its name."""
    return path.suffix.lower() in VIDEO_ENDINGS


def find_inputs(
    inputs: Sequence[str], output: str | os.PathLike | None = None, passed_over: Counter[str] | None = None
) -> list[Path]:
    """Find files named by paths, globs and folders, in order and each once; "-" stands for standard input.

    Folders are searched for pictures recursively, linked folders too, except what lies in `output`, which earlier runs wrote,
    and the companions that macOS writes (`._IMG_1.jpg`). Films are named one by one or by a glob.

    Args:
        passed_over: gets, by ending, how many files of the folders are neither of these.

    Raises:
        FileNotFoundError: an input names nothing.
    """
    written = None if output is None else Path(output).resolve()
    passed_over = Counter() if passed_over is None else passed_over
    found: dict[Path, Path] = {}
    for name in inputs:
        path = Path(name)
        if name == "-":
            files = [STDIN]
        elif path.is_dir():
            files = _pictures_in(path, written, passed_over)
        elif path.exists():
            files = [path]
        else:
            files = _matching(name)
            if not files:
                raise FileNotFoundError(f"input {name} is no file, folder or glob that matches files")
        for file in files:
            found.setdefault(file if file == STDIN else file.resolve(), file)
    return list(found.values())


def list_passed_over(passed_over: Counter[str]) -> str:
    """Say what :func:`find_inputs` counted, as "3 files in the folders are passed over: 2 .txt, 1 .mp4"."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in passed_over.most_common())
    total = passed_over.total()
    return f"{total} {'file in the folders is' if total == 1 else 'files in the folders are'} passed over: {kinds}"


def _matching(pattern: str) -> list[Path]:
    """Find the files that a glob matches; brackets are taken as they stand where a folder or file is called so."""
    literal, escaped = Path(), Path()
    for part in Path(pattern).parts:
        literal /= part
        escaped /= glob.escape(part) if "[" in part and literal.exists() else part
    for candidate in (str(escaped), pattern.replace("[", "[[]")):
        files = [p for p in map(Path, sorted(glob.glob(candidate, recursive=True))) if p.is_file()]
        if files:
            return files
    return []


def _pictures_in(folder: Path, written: Path | None, passed_over: Counter[str]) -> list[Path]:
    # a folder that is itself the output is read: otherwise nothing would be left to read
    skipped = None if written is None or written == folder.resolve() else written
    pictures: list[Path] = []
    others: list[Path] = []
    for path in _files_below(folder, skipped):
        (pictures if path.suffix.lower() in PICTURE_ENDINGS and path.is_file() else others).append(path)
    here = Counter(_kind(path) for path in others)
    if not pictures:
        films = sorted(path for path in others if is_video(path))
        hint = f"; its films are read when they are named: {films[0]}" if films else ""
        hint = hint or (f"; {list_passed_over(here)}" if here else "")
        raise FileNotFoundError(f"no pictures in folder {folder}{hint}")
    passed_over += here
    return sorted(pictures)


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder that cannot be opened"
    return path.suffix.lower() or "without ending" if path.exists() else "broken link"


def _files_below(folder: Path, skipped: Path | None) -> Iterator[Path]:
    """Yield everything in a folder that is no folder, at any depth, and the folders that cannot be opened.

    A folder is searched once, under its own name where it has one below `folder`. Links to a folder that they lie in are not
    followed, since they lead in circles.

    Args:
        skipped: a folder that is left out.
    """
    searched: set[Path] = set()
    waiting: list[Path] = [folder]
    linked: list[Path] = []  # after all others, so that what lies here is found under its own name
    while waiting or linked:
        path = waiting.pop() if waiting else linked.pop(0)
        real = path.resolve()
        above = path.parent.resolve()
        if real in searched or real == skipped or (path != folder and (real == above or real in above.parents)):
            continue
        searched.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            yield path
            continue
        for entry in entries:
            if entry.name.startswith("._") or entry.name == "__MACOSX":
                continue
            if not (path / entry.name).is_dir():
                yield path / entry.name
            elif entry.is_symlink():
                linked.append(path / entry.name)
            else:
                waiting.append(path / entry.name)


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
        """Return a free name with the stem of `source`: a.jpg, a_1.jpg, ...; escape what is no UTF-8 in it."""
        stem = "stdin" if source == STDIN else source.stem.encode("utf-8", "backslashreplace").decode("utf-8")
        path, count = self.folder / f"{stem}{ending}", 1
        while path.resolve() in self._taken:
            path = self.folder / f"{stem}_{count}{ending}"
            count += 1
        self._taken.add(path.resolve())
        return path
