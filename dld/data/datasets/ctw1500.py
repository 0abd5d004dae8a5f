"""Ground truth of SCUT-CTW1500: curved lines of text outlined by 14 points.

Three layouts are in use, and told apart by what the file holds::

    training labels, NNNN.xml    <box height=..><label>text</label><segs>x1,y1,...,x14,y14</segs></box>
    test labels, 000NNNN.txt     x1,y1,...,x14,y14,####text
    first release, NNNN.txt      left,top,right,bottom,dx1,dy1,...,dx14,dy14   (no text; offsets from left, top)

The first release has no transcriptions, so its words are don't-care for a spotter. `###` is don't-care in all of them.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from dld.data.annotation import TextAnnotation
from dld.data.datasets.gt_file import malformed, parse_points, read_lines

__all__ = ["parse_ctw1500"]

DONT_CARE = "###"
EXPECTED = "x1,y1,...,xn,yn,####text, or left,top,right,bottom and 14 offsets"

_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")


def _word(points: np.ndarray, text: str) -> TextAnnotation:
    text = text.strip()
    return TextAnnotation(points, text, ignore=text in ("", DONT_CARE))


def _parse_xml(path: Path) -> list[TextAnnotation]:
    # some labels hold an ampersand as typed, which XML forbids
    source = _BARE_AMPERSAND.sub("&amp;", "\n".join(line for _, line in _numbered(path)))
    try:
        root = ElementTree.fromstring(source)
    except ElementTree.ParseError as error:
        line = error.position[0]
        # expat also ends lines at a lone carriage return, so it may count more of them
        lines = source.split("\n")
        raise malformed(path, line, lines[min(line, len(lines)) - 1], f"XML ({error.msg})") from None
    words = []
    for i, box in enumerate(root.iter("box")):
        segments = box.findtext("segs")
        try:
            points = parse_points((segments or "").replace(",", " ").split())
            if len(points) < 3:
                raise ValueError("too few")
        except ValueError:
            raise ValueError(
                f"{path}: box {i + 1}: expected <segs>x1,y1,...,xn,yn</segs> with n >= 3, got {segments!r}"
            ) from None
        words.append(_word(points, box.findtext("label") or ""))
    return words


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Return all lines, the empty ones put back, so that the parser's line numbers are those of the file."""
    lines = list(read_lines(path))
    full = [""] * (lines[-1][0] if lines else 0)
    for number, line in lines:
        full[number - 1] = line
    return list(enumerate(full, start=1))


def _absolute(points: np.ndarray) -> np.ndarray:
    """Return the points of a line without text; 16 pairs are box and offsets if the first two are a box around the rest."""
    if len(points) == 16:
        size = points[1] - points[0]
        if (points[2:] >= 0).all() and (points[2:] <= size).all():
            return points[2:] + points[0]
    return points


def _parse_text(path: Path) -> list[TextAnnotation]:
    words = []
    for number, line in read_lines(path):
        values, _, text = line.partition("####")
        try:
            points = _absolute(parse_points(values.strip().rstrip(",").split(",")))
            if len(points) < 3:
                raise ValueError("too few")
        except ValueError:
            raise malformed(path, number, line, EXPECTED) from None
        words.append(_word(points, text))
    return words


def parse_ctw1500(path: str | Path) -> list[TextAnnotation]:
    """Read the lines of text of one label file, .xml or .txt.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a malformed line or box; names the file, the line and what is expected.
    """
    path = Path(path)
    return _parse_xml(path) if path.suffix.lower() == ".xml" else _parse_text(path)
