"""A csv file of all words that are read."""

from __future__ import annotations

import csv
from typing import IO

from dld.structures.word_table import COLUMNS, word_rows
from dld.structures.words import SpottingResult

__all__ = ["CsvTable"]


class CsvTable:
    """Rows of many pictures in one file (RFC 4180, UTF-8), on disk before the next picture is looked at.

    Args:
        file: open as text with `newline=""`.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file, self._writer = file, csv.DictWriter(file, COLUMNS)
        self._writer.writeheader()

    def add(self, result: SpottingResult, page: int = 1) -> None:
        """Write the words of a page; a polygon is "x,y x,y ..."."""
        for row in word_rows(result.lines, result.file_name, page):
            row["score"] = f"{row['score']:.4f}"
            row["polygon"] = " ".join(f"{x:.1f},{y:.1f}" for x, y in row["polygon"])
            row |= {key: "" if row[key] is None else f"{row[key]:.1f}" for key in ("x0", "y0", "x1", "y1")}
            self._writer.writerow(row)
        self._file.flush()
