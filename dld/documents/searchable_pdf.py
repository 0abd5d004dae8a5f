"""A PDF that shows the picture and holds its words as invisible text where they stand: it can be searched and copied from.

Words on a slant are written level (:func:`_levelled`).
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from dld.documents.invisible_font import invisible_font
from dld.documents.page import DocumentPage, blocks_of
from dld.page.baselines import text_axes

__all__ = ["INSTALL", "check_installed", "searchable_pdf"]

INSTALL = 'pip install "dld[pdf]"'
# pixels to an inch; pages larger than PDF allows become smaller
DPI = 150
LARGEST_PAGE = 14_400.0
# of the height of a word how far its base line lies below its middle, and how high letters stand in a size of type
BELOW_MIDDLE, LETTERS = 0.4, 1.0
INVISIBLE = 3
FACE = "dld-invisible"


def check_installed() -> None:
    """Check that PDFs can be written.

    Raises:
        ImportError: reportlab is not installed; names the extra.
    """
    try:
        import reportlab  # noqa: F401
    except ImportError:
        raise ImportError(f"writing PDF needs reportlab: {INSTALL}") from None


def searchable_pdf(pages: Sequence[DocumentPage]) -> bytes:
    """Write the pages of one file as a PDF, 150 pixels to an inch.

    Args:
        pages: with their pictures.

    Raises:
        ImportError: reportlab is not installed; names the extra.
        ValueError: a page without picture.
    """
    check_installed()
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    face = FACES.for_characters({c for page in pages for word in page.result.words for c in _printable(word.text)})
    file = io.BytesIO()
    canvas = Canvas(file, pageCompression=1, invariant=1)
    canvas.setCreator("dld")
    if pages and pages[0].result.file_name:
        canvas.setTitle(Path(pages[0].result.file_name).name.encode("utf-8", "replace").decode())
    for page in pages:
        if page.jpeg is None:
            raise ValueError("a searchable PDF shows the picture: give its pixels")
        width, height = page.result.width, page.result.height
        unit = min(72 / DPI, LARGEST_PAGE / max(width, height, 1))
        canvas.setPageSize((width * unit, height * unit))
        canvas.drawImage(ImageReader(io.BytesIO(page.jpeg)), 0, 0, width * unit, height * unit)
        _add_text(canvas, page, unit, face)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def _add_text(canvas, page: DocumentPage, unit: float, face: str) -> None:
    from reportlab.pdfbase.pdfmetrics import stringWidth

    turn = page.result.rotation
    for lines in blocks_of(page.result):
        for line in lines:
            words = [word for word in line.words if _printable(word.text).strip()]
            axes = text_axes([word.polygon for word in words], [word.text for word in words], turn)
            onward = sum((end - start for start, end, _ in axes), np.zeros(2))
            for k, (word, (start, end, height)) in enumerate(zip(words, axes, strict=True)):
                content = _printable(word.text)
                start, end = _levelled(start, end, onward)
                length = float(np.hypot(*(end - start)))
                size = max(height * LETTERS, 1.0) * unit
                natural = stringWidth(content, face, size)
                if not (length > 0 and natural > 0):
                    continue
                along = (end - start) / length
                x, y = start + np.array([-along[1], along[0]]) * height * BELOW_MIDDLE
                text = canvas.beginText()
                text.setTextRenderMode(INVISIBLE)
                text.setFont(face, size)
                text.setHorizScale(min(max(100 * length * unit / natural, 1.0), 10_000.0))
                # y points up in PDF
                c, s = along[0], -along[1]
                text.setTextTransform(c, s, -s, c, x * unit, (page.result.height - y) * unit)
                text.textOut(content + (" " if k < len(words) - 1 else ""))
                canvas.drawText(text)


def _levelled(start: np.ndarray, end: np.ndarray, onward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a word about its middle to the nearest of right, down, left and up, no longer than it is in that direction.

    All words of a line turn alike, by the sum `onward` of their directions; but those that stand across it by themselves.

    Poppler (`pdftotext`, and viewers built on it) takes a word apart whose characters stand on a slanted line: nobody would
    find it.
    """
    along = end - start
    axis = np.zeros(2)
    across = abs(along @ onward) < 0.5 * np.hypot(*along) * np.hypot(*onward)
    longer = int(np.argmax(np.abs(along if across else onward)))
    axis[longer] = np.copysign(abs(along[longer]) / 2, along[longer])
    middle = (start + end) / 2
    return middle - axis, middle + axis


class _Faces:
    """The invisible typefaces of this process.

    reportlab keeps the first typeface of a name for good, so one with more characters needs a name of its own. Each has all
    characters of those before, so there are never more of them than there were new characters.
    """

    def __init__(self) -> None:
        self.characters: set[str] = set()
        self.name, self._made, self._lock = "", 0, Lock()

    def for_characters(self, characters: set[str]) -> str:
        """Return the name of a registered typeface that has these characters."""
        from reportlab.pdfbase.pdfmetrics import registerFont
        from reportlab.pdfbase.ttfonts import TTFont

        with self._lock:
            if not self.name or not characters <= self.characters:
                self.characters |= characters | {chr(code) for code in range(0x20, 0x7F)}
                self._made += 1
                self.name = f"{FACE}-{self._made}"
                registerFont(TTFont(self.name, io.BytesIO(invisible_font(self.name, self.characters))))
            return self.name


FACES = _Faces()


def _printable(text: str) -> str:
    """Return the text without control characters; what reportlab cannot name, beyond U+FFFF, is U+FFFD."""
    return "".join(c if c <= "\uffff" else "\ufffd" for c in text if not unicodedata.category(c).startswith("C"))
