"""One page of a document: what was read and, for formats that show it, its picture."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dld.structures.text_lines import TextLine
from dld.structures.words import SpottingResult

__all__ = ["LONGEST_JPEG", "DocumentPage", "blocks_of", "certainty", "outer_box", "xml_text"]

JPEG_QUALITY = 90
# JPEG knows no longer sides.
LONGEST_JPEG = 65_500


@dataclass
class DocumentPage:
    """A page.

    Args:
        result: its words.
        jpeg: its picture as JPEG, in whatever size; None for formats that show none.
    """

    result: SpottingResult
    jpeg: bytes | None = None

    @classmethod
    def with_picture(cls, result: SpottingResult, pixels: np.ndarray) -> DocumentPage:
        """Make a page that keeps its picture, uint8 BGR (H, W, 3)."""
        file, picture = io.BytesIO(), Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
        if max(picture.size) > LONGEST_JPEG:
            picture.thumbnail((LONGEST_JPEG, LONGEST_JPEG))
        picture.save(file, "JPEG", quality=JPEG_QUALITY)
        return cls(result, file.getvalue())


def blocks_of(result: SpottingResult) -> Iterator[list[TextLine]]:
    """Yield the lines of each block in the order of reading; words that have no place are left out."""
    for _, lines in itertools.groupby(result.lines, lambda line: line.block):
        placed = [line for line in lines if all(math.isfinite(value) for value in line.box)]
        if placed:
            yield placed


def certainty(score: float) -> float:
    """Clip a score to [0, 1]; 0 where it is not finite."""
    return min(max(score, 0.0), 1.0) if math.isfinite(score) else 0.0


def outer_box(boxes: list[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    """Return the smallest box around boxes x0, y0, x1, y1."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def xml_text(text: str) -> str:
    """Return text that XML can hold: what it has no way to write (control characters, lone surrogates) becomes U+FFFD."""
    return "".join(
        c if c in "\t\n\r" or " " <= c < "\ud800" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "\ufffd" for c in text
    )
