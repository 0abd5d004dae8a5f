"""Ground truth of Total-Text: polygons with any number of points, in text or in Matlab files.

One file per image, `poly_gt_imgN.txt`, one word per record::

    x: [[153 161 179 195 184 177]], y: [[347 323 305 315 331 357]], ornt: [u'c'], transcriptions: [u'the']

It is printed numpy: long arrays are broken over lines, and strings are written as Python 2 did (u'..', or u".." when
an apostrophe stands inside), in some editions bare. A transcription of `#` signs only, any number, means don't-care.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dld.data.annotation import TextAnnotation
from dld.data.datasets.gt_file import malformed, read_lines
from dld.structures.polygon import LARGEST_PIXEL, MOST_POINTS

__all__ = ["is_validation_image", "parse_total_text"]

EXPECTED = "x: [[..]], y: [[..]], ornt: [u'..'], transcriptions: [u'..'] with as many x as y"

# the first releases call the table polygt and the files poly_gt_imgN.mat, later ones gt and gt_imgN.mat
MATLAB_TABLES = ("polygt", "gt")

# of characters: the official ones have some hundreds, and the pattern's time may grow with the square
LONGEST_RECORD = 20_000

_ARRAY = r"\[\s*\[([-+\d.eE,\s]*)\]\s*\]"
_RECORD = re.compile(
    rf"\s*x:\s*{_ARRAY}\s*,\s*y:\s*{_ARRAY}\s*(?:,\s*ornt:\s*\[(.*?)\]\s*)?,\s*transcriptions:\s*\[(.*)\]\s*", re.DOTALL
)
_QUOTED = re.compile(r"u?(['\"]).*\1", re.DOTALL)
_STEM = re.compile(r"img(\d+)")


def is_validation_image(stem: str) -> bool:
    """Tell whether a training image is held out: those whose number ends in 0 (`img120`) are `totaltext_val`."""
    match = _STEM.fullmatch(stem)
    if match is None:
        raise ValueError(f"expected the name of a Total-Text image like 'img120', got {stem!r}")
    return match[1].endswith("0")


def _string(raw: str) -> str:
    """Return the text of u'..', of u".." or of a bare string."""
    raw = raw.strip()
    if not _QUOTED.fullmatch(raw):
        return raw
    try:
        return str(ast.literal_eval(raw))  # resolves \' and \xe9 as Python 2 wrote them
    except (SyntaxError, ValueError):
        return raw.removeprefix("u")[1:-1]


def _are_pixels(values) -> bool:
    values = np.asarray(values)
    return values.shape[1] <= MOST_POINTS and bool((np.abs(values) <= LARGEST_PIXEL).all())


def _word(points: np.ndarray, text: str) -> TextAnnotation:
    text = text.strip()
    return TextAnnotation(points, text, ignore=not text.strip("#"))


def _records(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield records with the number of their first line; a line that does not start with `x:` continues the last one."""
    start, lines = 0, []
    for number, line in read_lines(path):
        if re.match(r"\s*x:", line) and lines:
            yield start, "\n".join(lines)
            lines = []
        start = number if not lines else start
        lines.append(line)
    if lines:
        yield start, "\n".join(lines)


def _parse_text(path: str | Path) -> list[TextAnnotation]:
    words = []
    for number, record in _records(path):
        match = _RECORD.fullmatch(record) if len(record) <= LONGEST_RECORD else None
        try:
            if match is None:
                raise ValueError
            x, y = ([float(v) for v in match[i].replace(",", " ").split()] for i in (1, 2))
            if len(x) != len(y) or not x or not _are_pixels([x, y]):
                raise ValueError
        except ValueError:
            raise malformed(path, number, record, EXPECTED) from None
        words.append(_word(np.array([x, y]).T, _string(match[4])))
    return words


def _parse_matlab(path: str | Path) -> list[TextAnnotation]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f"reading {path} needs scipy: `pip install scipy`, or use the text files") from error
    try:
        tables = loadmat(str(path))
    except FileNotFoundError:
        raise
    except Exception as error:  # scipy raises errors of many kinds for damaged files
        raise ValueError(f"{path}: not a Matlab file that can be read: {error}") from error
    table = next((tables[name] for name in MATLAB_TABLES if name in tables), None)
    if table is None or table.ndim != 2 or table.shape[1] < 5:
        names = " or ".join(f"'{name}'" for name in MATLAB_TABLES)
        raise ValueError(f"{path}: expected a Matlab table {names} with columns 'x:', x, 'y:', y, text, orientation")
    words = []
    for row in table:
        try:
            x, y = (np.asarray(row[i], dtype=np.float64).reshape(-1) for i in (1, 3))
        except (TypeError, ValueError):
            raise ValueError(f"{path}: word {len(words)} has coordinates that are no numbers") from None
        if len(x) != len(y) or not len(x) or not _are_pixels([x, y]):
            raise ValueError(f"{path}: word {len(words)} has {len(x)} x and {len(y)} y, or one is not finite")
        text = np.asarray(row[4]).reshape(-1)
        words.append(_word(np.stack([x, y], axis=1), str(text[0]) if len(text) else ""))
    return words


def parse_total_text(path: str | Path) -> list[TextAnnotation]:
    """Read the words of one `poly_gt_imgN` file, .txt or .mat, or `gt_imgN.mat`.

    Polygons are as given, so there may be two points or crossings.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a malformed record; names the file, its first line and what is expected.
        ImportError: a .mat file, and scipy is missing.
    """
    return _parse_matlab(path) if Path(path).suffix.lower() == ".mat" else _parse_text(path)
