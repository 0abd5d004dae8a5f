"""Reads parts of a corpus in one process: pictures in, a Parquet file out."""

from __future__ import annotations

import io
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dld import __version__
from dld.corpus.addresses import read_file
from dld.corpus.result_folder import ResultFolder
from dld.corpus.rows import error_row, result_row
from dld.data.picture import read_picture
from dld.data.picture_batches import ReadsPictures

__all__ = ["PartReader", "PartReport"]

# files that are fetched while the network reads
_AHEAD = 8
_FATAL = "the process that read it ended, twice"


@dataclass(frozen=True)
class PartReport:
    """What became of a part.

    Args:
        part: its number.
        pictures, words, failed: rows, words in them, rows with an error.
        process: id of the process that read it.
        problem: what keeps every part from being read, in one line; the rest then says nothing.
    """

    part: int
    pictures: int = 0
    words: int = 0
    failed: int = 0
    process: int = 0
    problem: str = ""


class PartReader:
    """Reads parts, with a spotter that is loaded for the first of them.

    Args:
        output: the results folder, in which a run has begun.
        load: gives the spotter.
        options: of the spotter's call.
        threads: of torch and OpenCV.
    """

    def __init__(self, output: str, load: Callable[[], ReadsPictures], options: Mapping[str, Any], threads: int) -> None:
        self.folder, self.load, self.options, self.threads = ResultFolder(output), load, dict(options), threads
        self._spotter: ReadsPictures | None = None

    def read(self, part: int, careful: bool = False) -> PartReport:
        """Read a part and write its file.

        Args:
            careful: a process ended while it read this part. Pictures are read one by one, each noted before; one that ended
                two such processes gets an error, as does one at which the spotter fails.

        Raises:
            Exception: the spotter failed, and this is no careful reading. Mistakes of the user are reported instead.
        """
        try:
            spotter = self._loaded()
        except (OSError, ImportError, KeyError, ValueError) as error:
            return PartReport(part, process=os.getpid(), problem=str(error.args[0] if isinstance(error, KeyError) else error))
        paths = self.folder.pictures(part)
        rows = self._read_carefully(spotter, part, paths) if careful else self._read(spotter, paths)
        try:
            self.folder.write_part(part, rows)
            if careful:
                self.folder.note_deaths(part, [])
        except OSError as error:
            return PartReport(part, process=os.getpid(), problem=str(error))
        failed = sum(row["error"] is not None for row in rows)
        return PartReport(part, len(rows), sum(len(row["words"]) for row in rows), failed, os.getpid())

    def _loaded(self) -> ReadsPictures:
        if self._spotter is None:
            import cv2
            import torch

            begun = (self.folder.settings or {}).get("dld")
            if begun != __version__:
                raise ValueError(f"the run was begun with dld {begun}, a process has {__version__}: install one everywhere")
            torch.set_num_threads(self.threads)
            cv2.setNumThreads(self.threads)
            self._spotter = self.load()
        return self._spotter

    def _read(self, spotter: ReadsPictures, paths: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        waiting: list[tuple[str, np.ndarray | str]] = []
        size = self.options.get("batch_size", 1)
        for place, (path, pixels) in enumerate(_opened(paths), 1):
            waiting.append((path, pixels))
            if len(waiting) == size or place == len(paths):
                rows += self._rows(spotter, waiting)
                waiting = []
        return rows

    def _rows(self, spotter: ReadsPictures, batch: Sequence[tuple[str, np.ndarray | str]]) -> list[dict[str, Any]]:
        """Return the rows of pictures, each with its pixels or with why it has none."""
        pictures = [pixels for _, pixels in batch if not isinstance(pixels, str)]
        results = iter(spotter(pictures, **self.options) if pictures else [])
        return [
            error_row(path, pixels) if isinstance(pixels, str) else result_row(path, next(results)) for path, pixels in batch
        ]

    def _read_carefully(self, spotter: ReadsPictures, part: int, paths: Sequence[str]) -> list[dict[str, Any]]:
        deaths = self.folder.read_deaths(part)
        fatal = {place for place, times in Counter(deaths).items() if times > 1}
        rows = []
        for place, path in enumerate(paths):
            if place in fatal:
                rows.append(error_row(path, _FATAL))
                continue
            self.folder.note_deaths(part, [*deaths, place])
            try:
                rows += self._rows(spotter, list(_opened([path])))
            except Exception as error:  # of whatever kind: it is this picture's, and the next is read
                rows.append(error_row(path, f"{type(error).__name__}: {error}"))
        return rows


class _Named(io.BytesIO):
    """Bytes of a file that errors name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def _opened(paths: Sequence[str]) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield each path with its pixels, or with why there are none; the files behind it are fetched meanwhile."""
    waiting: deque[tuple[str, Future[bytes]]] = deque()
    rest = iter(paths)
    with ThreadPoolExecutor(min(_AHEAD, max(len(paths), 1))) as pool:
        while True:
            while len(waiting) < _AHEAD and (path := next(rest, None)) is not None:
                waiting.append((path, pool.submit(read_file, path)))
            if not waiting:
                return
            path, content = waiting.popleft()
            try:
                yield path, read_picture(_Named(content.result(), path))
            except (OSError, ValueError) as error:
                yield path, str(error)
