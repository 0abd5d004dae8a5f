"""Pages of a PDF as pictures. Whatever is in them, text or scans, is drawn and then read as any picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pypdfium2

__all__ = ["DPI", "render_page", "rendered_size"]

DPI = 200
# a page may be a poster: its longer side gets no more pixels
LONGEST_SIDE = 8_000


def render_page(document: pypdfium2.PdfDocument, index: int) -> np.ndarray:
    """Draw a page, uint8 BGR (H, W, 3), at 200 pixels to an inch, turned as viewers show it.

    Args:
        index: of the page, from 0.

    Raises:
        ValueError: no such page, or one that cannot be drawn.
    """
    import pypdfium2

    try:
        page = document[index]
        scale = _scale(*page.get_size())
        bitmap = page.render(scale=scale, rev_byteorder=False, force_bitmap_format=pypdfium2.raw.FPDFBitmap_BGR)
        return np.ascontiguousarray(bitmap.to_numpy())
    except (pypdfium2.PdfiumError, IndexError) as error:
        raise ValueError(f"page {index + 1} of the PDF cannot be drawn: {error}") from error


def rendered_size(document: pypdfium2.PdfDocument, index: int) -> tuple[int, int]:
    """Return width and height in pixels that a page would be drawn with.

    Raises:
        ValueError: no such page.
    """
    import pypdfium2

    try:
        width, height = document.get_page_size(index)
    except (pypdfium2.PdfiumError, IndexError) as error:
        raise ValueError(f"page {index + 1} of the PDF cannot be drawn: {error}") from error
    scale = _scale(width, height)
    return math.ceil(width * scale), math.ceil(height * scale)


def _scale(width: float, height: float) -> float:
    return min(DPI / 72, LONGEST_SIDE / max(width, height, 1.0))
