"""Synthetic scene-text images: ``render_synthwords(index, seed, size)`` draws one, always the same for the same
arguments.

>>> picture = render_synthwords(7, seed=1, size=(320, 320))
>>> picture.image.shape, picture.words[0].text   # doctest: +SKIP
"""

import math
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from dld.data.synthesis.background import BackgroundBank, load_backgrounds
from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.effects import photograph
from dld.data.synthesis.fonts import load_faces
from dld.data.synthesis.geometry import project
from dld.data.synthesis.legibility import is_legible
from dld.data.synthesis.painting import draw_plate_style, draw_text_style, paint
from dld.data.synthesis.placement import FreeRoom
from dld.data.synthesis.signs import Camera, Sign, design_sign
from dld.data.synthesis.vocabulary import load_vocabulary

__all__ = ["SyntheticImage", "SyntheticWord", "render_synthwords"]

_SPLITS = {"train": 0, "val": 1}
_GAP = 3  # pixels kept free around a sign


class SyntheticWord(NamedTuple):
    """One word as it is labelled.

    Attributes:
        polygon: float32 (P, 2), pixels, clockwise from the start of the word's top edge.
        ignore: unreadable.
        chars: float32 (m, 4, 2), pixels, of each character of the text the four corners clockwise from its top left, the word
            upright; where the word is cut, beyond the image, too.
    """

    polygon: np.ndarray
    text: str
    ignore: bool
    chars: np.ndarray


class SyntheticImage(NamedTuple):
    """``image``: uint8 BGR (height, width, 3); ``words``: every word drawn, unreadable ones included."""

    image: np.ndarray
    words: list[SyntheticWord]


class _Drawn(NamedTuple):
    polygon: np.ndarray
    text: str
    chars: np.ndarray
    capital_px: float
    clean: np.ndarray  # uint8 BGR, the whole sign on an even ground, cut to its region
    region: tuple[int, int, int, int]  # x0, y0, x1, y1


def _word_count(rng: np.random.Generator, config: SynthWordsConfig) -> int:
    if config.max_words == 0 or rng.random() < config.empty_rate:
        return 0
    return max(1, round(config.max_words * rng.random() ** ((1 - config.density) / config.density)))


def _heights(rng: np.random.Generator, config: SynthWordsConfig) -> tuple[float, float]:
    """Draw the image's own range of letter heights, pixels."""
    low, high = math.log(config.min_height), math.log(config.max_height)
    center, reach = rng.uniform(low, high), rng.uniform(0, math.log(config.spread))
    return max(low, center - reach), min(high, center + reach)


def _place(rng: np.random.Generator, sign: Sign, room: FreeRoom, config: SynthWordsConfig) -> Sign | None:
    """Put the sign at a free place, made smaller if there is none at its size; return None when it still does not fit."""
    height, width = config.size
    across = rng.random() < config.cut_rate
    for _ in range(4):
        corners = sign.corners()
        low, high = corners.min(0) - _GAP, corners.max(0) + _GAP
        w, h = high - low
        if across:
            x, y = rng.uniform(-0.6 * w, width - 0.4 * w), rng.uniform(-0.6 * h, height - 0.4 * h)
            place = (x, y) if room.is_free(x, y, x + w, y + h) else None
        else:
            place = room.find(rng, w, h)
        if place is not None:
            room.take(place[0], place[1], place[0] + w, place[1] + h)
            return sign.moved(place[0] - low[0], place[1] - low[1])
        if sign.capital_px * 0.7 < config.min_height:
            return None
        sign, across = sign.scaled(0.75), False
    return None


