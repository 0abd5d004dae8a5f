"""A typeface of boxes for text that nobody sees: it has whatever characters a document holds, in any script."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

__all__ = ["invisible_font"]

UNITS = 1000
ASCENT, DESCENT = 800, -200
NARROW, WIDE = 500, 1000


def invisible_font(name: str, characters: Iterable[str]) -> bytes:
    """Build a TrueType file of boxes for characters, half a unit wide, or a whole one where East Asian text is wide.

    A glyph of its own for each is what programs find the text again by.

    Args:
        name: of the typeface, ASCII without blanks.
        characters: single characters, in any order.
    """
    codes = sorted({ord(c) for c in characters} | {0x20})
    names = {code: f"u{code:05X}" for code in codes}
    widths = {code: WIDE if unicodedata.east_asian_width(chr(code)) in "WF" else NARROW for code in codes}
    boxes = {width: _box(width) for width in (NARROW, WIDE)}
    builder = FontBuilder(UNITS, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf({".notdef": boxes[NARROW], **{names[code]: boxes[widths[code]] for code in codes}})
    builder.setupHorizontalMetrics({".notdef": (NARROW, 0), **{names[code]: (widths[code], 0) for code in codes}})
    builder.setupHorizontalHeader(ascent=ASCENT, descent=DESCENT)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name})
    builder.setupOS2(sTypoAscender=ASCENT, sTypoDescender=DESCENT, usWinAscent=ASCENT, usWinDescent=-DESCENT, sCapHeight=ASCENT)
    builder.setupPost()
    file = io.BytesIO()
    builder.save(file)
    return file.getvalue()


def _box(width: int):
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, ASCENT), (width, ASCENT), (width, 0)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()
