"""The words of a page as lines and blocks, in the order of reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dld.page.order import reading_order
from dld.structures.word import Word

__all__ = ["TextLine", "text_lines"]


@dataclass
class TextLine:
    """Words that follow each other on one line.

    Attributes:
        words: of the result, in the order of reading.
        block: number of the block (a paragraph, a sign, a column's part) that the line belongs to, from 0.
        indices: the places of the words in `result.words`.
    """

    words: list[Word]
    block: int
    indices: list[int]

    @property
    def text(self) -> str:
        """The words with a space between each two."""
        return " ".join(word.text for word in self.words)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The smallest upright box around the line in pixels: x0, y0, x1, y1; not finite where no word has a place."""
        points = np.concatenate([word.polygon for word in self.words])
        if not len(points):
            return math.nan, math.nan, math.nan, math.nan
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        return float(x0), float(y0), float(x1), float(y1)

    def __str__(self) -> str:
        return self.text


def text_lines(words: Sequence[Word], turn: int = 0) -> list[TextLine]:
    """Join words into lines, in the order of reading, every word in one of them; see :func:`dld.page.order.reading_order`.

    Args:
        words: with polygons in pixels of the picture.
        turn: degrees by which the page in the picture is turned clockwise.
    """
    blocks = reading_order([word.polygon for word in words], [word.text for word in words], turn)
    return [TextLine([words[i] for i in line], number, list(line)) for number, block in enumerate(blocks) for line in block]
