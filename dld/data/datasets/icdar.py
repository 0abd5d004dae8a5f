"""Ground truth of the Robust Reading Competition: ICDAR 2013 (focused), 2015 (incidental), 2017-MLT.

One text file per image, one word per line, `###` for a word that nobody can read::

    2013, training   158 128 411 181 "Footpath"            (left top right bottom, spaces)
    2013, test       38, 43, 920, 215, "Tiredness"         (the same with commas)
    2015             377,117,463,117,465,130,378,130,Genaxis Theatre
    2017-MLT         377,117,463,117,465,130,378,130,Latin,Genaxis Theatre

Commas may stand inside a transcription. Some archives give ICDAR 2013 with four corners: `parse_icdar2013` reads both.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dld.data.annotation import TextAnnotation
from dld.data.datasets.gt_file import malformed, parse_points, read_lines, unquote

__all__ = ["parse_icdar2013", "parse_icdar2015", "parse_icdar2017_mlt"]

DONT_CARE = "###"

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_BOX = re.compile(rf"\s*({_NUMBER})[,\s]+({_NUMBER})[,\s]+({_NUMBER})[,\s]+({_NUMBER})(?:\s*,\s*|\s+)(.*)")
_CORNERS = re.compile(rf"\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{7}}\s*,.*")


def _word(points: np.ndarray, text: str, language: str | None = None) -> TextAnnotation:
    text = unquote(text)
    return TextAnnotation(points, text, ignore=text in ("", DONT_CARE), language=language)


def _parse_corners(path: str | Path, extra: int, expected: str) -> list[TextAnnotation]:
    """Read lines of eight coordinates, `extra` fields and a transcription, which keeps its commas."""
    words = []
    for number, line in read_lines(path):
        fields = line.split(",", 8 + extra)
        try:
            if len(fields) != 9 + extra:
                raise ValueError(f"{len(fields)} fields")
            points = parse_points(fields[:8])
        except ValueError:
            raise malformed(path, number, line, expected) from None
        words.append(_word(points, fields[-1], fields[8].strip() if extra else None))
    return words


def parse_icdar2015(path: str | Path) -> list[TextAnnotation]:
    """Read the words of a 2015 file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a malformed line; names the file, the line and what is expected. The other parsers here raise the same.
    """
    return _parse_corners(path, 0, "x1,y1,x2,y2,x3,y3,x4,y4,transcription")


def parse_icdar2017_mlt(path: str | Path) -> list[TextAnnotation]:
    """Read the words of a 2017-MLT file, each with its `language` ("Latin", "Arabic", ...)."""
    return _parse_corners(path, 1, "x1,y1,x2,y2,x3,y3,x4,y4,language,transcription")


def parse_icdar2013(path: str | Path) -> list[TextAnnotation]:
    """Read the words of a 2013 file: upright boxes in either punctuation, as four corners clockwise from the top left."""
    words = []
    for number, line in read_lines(path):
        try:
            if _CORNERS.fullmatch(line):
                fields = line.split(",", 8)
                words.append(_word(parse_points(fields[:8]), fields[8]))
                continue
            match = _BOX.fullmatch(line)
            if match is None:
                raise ValueError("neither box nor corners")
            (x0, y0), (x1, y1) = parse_points(match.groups()[:4])
        except ValueError:
            raise malformed(path, number, line, 'x1 y1 x2 y2 "transcription" (training) or with commas (test)') from None
        words.append(_word(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), match[5]))
    return words
