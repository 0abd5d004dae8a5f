"""One row a word: for csv files and data frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from dld.structures.text_lines import TextLine

__all__ = ["COLUMNS", "word_rows"]

COLUMNS = ("file", "page", "block", "line", "word", "text", "score", "x0", "y0", "x1", "y1", "polygon")


def word_rows(lines: Sequence[TextLine], file: str | None, page: int = 1) -> Iterator[dict[str, Any]]:
    """Yield a row of `COLUMNS` for each word, in the order of reading; numbers begin with 1, boxes and polygons are in pixels.

    Args:
        lines: of a result.
        file: that they were read from.
        page: its number in the file.
    """
    for number, line in enumerate(lines, 1):
        for place, word in enumerate(line.words, 1):
            box = [value if math.isfinite(value) else None for value in word.box]
            yield {
                "file": file,
                "page": page,
                "block": line.block + 1,
                "line": number,
                "word": place,
                "text": word.text,
                "score": word.score,
                **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                "polygon": word.polygon.tolist(),
            }
