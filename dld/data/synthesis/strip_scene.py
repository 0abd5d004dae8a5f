"""Items of synthstrips: words drawn straight onto strips, painted, and seen by a camera.

The words of an item are drawn in groups, side by side on one canvas: what costs a call is called once a group. A group was
taken by one camera at one distance; all else is each word's own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from dld.data.synthesis.background import BackgroundBank, load_backgrounds
from dld.data.synthesis.colors import contrasting, luma, muted_color, random_color
from dld.data.synthesis.config import SynthStripsConfig
from dld.data.synthesis.effects import photograph
from dld.data.synthesis.glyph_cache import load_cached_faces
from dld.data.synthesis.legibility import MIN_AMPLITUDE, MIN_CORRELATION
from dld.data.synthesis.lettering import Lettering
from dld.data.synthesis.painting import TextStyle, draw_text_style, paint
from dld.data.synthesis.strip_layout import draw_warps, set_plane, straightened
from dld.data.synthesis.vocabulary import load_vocabulary
from dld.strips.heights import STRIP_ROWS, TEXT_ROWS

__all__ = ["SyntheticStrip", "render_strips"]

# beside those of synthwords, which are 0 and 1
_SPLITS = {"train": 2, "val": 3}
_GROUP = 8
_SCENE = (240, 480)
# columns around each strip of a canvas: what blur and JPEG of a neighbour may reach into
_BEYOND = 8
# shares of the words
_MOTTLED, _EDGED, _WORN, _SHADED, _GLARE, _INVERTED = 0.4, 0.25, 0.15, 0.3, 0.06, 0.05
# the side of what counts as detail, in pixels of half a strip's rows: as in `legibility`, where capitals have 20 pixels
_DETAIL = 15


class SyntheticStrip(NamedTuple):
    """A word as a strip.

    Attributes:
        pixels: uint8 BGR (48, W, 3).
        text: what is drawn.
        height: of the word in the photo it seems to come from, in pixels.
        ignore: nobody could read it.
    """

    pixels: np.ndarray
    text: str
    height: float
    ignore: bool


def render_strips(index: int, split: str = "train", config: SynthStripsConfig | None = None) -> list[SyntheticStrip]:
    """Render item `index` of a split: as many strips as the configuration says.

    Raises:
        ValueError: an unknown split, a negative index, or words that no face can draw.
    """
    config = config or SynthStripsConfig()
    if split not in _SPLITS:
        raise ValueError(f"split {split!r} is neither 'train' nor 'val'")
    if index < 0:
        raise ValueError(f"index {index} is negative")
    rng = np.random.default_rng([config.seed, _SPLITS[split], index])
    surfaces = load_backgrounds(config.backgrounds_dir)
    scene = surfaces.draw(rng, *_SCENE)
    strips: list[SyntheticStrip] = []
    while len(strips) < config.words:
        strips += _group(rng, min(_GROUP, config.words - len(strips)), scene, surfaces, config)
    return strips


def _group(
    rng: np.random.Generator, count: int, scene: np.ndarray, surfaces: BackgroundBank, config: SynthStripsConfig
) -> list[SyntheticStrip]:
    """Draw some words that one camera took."""
    vocabulary = load_vocabulary(config.words_file)
    families = load_cached_faces(config.fonts_dir, vocabulary.beyond_ascii)
    words = [set_plane(rng, vocabulary, families, config) for _ in range(count)]
    ink, widths = straightened(words, draw_warps(rng, count, config.warp), _BEYOND)
    bounds = np.concatenate([[0], np.cumsum(widths + 2 * _BEYOND)])
    parts = [slice(int(a), int(b)) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    canvas = np.empty((*ink.shape, 3), np.uint8)
    # what the letters look like on an even ground, in grey
    clean, paints = np.empty_like(ink), np.empty_like(canvas)
    for word, part in zip(words, parts, strict=True):
        strip = canvas[:, part]
        plated = rng.random() < config.plate_rate
        if plated:
            _fill_plate(rng, strip, surfaces)
        else:
            strip[:] = _crop(rng, scene, strip.shape[:2])
        ground = cv2.mean(strip)[:3]
        clean[:, part] = round(luma(ground))
        style = draw_text_style(rng, ground, word.capital * TEXT_ROWS, not plated)
        worn = surfaces.grey(rng, *strip.shape[:2]) if rng.random() < _WORN else None
        if worn is None and _is_flat(style):
            _fill(paints[:, part], style.color)
            if style.opacity < 1:
                ink[:, part] = cv2.multiply(ink[:, part], style.opacity)
        else:
            layer = paint(rng, Lettering(np.ascontiguousarray(ink[:, part]), [], []), style, None, worn)
            _lay(strip, layer[..., :3], layer[..., 3])
            _lay(clean[:, part], cv2.cvtColor(layer, cv2.COLOR_BGRA2GRAY), layer[..., 3])
            ink[:, part] = 0
    # the letters of a single colour, of all words at once
    weight = ink.astype(np.float32)
    weight *= np.float32(1 / 255)
    rest = 1 - weight
    canvas = cv2.blendLinear(paints, canvas, weight, rest)
    clean = cv2.blendLinear(cv2.cvtColor(paints, cv2.COLOR_BGR2GRAY), clean, weight, rest)
    for part in parts:
        _light(rng, canvas[:, part], clean[:, part], config.effects)
    low, high = math.log(config.min_height), math.log(config.max_height)
    height = math.exp(rng.uniform(low, high))
    canvas = _photographed(rng, canvas, height, config.effects)
    readable = _readable(canvas, clean, bounds)
    return [
        SyntheticStrip(np.ascontiguousarray(canvas[:, part][:, _BEYOND:-_BEYOND]), word.text, height, not good)
        for word, part, good in zip(words, parts, readable.tolist(), strict=True)
    ]


def _is_flat(style: TextStyle) -> bool:
    """Tell whether letters are a single colour with nothing around them."""
    return not (style.hollow or style.second or style.outline or style.shadow or style.extrude or style.glow)


def _fill(image: np.ndarray, color) -> None:
    # OpenCV writes three channels several times faster than NumPy
    cv2.rectangle(image, (0, 0), (image.shape[1], image.shape[0]), [round(c) for c in color], -1)


def _lay(image: np.ndarray, painted: np.ndarray, cover: np.ndarray) -> None:
    """Lay what is painted, premultiplied by its coverage, over an image in place (all uint8)."""
    rest = cv2.bitwise_not(cover)
    rest = rest if image.ndim == 2 else cv2.merge([rest] * 3)
    cv2.add(cv2.multiply(image, rest, scale=1 / 255), painted, image)


def _fill_plate(rng: np.random.Generator, plate: np.ndarray, surfaces: BackgroundBank) -> None:
    """Fill a strip (uint8 BGR) with an even or mottled ground, which may end within it."""
    height, width = plate.shape[:2]
    color = random_color(rng) if rng.random() < 0.7 else muted_color(rng)
    _fill(plate, color)
    if rng.random() < _MOTTLED:
        texture, depth = surfaces.grey(rng, height, width), rng.uniform(0.1, 0.6)
        cv2.addWeighted(plate, 1.0, cv2.merge([texture] * 3), depth, -128 * depth, plate)
    if rng.random() < _EDGED:
        other = contrasting(rng, color, rng.uniform(20, 180))
        for edge in np.flatnonzero(rng.random(4) < 0.45).tolist():
            _edge(rng, plate, edge, other)


def _edge(rng: np.random.Generator, plate: np.ndarray, edge: int, color) -> None:
    """Paint what lies beyond the upper, lower, left or right end of a plate, or the line along it."""
    height, width = plate.shape[:2]
    first, second = rng.uniform(-1, 5, 2) if edge < 2 else _BEYOND + rng.uniform(-1, 5, 2)
    corners = {
        0: [(0, first), (width, second)],
        1: [(0, height - 1 - first), (width, height - 1 - second)],
        2: [(first, 0), (second, height)],
        3: [(width - 1 - first, 0), (width - 1 - second, height)],
    }[edge]
    outer = {0: [(width, -9), (0, -9)], 1: [(width, height + 9), (0, height + 9)]}
    outer |= {2: [(-9, height), (-9, 0)], 3: [(width + 9, height), (width + 9, 0)]}
    fill = tuple(round(c) for c in color)
    if rng.random() < 0.4:
        a, b = (tuple(round(16 * v) for v in corner) for corner in corners)
        cv2.line(plate, a, b, fill, int(rng.integers(1, 4)), cv2.LINE_AA, 4)
    else:
        points = np.round(16 * np.array([*corners, *outer[edge]])).astype(np.int32)
        cv2.fillConvexPoly(plate, points, fill, cv2.LINE_AA, 4)


def _crop(rng: np.random.Generator, scene: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a ground (uint8 BGR) out of a background, at some distance."""
    zoom = math.exp(rng.uniform(math.log(0.4), math.log(3)))
    h, w = (max(min(round(side / zoom), most), 4) for side, most in zip(size, scene.shape[:2], strict=True))
    y, x = int(rng.integers(scene.shape[0] - h + 1)), int(rng.integers(scene.shape[1] - w + 1))
    return cv2.resize(scene[y : y + h, x : x + w], size[::-1], interpolation=cv2.INTER_LINEAR)


