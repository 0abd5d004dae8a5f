"""Draws text with whatever fonts are installed: each character in the first font that has it, the rest escaped.

A character that no font has would come out as an empty box, and all boxes look alike; its escape (``\\u4e2d``) says
what it is.
"""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

__all__ = ["LabelFont", "escape"]

# Fonts that "have" every character, drawn as a placeholder.
_PLACEHOLDER_FONTS = ("lastresort", "adobeblank", "notdef")


def escape(character: str) -> str:
    """Return the escape that Python writes for one character: four digits up to U+FFFF, eight above."""
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


@lru_cache(maxsize=64)
def _charmap(path: str) -> frozenset[int]:
    """Return the code points of a font file; none for a file that is no scalable font (such as a bitmap or colour font)."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(path, 13)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=256)
def _face(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _installed_fonts() -> tuple[str, ...]:
    """List all fonts that matplotlib finds, plain cuts first, in an order that does not depend on the disk."""
    from matplotlib.font_manager import fontManager

    plain_first = sorted(fontManager.ttflist, key=lambda f: (f.style != "normal", str(f.weight) != "400", f.fname))
    names = dict.fromkeys(font.fname for font in plain_first)
    return tuple(name for name in names if not any(word in Path(name).stem.lower() for word in _PLACEHOLDER_FONTS))


def _default_font() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


class LabelFont:
    """Draws and measures single lines of text.

    Args:
        font_path: a font file to prefer; characters it lacks come from DejaVu Sans, then from any other installed font.

    Raises:
        FileNotFoundError: there is no file `font_path`.
        ValueError: it is not a scalable font.
    """

    def __init__(self, font_path: str | os.PathLike | None = None) -> None:
        self.paths = [_default_font()]
        if font_path is not None:
            if not Path(font_path).is_file():
                raise FileNotFoundError(f"there is no font file {font_path}")
            if not _charmap(str(font_path)):
                raise ValueError(f"{font_path} is not a scalable font (.ttf, .otf, .ttc)")
            self.paths.insert(0, str(font_path))
        self._font_of: dict[str, str | None] = {}

    def font_of(self, character: str) -> str | None:
        """Return the font file that draws a character; None if no installed font can, or if it has nothing to show."""
        if character not in self._font_of:
            self._font_of[character] = self._search(character)
        return self._font_of[character]

    def _search(self, character: str) -> str | None:
        # C*: control, format, surrogate, private, unassigned. Z*: spaces, which a reader could not tell from a blank.
        if character != " " and unicodedata.category(character)[0] in "CZ":
            return None
        for path in self.paths:
            if ord(character) in _charmap(path):
                return path
        return next((path for path in _installed_fonts() if ord(character) in _charmap(path)), None)

    def visible(self, text: str) -> str:
        """Replace every character of a text that cannot be shown by its escape."""
        return "".join(character if self.font_of(character) else escape(character) for character in text)

    def _runs(self, text: str) -> list[tuple[str, str]]:
        runs: list[tuple[str, str]] = []
        for character in self.visible(text):
            path = self.font_of(character) or self.paths[-1]
            if runs and runs[-1][0] == path:
                runs[-1] = (path, runs[-1][1] + character)
            else:
                runs.append((path, character))
        return runs

    def measure(self, text: str, size: int) -> tuple[int, int]:
        """Measure width and line height in pixels at `size` pixels per em."""
        ascent, descent = _face(self.paths[0], size).getmetrics()
        width = sum(_face(path, size).getlength(run) for path, run in self._runs(text))
        return round(width + 0.5), ascent + descent

    def draw(self, draw: ImageDraw.ImageDraw, xy: tuple[int, int], text: str, size: int, fill: tuple[int, ...]) -> None:
        """Draw one line with its upper left corner at `xy` (pixels); it covers the size that `measure` gives."""
        x, baseline = xy[0], xy[1] + _face(self.paths[0], size).getmetrics()[0]
        for path, run in self._runs(text):
            face = _face(path, size)
            draw.text((x, baseline), run, font=face, fill=fill, anchor="ls")
            x += face.getlength(run)
