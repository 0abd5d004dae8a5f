"""Words set from glyphs that are rasterised once: several times faster than asking FreeType for every word."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dld.data.synthesis.fonts import RASTER_SIZES, FontFace, load_faces

__all__ = ["CachedFace", "load_cached_faces"]

# letters that leave room behind or before them; between others faces kern by less than is seen
_OPEN_BEHIND, _OPEN_BEFORE = frozenset("AFLPTVWY"), frozenset("ATVWY.,'")


class CachedFace:
    """A face at one size, its glyphs and the distances of their pairs kept.

    Letters that a font joins into one glyph stay single here. Handwriting, whose letters depend on their neighbours, is
    rasterised word by word.

    Attributes:
        capital_px: height of its capitals, in pixels.
        script, characters: as in :class:`~dld.data.synthesis.fonts.FontFace`.
    """

    def __init__(self, face: FontFace, size: int = RASTER_SIZES[1]) -> None:
        self.face, self.size = face, size
        # a hair less than the size that is rasterised: what is as large is not resized
        self.capital_px = size * face.capital_height * (1 - 1e-6)
        self.script, self.characters = face.script, face.characters
        self._glyphs: dict[str, tuple[np.ndarray, int, int]] = {}
        self._steps: dict[str, float] = {}

    def can_draw(self, text: str) -> bool:
        return self.face.can_draw(text)

    def label(self, text: str) -> str:
        """Return what a reader sees when this face draws `text`."""
        return self.face.label(text)

    def mask(self, text: str, capital_px: float, tracking: float = 0.0) -> tuple[np.ndarray, float, float]:
        """Draw one word as :meth:`FontFace.mask` does, each letter at a whole pixel.

        Raises:
            ValueError: `capital_px` is not that of this face.
        """
        if capital_px != self.capital_px:
            raise ValueError(f"this face has capitals of {self.capital_px} pixels, not of {capital_px}")
        if self.script:
            return self.face.mask(text, capital_px, tracking)
        pen, placed = 0.0, []
        left = top = right = bottom = 0
        step = tracking * capital_px
        for i, character in enumerate(text):
            ink, dx, y = self._glyphs.get(character) or self._rasterised(character)
            h, w = ink.shape
            if h:
                x = round(pen) + dx
                if placed:
                    left, top, right, bottom = min(left, x), min(top, y), max(right, x + w), max(bottom, y + h)
                else:
                    left, top, right, bottom = x, y, x + w, y + h
                placed.append((ink, x, y, w, h))
            pen += self._step(text[i : i + 2]) + step
        word = np.zeros((bottom - top, right - left), np.uint8)
        for ink, x, y, w, h in placed:
            region = word[y - top : y - top + h, x - left : x - left + w]
            np.maximum(region, ink, out=region)
        return word, float(left), float(top)

    def _rasterised(self, character: str) -> tuple[np.ndarray, int, int]:
        ink, dx, dy = self.face.mask(character, self.capital_px)
        found = self._glyphs[character] = (ink, round(dx), round(dy))
        return found

    def _step(self, pair: str) -> float:
        """Return how far the pen moves for the first of two letters, kerning included where it can be seen."""
        first, last = pair[0], pair[-1]
        if first not in _OPEN_BEHIND and last not in _OPEN_BEFORE:
            pair = first
        found = self._steps.get(pair)
        if found is None:
            font = self.face.sized(self.size)
            found = font.getlength(pair) - (font.getlength(last) if len(pair) == 2 else 0.0)
            self._steps[pair] = found
        return found


@lru_cache(maxsize=4)
def load_cached_faces(fonts_dir: str | None = None, more: str = "") -> dict[str, list[CachedFace]]:
    """Load usable faces by family as :func:`~dld.data.synthesis.fonts.load_faces` does; each keeps its glyphs."""
    return {family: [CachedFace(face) for face in faces] for family, faces in load_faces(fonts_dir, more).items()}