def _side(points: np.ndarray) -> float:
    """Return the mean length of the two ends of a word's outline: its height."""
    n = len(points)
    return 0.5 * (math.dist(points[0], points[-1]) + math.dist(points[n // 2 - 1], points[n // 2]))


def _draw(rng: np.random.Generator, image: np.ndarray, sign: Sign, surfaces: BackgroundBank) -> list[_Drawn]:
    height, width = image.shape[:2]
    corners = sign.corners()
    x0, y0 = (max(0, math.floor(v)) for v in corners.min(0))
    x1, y1 = (min(size, math.ceil(v) + 1) for v, size in zip(corners.max(0), (width, height), strict=True))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return []
    region = image[y0:y1, x0:x1]
    ground = cv2.mean(region)[:3]
    plate = draw_plate_style(rng, ground, sign.capital_px, sign.lettering.disc is not None) if sign.plated else None
    style = draw_text_style(rng, plate.color if plate else ground, sign.capital_px, plate is None)
    texture = None
    if rng.random() < (0.4 if plate else 0.15):
        texture = surfaces.grey(rng, *sign.lettering.ink.shape)
    layer = paint(rng, sign.lettering, style, plate, texture)
    # Outlines take pixel (i, j) for the square from (j, i) to (j + 1, i + 1); OpenCV takes its centre as the integer.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = np.array([[1, 0, -0.5 - x0], [0, 1, -0.5 - y0], [0, 0, 1]])
    layer = cv2.warpPerspective(layer, back @ sign.homography @ half, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    rest = cv2.bitwise_not(layer[..., 3])
    rest, painted = cv2.merge([rest, rest, rest]), layer[..., :3]
    even = np.empty_like(region)
    even[:] = [round(c) for c in ground]
    clean = cv2.add(cv2.multiply(even, rest, scale=1 / 255), painted)
    cv2.add(cv2.multiply(region, rest, scale=1 / 255), painted, region)
    drawn = []
    for (outline, text), corners in zip(sign.lettering.words, sign.lettering.characters, strict=True):
        polygon = project(sign.homography, outline)
        chars = project(sign.homography, corners.reshape(-1, 2)).reshape(-1, 4, 2).astype(np.float32)
        capital_px = sign.capital_px * _side(polygon) / _side(outline)
        drawn.append(_Drawn(polygon, text, chars, capital_px, clean, (x0, y0, x1, y1)))
    return drawn


def _judged(word: _Drawn, image: np.ndarray) -> SyntheticWord | None:
    """Return the word as labelled: cut to the image, ignored if cut or unreadable; None outside the image."""
    height, width = image.shape[:2]
    polygon, cut = word.polygon, False
    (left, top), (right, bottom) = polygon.min(0), polygon.max(0)
    if left < 0 or top < 0 or right > width or bottom > height:
        from dld.structures.polygon import clip_polygon, polygon_area

        clipped = clip_polygon(polygon, width, height)
        if clipped is None or polygon_area(clipped) < 4.0:
            return None
        cut = polygon_area(clipped) < 0.97 * polygon_area(polygon)
        polygon = clipped
    if cut:
        return SyntheticWord(polygon.astype(np.float32), word.text, True, word.chars)
    x0, y0 = max(math.floor(left), word.region[0]), max(math.floor(top), word.region[1])
    x1, y1 = min(math.ceil(right), word.region[2]), min(math.ceil(bottom), word.region[3])
    clean = word.clean[y0 - word.region[1] : y1 - word.region[1], x0 - word.region[0] : x1 - word.region[0]]
    legible = is_legible(image[y0:y1, x0:x1], clean, polygon - (x0, y0), word.capital_px)
    return SyntheticWord(polygon.astype(np.float32), word.text, not legible, word.chars)


def render_synthwords(
    index: int,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    max_words: int | None = None,
    density: float | None = None,
    split: str = "train",
    config: SynthWordsConfig | None = None,
) -> SyntheticImage:
    """Render image ``index`` of a split.

    Args:
        index: at least 0.  seed, size (height, width), max_words, density: override those of ``config``.
        split: "train" or "val"; the two never share a random stream.

    Raises:
        ValueError: an unknown split, a negative index, or a bad option (see :class:`SynthWordsConfig`).
    """
    given = {"seed": seed, "size": size, "max_words": max_words, "density": density}
    given = {key: value for key, value in given.items() if value is not None}
    config = replace(config or SynthWordsConfig(), **given) if given or config is None else config
    if split not in _SPLITS:
        raise ValueError(f"split {split!r} is neither 'train' nor 'val'")
    if index < 0:
        raise ValueError(f"index {index} is negative")
    rng = np.random.default_rng([config.seed, _SPLITS[split], index])
    vocabulary = load_vocabulary(config.words_file)
    families = load_faces(config.fonts_dir, vocabulary.beyond_ascii)
    height, width = config.size
    backgrounds = load_backgrounds(config.backgrounds_dir)
    image = backgrounds.draw(rng, height, width)
    low, high = _heights(rng, config)
    camera, room = Camera.draw(rng), FreeRoom(width, height)
    wanted, drawn = _word_count(rng, config), []
    for _ in range(2 * wanted):
        if len(drawn) >= wanted:
            break
        capital = math.exp(rng.uniform(low, high))
        sign = design_sign(rng, config, vocabulary, families, camera, capital, wanted - len(drawn))
        sign = sign and _place(rng, sign, room, config)
        if sign is not None:
            drawn += _draw(rng, image, sign, backgrounds)
    image = photograph(rng, image, math.exp(0.5 * (low + high)), config.effects)
    words = [word for item in drawn if (word := _judged(item, image)) is not None]
    return SyntheticImage(image, words)
