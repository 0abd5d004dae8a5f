"""Words of generated strips before they have colours: set in a face, with what stands around them, and straightened badly.

n words, W_i columns of a word's strip of 48 rows. A word's *plane* is flat and has the size its face is rasterised at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from dld.data.synthesis.config import SynthStripsConfig
from dld.data.synthesis.glyph_cache import CachedFace
from dld.data.synthesis.lettering import Line, padded_box, set_line
from dld.data.synthesis.signs import choose_face, face_for
from dld.data.synthesis.vocabulary import Vocabulary, set_case
from dld.strips.cutting import strip_widths
from dld.strips.heights import MARGIN, STRIP_ROWS, TEXT_ROWS

__all__ = ["PlaneWord", "Warps", "draw_warps", "set_plane", "straightened"]

# what a vocabulary's own words have too few of
_NUMBERS = (
    "price",
    "price",
    "time",
    "time",
    "phone",
    "phone",
    "date",
    "date",
    "code",
    "code",
    "percent",
    "year",
    "email",
    "url",
)
_NUMBERS_RATE = 0.15
_TRACKED_RATE = 0.15
# a mark lower than this share of a capital (a dash, a stop) would fill a strip without a sign of what it is
_LOWEST = 0.35
_ATTEMPTS = 10
_LONGEST = 25
# letters of the words beside a word: a strip shows no more of them
_BESIDE = 3
_FILLERS, _FILLER_WIDTH = 4, 1200.0


class PlaneWord(NamedTuple):
    """A word in its plane.

    Attributes:
        ink: coverage, uint8, with what stands around the word.
        box: x0, y0, x1, y1, what would be annotated as its box.
        text: what a reader sees.
        capital: height of capitals as a share of the box's height.
    """

    ink: np.ndarray
    box: tuple[float, float, float, float]
    text: str
    capital: float


class Warps(NamedTuple):
    """How the sides of n words differ from where they should be. Lengths are in heights of the word.

    Attributes:
        top, bottom: (n, 2), offsets of both sides downwards, at start and end.
        ends: (n, 2), what is seen before and behind the word; negative where it is cut.
        bend: (n,), how far the middle lies below the ends.
        waves: (n, 3), a sine's height, periods along the word, phase.
        shear, fan: (n,), how far the top is ahead of the bottom, and how much more at the end than in the middle.
        perspective: (n,), how much larger the letters are at the start than in the middle, a share.
        stretch: (n,), factor of the columns.
    """

    top: np.ndarray
    bottom: np.ndarray
    ends: np.ndarray
    bend: np.ndarray
    waves: np.ndarray
    shear: np.ndarray
    fan: np.ndarray
    perspective: np.ndarray
    stretch: np.ndarray


def draw_warps(rng: np.random.Generator, n: int, amount: float) -> Warps:
    """Draw what straightening got wrong for n words; with an amount of 0 everything is where it should be."""

    def normal(sigma: float, most: float, *shape: int) -> np.ndarray:
        return amount * np.clip(sigma * rng.standard_normal((n, *shape)), -most, most)

    turn = normal(0.025, 0.08, 1) * (-1.0, 1.0)
    shear, fan = normal(0.1, 0.35), normal(0.08, 0.3) * (rng.random(n) < 0.4)
    # who cuts a slanted word leaves room for its slant
    ends = amount * rng.uniform(-0.05, 0.14, (n, 2)) + 0.3 * (np.abs(shear) + np.abs(fan))[:, None]
    waves = np.stack([normal(0.012, 0.04), rng.uniform(0.5, 2.5, n), rng.uniform(0, 2 * math.pi, n)], 1)
    return Warps(
        top=turn + normal(0.03, 0.1, 2),
        bottom=turn + normal(0.03, 0.1, 2),
        ends=ends,
        bend=normal(0.03, 0.12) * (rng.random(n) < 0.5),
        waves=waves,
        shear=shear,
        fan=fan,
        perspective=normal(0.12, 0.35),
        stretch=np.exp(normal(0.14, 0.45)),
    )


def set_plane(
    rng: np.random.Generator, vocabulary: Vocabulary, families: dict[str, list[CachedFace]], config: SynthStripsConfig
) -> PlaneWord:
    """Draw a text, a face and what stands around the word, and set it."""
    for _ in range(_ATTEMPTS):
        face, text, before, behind = _choose(rng, vocabulary, families, config)
        tracking = rng.uniform(0.05, 0.45) if rng.random() < _TRACKED_RATE and not face.script else 0.0
        gap = rng.uniform(0.1, 0.6) + tracking
        line, _ = set_line(face, [*before, text, *behind], face.capital_px, tracking, gap, math.inf)
        if line is None or len(line.boxes) != 1 + len(before) + len(behind):
            continue
        x0, y0, x1, y1 = line.boxes[len(before)]
        if y1 - y0 >= _LOWEST * face.capital_px:
            break
    else:
        raise ValueError(f"{_ATTEMPTS} words in a row cannot be drawn: no face has their characters")
    box = padded_box((x0, y0, x1, y1))
    height = box[3] - box[1]
    reach = (math.ceil(0.8 * height), math.ceil(0.4 * height))
    left, top = math.floor(box[0]) - reach[0], math.floor(box[1]) - reach[1]
    ink = np.zeros((math.ceil(box[3]) + reach[1] - top, math.ceil(box[2]) + reach[0] - left), np.uint8)
    _lay(ink, line.mask, line.left - left, line.top - top)
    if rng.random() < config.lines_rate:
        for up in (True, False) if rng.random() < 0.4 else (rng.random() < 0.5,):
            other = _filler(vocabulary, face, int(rng.integers(_FILLERS)))
            pitch = face.capital_px * rng.uniform(1.1, 1.8)
            start = left - rng.uniform(0, max(_FILLER_WIDTH - ink.shape[1], 0))
            _lay(ink, other.mask, round(start) - left, round(-pitch if up else pitch) + other.top - top)
    moved = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return PlaneWord(ink, moved, line.texts[len(before)], face.capital_px / height)


def _choose(
    rng: np.random.Generator, vocabulary: Vocabulary, families: dict[str, list[CachedFace]], config: SynthStripsConfig
) -> tuple[CachedFace, str, list[str], list[str]]:
    """Draw a face, a word and the words before and behind it."""
    face = choose_face(rng, families)
    style = vocabulary.case_style(rng)
    if face.script and style == "upper":
        style = "title"
    if rng.random() < _NUMBERS_RATE:
        pieces = vocabulary.slot(rng, _NUMBERS[int(rng.integers(len(_NUMBERS)))]).split()
        text = pieces[int(rng.integers(len(pieces)))]
    else:
        text = vocabulary.word(rng)
    text = set_case(text, style)[:_LONGEST]
    face = face_for(rng, families, face, [text])
    before: list[str] = []
    behind: list[str] = []
    if rng.random() < config.neighbour_rate:
        where = rng.random()
        before = [set_case(vocabulary.word(rng), style)[-_BESIDE:]] if where < 0.65 else []
        behind = [set_case(vocabulary.word(rng), style)[:_BESIDE]] if where > 0.35 else []
    return face, text, list(filter(face.can_draw, before)), list(filter(face.can_draw, behind))


@lru_cache(maxsize=4096)
def _filler(vocabulary: Vocabulary, face: CachedFace, number: int) -> Line:
    """Return a line of words whose texts nobody asks for; each is set once in a process."""
    rng = np.random.default_rng([20250, number])
    style = vocabulary.case_style(rng)
    words = [set_case(vocabulary.dictionary_word(rng), style) for _ in range(40)]
    # every face has capitals
    words = [*filter(face.can_draw, words), "MN"]
    line, _ = set_line(face, words, face.capital_px, 0.0, 0.45, _FILLER_WIDTH)
    assert line is not None
    return line


def _lay(ink: np.ndarray, mask: np.ndarray, x: int, y: int) -> None:
    """Add a mask at a place that may reach over the border."""
    (h, w), (height, width) = mask.shape, ink.shape
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x0 < x1 and y0 < y1:
        region = ink[y0:y1, x0:x1]
        np.maximum(region, mask[y0 - y : y1 - y, x0 - x : x1 - x], out=region)


def straightened(words: Sequence[PlaneWord], warps: Warps, beyond: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Straighten words as :func:`dld.strips.cutting.cut_strips` does, between sides that are not quite theirs.

    Args:
        words, warps: of n words.
        beyond: columns more at either end of each strip, for what follows to reach into.

    Returns:
        coverage, uint8 (48, sum of W_i + 2 beyond), the strips side by side; and W, int64 (n,).
    """
    boxes = np.array([word.box for word in words])
    x0, y0, x1, y1 = boxes.T
    height, length = y1 - y0, x1 - x0
    sides = np.zeros((len(words), 2, 2, 2))
    sides[:, :, 1, 0] = (length * warps.stretch)[:, None]
    sides[:, 1, :, 1] = height[:, None]
    widths = strip_widths(sides, height)
    atlas = np.zeros((max(word.ink.shape[0] for word in words), sum(word.ink.shape[1] for word in words)), np.uint8)
    at = 0
    shift = np.zeros(len(words))
    for i, word in enumerate(words):
        h, w = word.ink.shape
        atlas[:h, at : at + w] = word.ink
        shift[i], at = at, at + w
    columns = widths + 2 * beyond
    of = np.repeat(np.arange(len(words)), columns)  # the word of each column
    column = np.arange(len(of)) - np.repeat(np.cumsum(columns) - columns, columns) - beyond
    t = (column + 0.5 - MARGIN) / (widths[of] - 2 * MARGIN)
    inside = np.clip(t, 0, 1)
    arch = 4 * inside * (1 - inside)
    ends = warps.ends * np.minimum(height, 0.6 * length)[:, None]
    x = x0 + shift - ends[:, 0]
    x = x[of] + (t + warps.perspective[of] * arch / 4) * (length + ends.sum(1))[of]
    lean = (height * warps.shear)[of] / 2 + (height * warps.fan)[of] * (inside - 0.5)
    rise = warps.bend[of] * arch + warps.waves[of, 0] * np.sin(2 * math.pi * warps.waves[of, 1] * t + warps.waves[of, 2])
    top, bottom = (side[of, 0] * (1 - t) + side[of, 1] * t + rise for side in (warps.top, warps.bottom))
    ends_x = np.stack([x + lean, x - lean]).astype(np.float32) - np.float32(0.5)
    ends_y = np.stack([y0[of] + height[of] * top, y1[of] + height[of] * bottom]).astype(np.float32) - np.float32(0.5)
    v = ((np.arange(STRIP_ROWS) + 0.5 - MARGIN) / TEXT_ROWS).astype(np.float32)[:, None]
    map_x, map_y = (pair[0] + (pair[1] - pair[0]) * v for pair in (ends_x, ends_y))
    return cv2.remap(atlas, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), widths
