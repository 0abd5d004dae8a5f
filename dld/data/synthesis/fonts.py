"""The typefaces that words are set in: where they come from, what each can draw, and what its lower case looks like.

A *family* is one design ("Oswald"); a *face* is one cut of it (a file, at one weight of a variable font). The first
source that has anything counts: a folder given by the user; the installed ``fontpkg-*`` packages (unmodified Google
Fonts with their licences); matplotlib's DejaVu, with a warning, because one family teaches little.
"""

import importlib.metadata
import importlib.util
import logging
import os
import string
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["FontFace", "find_font_files", "load_faces", "PRINTABLE"]

PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))
"""The 94 visible ASCII characters: all that a synthetic word may contain, but for those of a user's word list."""

RASTER_SIZES = (28, 64, 160)
"""Em sizes (pixels) glyphs are rasterised at; text between them is averaged down, so that few fonts stay open."""

_UNREADABLE_CUTS = ("thin", "extralight", "hairline")
_WEIGHTS = (400, 600, 800)
_SCRIPTS = ("Caveat", "Dancing Script", "Great Vibes", "Lobster", "Oleo Script", "Pacifico", "Satisfy", "Yellowtail")
# A capital and its lower case that have the same shape in ordinary faces (c, o, s, ...) say nothing about the face.
_TELLING_LETTERS = "abdefghmnqrt"


def _package_files() -> list[Path]:
    files: list[Path] = []
    for entry in importlib.metadata.entry_points(group="fontpkg.family"):
        spec = importlib.util.find_spec(entry.value.split(":")[0])
        for root in (spec.submodule_search_locations or []) if spec else []:
            files += sorted(Path(root).rglob("*.[to]tf"))
    return files


def find_font_files(fonts_dir: str | None = None) -> list[Path]:
    """List font files in a fixed order: of ``fonts_dir``, else of the font packages, else DejaVu (with a warning).

    Raises:
        FileNotFoundError: ``fonts_dir`` is given and holds no ``.ttf`` or ``.otf``, at any depth.
    """
    if fonts_dir:
        files = sorted(p for p in Path(fonts_dir).rglob("*") if p.suffix.lower() in (".ttf", ".otf"))
        if not files:
            raise FileNotFoundError(f"no .ttf or .otf file under fonts_dir {fonts_dir!r}")
        return files
    files = _package_files()
    if not files:
        import matplotlib

        files = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVu*.ttf"))
        files = [path for path in files if "Display" not in path.name]
        logging.getLogger(__name__).warning(
            "no fontpkg-* package is installed: synthwords falls back to DejaVu. "
            "Install the packages of the requirements, or give a folder of fonts (fonts_dir)."
        )
    return sorted(files, key=lambda path: path.name)