def _light(rng: np.random.Generator, strip: np.ndarray, clean: np.ndarray, strength: float) -> None:
    """Change light and polarity of one word in place; `clean` follows where its letters turn from dark to light."""
    shaded, glare, inverted = rng.random(3) < (_SHADED * strength, _GLARE * strength, _INVERTED * strength)
    height, width = strip.shape[:2]
    if inverted:
        cv2.bitwise_not(strip, strip)
        cv2.bitwise_not(clean, clean)
    if shaded:
        field = rng.uniform(rng.uniform(0.4, 0.9), 1.1, (2, int(rng.integers(2, 4)), 1)).astype(np.float32)
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.multiply(strip, cv2.merge([field] * 3), strip, dtype=cv2.CV_8U)
    if glare:
        radius = height * rng.uniform(0.2, 0.8)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        across, down = (np.exp(-0.5 * ((np.arange(n) - at) / radius) ** 2) for n, at in ((width, x), (height, y)))
        spot = (rng.uniform(60, 230) * down[:, None] * across[None]).astype(np.uint8)
        cv2.add(strip, cv2.merge([spot] * 3), strip)


def _photographed(rng: np.random.Generator, canvas: np.ndarray, height: float, strength: float) -> np.ndarray:
    """Reduce a canvas to what a photo has of words of this height, take that photo, and enlarge it again."""
    scale, (rows, columns) = height / TEXT_ROWS, canvas.shape[:2]
    if scale < 1:
        size = (max(round(columns * scale), 1), max(round(rows * scale), 1))
        canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    canvas = photograph(rng, canvas, 0.7 * min(height, TEXT_ROWS), strength)
    if canvas.shape[:2] != (rows, columns):
        canvas = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return canvas


def _readable(canvas: np.ndarray, clean: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Tell which words can be read, bool (n,): :func:`dld.data.synthesis.legibility.is_legible` for a canvas."""
    size = (canvas.shape[1] // 2, STRIP_ROWS // 2)
    starts = np.minimum(bounds[:-1] // 2, size[0] - 1)
    details = []
    for image in (cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), clean):
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        details.append(small - cv2.blur(small, (_DETAIL, _DETAIL)))
    seen, drawn = details
    common, power, energy = (
        np.add.reduceat(cv2.reduce(a * b, 0, cv2.REDUCE_SUM)[0], starts)
        for a, b in ((seen, drawn), (drawn, drawn), (seen, seen))
    )
    count = np.diff([*starts, size[0]]) * size[1]
    power, energy = np.maximum(power, 1e-3), np.maximum(energy, 1e-3)
    return (common / np.sqrt(power * count) >= MIN_AMPLITUDE) & (common / np.sqrt(power * energy) >= MIN_CORRELATION)
