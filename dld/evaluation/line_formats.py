"""Lines of official files, a word each: quadrilaterals, boxes, polygons of any length, Total-Text's own layout."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dld.evaluation.protocol import Protocol
from dld.structures.polygon import LARGEST_PIXEL, MOST_CROSSINGS, MOST_POINTS, count_crossings

__all__ = ["Line", "is_total_text_layout", "parse_lines", "parse_total_text", "refuse_tangle"]

_BOX_WITH_SPACES = re.compile(r"\s*(-?\d+)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)\s+(\".*)")
_TOTAL_TEXT_WORD = re.compile(
    r"x:\s*\[\[(?P<x>[^\]]*)\]\]\s*,\s*y:\s*\[\[(?P<y>[^\]]*)\]\]\s*,\s*ornt:\s*\[[^\]]*\]\s*,"
    r"\s*transcriptions:\s*\[(?P<text>.*?)\](?=\s*(?:x:\s*\[\[|\Z))",
    re.DOTALL,
)


# In characters. Official lines have some hundreds; the pattern for Total-Text's files takes time by the square of a file.
LONGEST_LINE = 50_000
LONGEST_TOTAL_TEXT_FILE = 100_000


@dataclass(frozen=True)
class Line:
    """A line: (P, 2) float64 polygon in pixels, text (None after coordinates alone), and the file and line where it stands."""

    polygon: np.ndarray
    text: str | None
    where: str


def parse_lines(text: str, where: str, protocol: Protocol) -> list[Line]:
    """Read the lines of one file in the protocol's layout; blank lines are skipped.

    Text is returned unchanged, with its spaces and quotes. Raises ValueError naming file and line.
    """
    numbered = [(number, row.replace("\r", "")) for number, row in enumerate(text.split("\n"), start=1)]
    rows = [(f"{where}, line {number}", row) for number, row in numbered if row.strip()]
    for place, row in rows:
        if len(row) > LONGEST_LINE:
            raise ValueError(f"{place}: a line of {len(row)} characters, more than {LONGEST_LINE}")
    if protocol.layout == "polygon":
        return [_polygon(row, place) for place, row in rows]
    if protocol.layout == "box_or_quadrilateral" and _are_boxes([row for _, row in rows]):
        return [_box(row, place) for place, row in rows]
    return [_quadrilateral(row, place) for place, row in rows]


def refuse_tangle(polygon: np.ndarray, where: str) -> None:
    """Raise ValueError for a polygon whose area would take minutes: over MOST_POINTS, or MOST_CROSSINGS with itself."""
    if len(polygon) > MOST_POINTS:
        raise ValueError(f"{where}: a polygon of {len(polygon)} points, more than {MOST_POINTS}")
    # 16 points cannot cross so often
    if len(polygon) > 16 and (np.abs(polygon) <= 1000 * LARGEST_PIXEL).all():  # larger ones are measured as degenerate
        crossings = count_crossings(polygon)
        if crossings > MOST_CROSSINGS:
            raise ValueError(f"{where}: a polygon that crosses itself {crossings} times, more than {MOST_CROSSINGS}")


def is_total_text_layout(text: str) -> bool:
    """Tell whether a ground-truth file begins as the official ones of Total-Text do: `x: [[`."""
    return re.match(r"\s*x:\s*\[\[", text) is not None


def parse_total_text(text: str, where: str) -> list[Line]:
    """Read the official Total-Text layout; arrays may be broken over lines.

    Raises:
        ValueError: names file and line.
    """
    if len(text) > LONGEST_TOTAL_TEXT_FILE:
        raise ValueError(f"{where}: {len(text)} characters, more than the {LONGEST_TOTAL_TEXT_FILE} of a Total-Text file")
    lines, end = [], 0
    for match in _TOTAL_TEXT_WORD.finditer(text):
        _refuse_leftover(text, end, match.start(), where)
        end = match.end()
        place = f"{where}, line {text.count(chr(10), 0, match.start()) + 1}"
        x, y = (_numbers(match[axis].split(), place) for axis in "xy")
        if len(x) != len(y):
            raise ValueError(f"{place}: {len(x)} x against {len(y)} y coordinates")
        refuse_tangle(np.stack([x, y], axis=1), place)
        lines.append(Line(np.stack([x, y], axis=1), _python_string(match["text"]), place))
    _refuse_leftover(text, end, len(text), where)
    return lines


def _quadrilateral(row: str, where: str) -> Line:
    parts = row.split(",", 8)
    if len(parts) < 8:
        raise ValueError(f"{where}: expected x1,y1,x2,y2,x3,y3,x4,y4[,text], got {row[:200]!r}")
    return Line(_numbers(parts[:8], where).reshape(4, 2), parts[8] if len(parts) == 9 else None, where)


def _box(row: str, where: str) -> Line:
    spaced = _BOX_WITH_SPACES.fullmatch(row)
    parts = list(spaced.groups()) if spaced else row.split(",", 4)
    if len(parts) < 4:
        raise ValueError(f"{where}: expected xmin,ymin,xmax,ymax[,text], got {row[:200]!r}")
    left, top, right, bottom = _numbers(parts[:4], where)
    if right < left or bottom < top:
        raise ValueError(f"{where}: xmax < xmin or ymax < ymin in {row[:200]!r}")
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return Line(corners, parts[4] if len(parts) == 5 else None, where)


def _polygon(row: str, where: str) -> Line:
    if ",####" in row:
        coordinates, text = row.split(",####", 1)
        parts = coordinates.split(",")
    else:
        parts, text = row.split(","), None
        # Coordinates come in pairs: what an odd count leaves over is a text, be it the number 2024.
        if len(parts) % 2:
            text = parts.pop()
    numbers = _numbers(parts, where)
    if len(numbers) % 2 or not len(numbers):
        hint = "; a column of confidence before the text? leave it out" if len(numbers) > 6 and 0 <= numbers[-1] <= 1 else ""
        raise ValueError(f"{where}: expected pairs x1,y1,...,xn,yn, got {len(numbers)} numbers in {row[:200]!r}{hint}")
    refuse_tangle(numbers.reshape(-1, 2), where)
    return Line(numbers.reshape(-1, 2), text, where)


def _are_boxes(rows: Sequence[str]) -> bool:
    # Four numbers and a text that may be a number too. Six or seven are a quadrilateral that misses a coordinate, and
    # must not be taken for a box; the file as a whole decides, as a text may be "1,000".
    return sum(_leading_numbers(row) < 6 for row in rows) * 2 > len(rows)


def _leading_numbers(row: str) -> int:
    count = 0
    for part in row.split(","):
        try:
            float(part)
        except ValueError:
            break
        count += 1
    return count


def _numbers(parts: Sequence[str], where: str) -> np.ndarray:
    try:
        values = np.array([float(part) for part in parts], dtype=np.float64)
    except ValueError:
        raise ValueError(f"{where}: a coordinate is not a number in {','.join(parts)[:200]!r}") from None
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: a coordinate is not finite in {','.join(parts)[:200]!r}")
    return values


def _python_string(source: str) -> str:
    source = source.strip()
    match = re.fullmatch(r"u?(['\"])(.*)\1", source, re.DOTALL)
    if match is None:
        return source
    try:
        return str(ast.literal_eval(source))
    except (ValueError, SyntaxError):
        return match.group(2)


def _refuse_leftover(text: str, start: int, end: int, where: str) -> None:
    leftover = text[start:end]
    if leftover.strip():
        number = text.count("\n", 0, start + len(leftover) - len(leftover.lstrip())) + 1
        raise ValueError(f"{where}, line {number}: not a word of the Total-Text layout: {leftover.strip()[:80]!r}")
