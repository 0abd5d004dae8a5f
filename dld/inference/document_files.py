"""Documents of `dld spot --output-format`: one file for each input and format, a table for all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from operator import methodcaller
from pathlib import Path

import numpy as np

from dld.documents.formats import FORMATS
from dld.documents.page import DocumentPage
from dld.documents.searchable_pdf import check_installed
from dld.documents.table import CsvTable
from dld.inference.input_files import FreeNames
from dld.structures.words import SpottingResult
from dld.utils.atomic_write import atomic_write

__all__ = ["OUTPUT_FORMATS", "DocumentFiles"]

OUTPUT_FORMATS = ("txt", "csv", "hocr", "alto", "pdf")


class DocumentFiles:
    """Writes a document when all pages of its input are there; the rows of the table as they come.

    Args:
        names: where the files go.
        formats: of `OUTPUT_FORMATS`.

    Raises:
        ImportError: PDF is wanted and cannot be written; names the extra.
        ValueError: the table would be written over an input.
    """

    def __init__(self, names: FreeNames, formats: Sequence[str]) -> None:
        if "pdf" in formats:
            check_installed()
        self.names, self.formats = names, [name for name in FORMATS if name in formats]
        self._source: Path | None = None
        self._pages: list[DocumentPage] = []
        self._paths: dict[str, Path] = {}
        self._stack, self._table = ExitStack(), None
        if "csv" in formats:
            path = names.fixed("words.csv")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._table = CsvTable(
                self._stack.enter_context(open(path, "w", encoding="utf-8", errors="backslashreplace", newline=""))
            )

    def add(self, source: Path, result: SpottingResult, pixels: np.ndarray, page: int = 1) -> dict[str, str]:
        """Take the next page; pages of one input come one after another.

        Args:
            pixels: uint8 BGR (H, W, 3) that were read.
            page: its number in the input, from 1.

        Returns:
            names of the documents that the page goes into, by format.
        """
        if self._table is not None:
            self._table.add(result, page)
        if source != self._source or page == 1:
            self._finish()
            self._source = source
            self._paths = {name: self.names.like(source, FORMATS[name].ending) for name in self.formats}
        shown = any(FORMATS[name].shows_picture for name in self.formats)
        if self.formats:
            self._pages.append(DocumentPage.with_picture(result, pixels) if shown else DocumentPage(result))
        return {name: path.name for name, path in self._paths.items()}

    def close(self) -> None:
        """Write what is not written yet."""
        self._finish()
        self._stack.close()

    def _finish(self) -> None:
        pages, self._pages = self._pages, []
        if not pages:
            return
        for name, path in self._paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, methodcaller("write", FORMATS[name].write(pages)))

    def __enter__(self) -> DocumentFiles:
        return self

    def __exit__(self, *_) -> None:
        self.close()