@dataclass
class FontFace:
    """One cut of a family.

    Attributes:
        path: the font file.  axes: design-axis values of a variable font, None for a static one.
        family: typographic family name.  italic: slanted cut.
        characters: the printable ASCII characters, and others asked for, that it has a visible glyph for.
        unicase: it draws lower case as capitals, so that the label of what it draws is upper case.
        script: connected handwriting, which nobody sets in capitals.
        capital_height: height of "H" as a fraction of the em.
    """

    path: Path
    family: str
    axes: tuple[float, ...] | None = None
    italic: bool = False
    characters: frozenset[str] = frozenset()
    unicase: bool = False
    script: bool = False
    capital_height: float = 0.7
    _sized: dict[tuple[int, int], ImageFont.FreeTypeFont] = field(default_factory=dict, repr=False)
    _extents: dict[tuple[int, str], tuple[float, float, float, float]] = field(default_factory=dict, repr=False)

    def sized(self, size: int) -> ImageFont.FreeTypeFont:
        """Return the FreeType font at ``size`` pixels per em, opened once."""
        # A forked worker opens its own: a file shared with the parent would share its reading position too.
        key = (os.getpid(), size)
        font = self._sized.get(key)
        if font is None:
            font = ImageFont.truetype(str(self.path), size)
            if self.axes is not None:
                font.set_variation_by_axes(list(self.axes))
            self._sized[key] = font
        return font

    def can_draw(self, text: str) -> bool:
        return self.characters.issuperset(text)

    def label(self, text: str) -> str:
        """Return what a reader sees when this face draws ``text``."""
        return text.upper() if self.unicase else text

    def mask(self, text: str, capital_px: float, tracking: float = 0.0) -> tuple[np.ndarray, float, float]:
        """Rasterise one word.

        Args:
            text: characters of this face.
            capital_px: wanted height of a capital in pixels.
            tracking: extra space between letters, in capital heights.

        Returns:
            coverage (uint8, H x W, tight around the ink), x of its left edge relative to the pen, y of its top edge
            relative to the baseline (negative above), both in pixels; empty array when nothing is drawn.
        """
        size, scale = self._raster(capital_px)
        font = self.sized(size)
        pad = size
        step = tracking * self.capital_height * size
        width = int(font.getlength(text) + max(step, 0) * len(text)) + 2 * pad
        image = Image.new("L", (width, 3 * size))
        draw = ImageDraw.Draw(image)
        if tracking:
            for i, character in enumerate(text):
                x = pad + font.getlength(text[:i]) + i * step
                draw.text((x, 2 * size), character, font=font, fill=255, anchor="ls")
        else:
            draw.text((pad, 2 * size), text, font=font, fill=255, anchor="ls")
        box = image.getbbox()
        if box is None:
            return np.zeros((0, 0), np.uint8), 0.0, 0.0
        ink = np.asarray(image.crop(box))
        if abs(scale - 1) > 0.01:
            out = (max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale)))
            ink = cv2.resize(ink, out, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        return ink, (box[0] - pad) * scale, (box[1] - 2 * size) * scale

    def character_boxes(self, text: str, capital_px: float, tracking: float = 0.0) -> np.ndarray:
        """Return where :meth:`mask` draws each character.

        A box holds the character's ink and all that the pen moves for it; those of slanted letters overlap.

        Returns:
            float64 (m, 4), x0, y0, x1, y1 in pixels, relative to the pen's start and the baseline.
        """
        size, scale = self._raster(capital_px)
        font = self.sized(size)
        step = tracking * self.capital_height * size
        ends = [font.getlength(text[:i]) for i in range(len(text) + 1)]
        boxes = []
        for i, character in enumerate(text):
            ink = self._extents.get((size, character))
            if ink is None:
                ink = self._extents[size, character] = font.getbbox(character, anchor="ls")
            x0, y0, x1, y1 = ink
            start, end = ends[i] + i * step, ends[i + 1] + i * step
            boxes.append((min(start, start + x0), y0, max(end, start + x1), y1))
        return np.array(boxes, np.float64).reshape(-1, 4) * scale

    def _raster(self, capital_px: float) -> tuple[int, float]:
        """Return the em size that words of this height are rasterised at, and the factor that then resizes them."""
        em = capital_px / self.capital_height
        size = next((s for s in RASTER_SIZES if s >= em), RASTER_SIZES[-1])
        return size, em / size

    def __getstate__(self):
        return {**self.__dict__, "_sized": {}}


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    size = font.size
    image = Image.new("L", (4 * size, 4 * size))
    ImageDraw.Draw(image).text((size, 2 * size), character, font=font, fill=255, anchor="ls")
    box = image.getbbox()
    return np.zeros((0, 0), np.uint8) if box is None else np.asarray(image.crop(box))


def _draws_capitals_for_lower_case(font: ImageFont.FreeTypeFont, characters: frozenset[str]) -> bool:
    """Tell whether small letters are the capitals, up to scale, or all as tall as capitals (hand-drawn alternates)."""
    same, tall, seen = 0, 0, 0
    for letter in _TELLING_LETTERS:
        if letter not in characters or letter.upper() not in characters:
            continue
        small, capital = _glyph(font, letter), _glyph(font, letter.upper())
        seen += 1
        tall += small.shape[0] > 0.9 * capital.shape[0]
        a, b = (cv2.resize(g, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) for g in (small, capital))
        same += np.minimum(a, b).sum() / max(np.maximum(a, b).sum(), 1) > 0.8
    # b, d, f, h and t are tall in every face; the others only where small letters imitate capitals.
    return seen > 0 and (same >= 0.75 * seen or tall == seen)


def _describe(
    path: Path, axes: tuple[float, ...] | None, family: str, italic: bool, cmap: set[int], more: str
) -> FontFace | None:
    face = FontFace(path, family, axes, italic, script=family in _SCRIPTS)
    font = face.sized(RASTER_SIZES[1])
    # A character outside of the font's map would come out as an empty box; a few fonts map one to nothing.
    drawn = frozenset(c for c in PRINTABLE + more if ord(c) in cmap and font.getmask(c).getbbox())
    if not drawn.issuperset(string.ascii_uppercase):
        return None
    face.unicase = not drawn.issuperset(string.ascii_lowercase) or _draws_capitals_for_lower_case(font, drawn)
    # A sharp s has no capital of one letter, so nobody knows what such a face draws for it.
    face.characters = frozenset(c for c in drawn if c.upper() in drawn) if face.unicase else drawn
    face.capital_height = _glyph(font, "H").shape[0] / font.size
    return face


def _faces_of_file(path: Path, more: str) -> list[FontFace]:
    from fontTools.ttLib import TTFont

    with TTFont(path, lazy=True) as table:
        names = table["name"]
        family = names.getBestFamilyName() or path.stem
        style = (names.getBestSubFamilyName() or "").lower()
        cmap = set(table.getBestCmap() or {})
        axes = [(a.axisTag, a.minValue, a.defaultValue, a.maxValue) for a in table["fvar"].axes] if "fvar" in table else []
        italic = "italic" in style or "oblique" in style or "Italic" in path.stem
    cuts: list[tuple[float, ...] | None] = [None]
    if any(tag == "wght" for tag, *_ in axes):
        low, high = next((lo, hi) for tag, lo, _, hi in axes if tag == "wght")
        weights = sorted({min(max(w, low), high) for w in _WEIGHTS})
        cuts = [tuple(w if tag == "wght" else default for tag, _, default, _ in axes) for w in weights]
    elif any(cut in style.replace(" ", "") for cut in _UNREADABLE_CUTS):
        return []
    first = _describe(path, cuts[0], family, italic, cmap, more)
    # The weights of one variable font share repertoire, letter shapes and capital height: examined once.
    return [] if first is None else [replace(first, axes=cut, _sized={}, _extents={}) for cut in cuts]


@lru_cache(maxsize=4)
def load_faces(fonts_dir: str | None = None, more: str = "") -> dict[str, list[FontFace]]:
    """Load usable faces by family, both in a fixed order; each set of arguments is examined once per process.

    Args:
        fonts_dir: a folder of fonts, at any depth; None: the installed ones.
        more: characters beyond ASCII to look for in each; :attr:`FontFace.characters` says which it has.

    Raises:
        FileNotFoundError: no font file at ``fonts_dir``.
        ValueError: none of the files found draws the capital letters.
    """
    families: dict[str, list[FontFace]] = {}
    for path in find_font_files(fonts_dir):
        try:
            faces = _faces_of_file(path, more)
        except Exception as error:  # a broken file in a user's folder must not end a training run
            logging.getLogger(__name__).warning("font %s is left out: %s", path, error)
            continue
        for face in faces:
            families.setdefault(face.family, []).append(face)
    if not families:
        raise ValueError(f"no usable font among {len(find_font_files(fonts_dir))} files (fonts_dir={fonts_dir!r})")
    return dict(sorted(families.items()))
