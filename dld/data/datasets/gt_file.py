"""What the readers of ground-truth text files share: lines with numbers, coordinates, and errors that name the line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dld.structures.polygon import LARGEST_PIXEL, MOST_POINTS

__all__ = ["malformed", "parse_points", "read_lines", "unquote"]

_QUOTED = re.compile(r'\s*"(.*)"\s*')
_ESCAPED = re.compile(r'\\(["\\])')


def malformed(path: str | Path, line_number: int, line: str, expected: str) -> ValueError:
    """Make the error for a line that cannot be read; `expected` says how it should look."""
    shown = line if len(line) <= 100 else line[:97] + "..."
    return ValueError(f"{path}:{line_number}: expected {expected}, got {shown!r}")


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that hold something, with their numbers from 1; a byte order mark (ICDAR 2015) is dropped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not UTF-8; names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"ground-truth file {path} does not exist")
    # split at \n only: str.splitlines would also cut at characters that may stand in a transcription
    for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError:
            raise malformed(path, number, raw.decode("utf-8", "backslashreplace"), "UTF-8") from None
        if line.strip():
            yield number, line


def parse_points(values: Sequence[str]) -> np.ndarray:
    """Convert strings x1, y1, x2, y2, ... to float64 (P, 2).

    Raises:
        ValueError: an odd count, more than MOST_POINTS, or something that is no finite number of pixels.
    """
    numbers = [float(value) for value in values]
    # NaN compares as False
    if len(numbers) % 2 or len(numbers) > 2 * MOST_POINTS or not all(abs(n) <= LARGEST_PIXEL for n in numbers):
        raise ValueError(f"expected up to {MOST_POINTS} pairs of finite numbers of pixels")
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)


def unquote(text: str) -> str:
    r"""Drop the quotes around a transcription and resolve `\"` and `\\` in them, as the official scoring does."""
    match = _QUOTED.fullmatch(text)
    return (_ESCAPED.sub(r"\1", match[1]) if match else text).strip()
