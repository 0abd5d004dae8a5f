"""Long and huge pictures in overlapping tiles, so that their words are not lost in the reduction of the whole.

The whole picture is read too, for words that are larger than the overlap. What several of these views show becomes one word:
first come words that a tile shows whole, then those of the whole picture that no tile can show whole, then words that the
border of a tile cuts. A word that covers one that is there already is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry import Polygon

from dld.structures.polygon import repair_polygon
from dld.structures.word import Word

__all__ = ["Tile", "check_tile", "merge_words", "tiles_of"]

# a picture is long where the limit of the long side reduces it to less than this share of what its short side allows
LONG = 0.7
# it is huge where its short side is reduced more than HUGE times; its tiles are reduced TILE_REDUCTION times
HUGE, TILE_REDUCTION = 6.0, 3.0
# length of a tile of a long picture, to the picture's short side or, where that has fewer pixels than the network sees, to the
# network's; and how much of that two neighbours share at least: a low picture is a line of words, each longer than it is high
ALONG, SHARED = 0.75, 0.25
SMALLEST_TILE = 64
# pixels from a border that cuts at which a word counts as cut
NEAR = 2.0
# share of the smaller of two outlines from which they are one word
SAME_WORD = 0.5


class Tile(NamedTuple):
    """A part of a picture in its pixels."""

    x0: int
    y0: int
    x1: int
    y1: int


def check_tile(tile: str | int | None) -> str | int:
    """Return the option as it is, "off" for None.

    Raises:
        ValueError: neither "auto", "off" nor a whole number of pixels from 64.
    """
    if tile is None or (isinstance(tile, str) and tile in ("auto", "off")):
        return tile or "off"
    try:
        side = int(tile)
    except (TypeError, ValueError, OverflowError):
        side = 0
    if side < SMALLEST_TILE or side != float(tile):
        raise ValueError(f'tile must be "auto", "off" or a side in pixels from {SMALLEST_TILE}, got {tile!r}')
    return side


def tiles_of(size: tuple[int, int], tile: str | int, short_side: int, longest_side: int) -> list[Tile]:
    """Lay tiles over a picture; none where it is read as a whole alone.

    Args:
        size: (H, W) of the picture in pixels.
        tile: "auto": only where it is long or huge, see the module; "off"; or the side of square tiles in pixels.
        short_side, longest_side: pixels that the network's input is resized to and limited to.
    """
    height, width = size
    short, long = min(size), max(size)
    if tile == "off" or short_side <= 0:
        return []
    if not isinstance(tile, str):
        return _grid(size, (min(tile, height), min(tile, width))) if long > tile else []
    wanted = short_side / short
    got = min(wanted, longest_side / long) if longest_side > 0 else wanted
    if wanted < 1 / HUGE:
        side = int(TILE_REDUCTION * short_side)
        return _grid(size, (min(side, height), min(side, width)))
    if got < LONG * wanted:
        along = max(round(ALONG * max(short, short_side)), SMALLEST_TILE)
        return _grid(size, (along, short) if height > width else (short, along))
    return []


def _grid(size: tuple[int, int], tile: tuple[int, int]) -> list[Tile]:
    """Lay tiles (H, W) at even distances; they cover the picture and share at least a part with their neighbours."""
    starts = []
    for length, side in zip(size, tile, strict=True):
        side = min(side, length)
        count = 1 + int(np.ceil((length - side) / max(side * (1 - SHARED), 1)))
        starts.append([round(k * (length - side) / max(count - 1, 1)) for k in range(count)])
    height, width = tile
    return [Tile(x, y, min(x + width, size[1]), min(y + height, size[0])) for y in starts[0] for x in starts[1]]


def merge_words(whole: Sequence[Word], parts: Sequence[tuple[Tile, Sequence[Word]]], size: tuple[int, int]) -> list[Word]:
    """Return the words of a picture, each once, the surest first.

    Args:
        whole: of the picture read as one.
        parts: of each tile; all polygons in pixels of the picture.
        size: (H, W) of the picture.
    """
    entire: list[Word] = []
    cut: list[Word] = []
    for tile, words in parts:
        for word in words:
            (cut if _is_cut(word, tile, size) else entire).append(word)
    large = [word for word in whole if not any(_fits(word, tile, size) for tile, _ in parts)]
    entire.sort(key=lambda word: -word.score)
    cut.sort(key=lambda word: -_area(word))  # of two pieces of a word the larger one
    kept: list[Word] = []
    shapes: list[Polygon] = []
    boxes = np.zeros((len(entire) + len(large) + len(cut), 4))
    for word in (*entire, *large, *cut):
        shape = _shape(word)
        if shape is None:
            continue
        box, others = np.array(shape.bounds), boxes[: len(shapes)]
        common = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
        if any(_same(shape, shapes[i]) for i in np.flatnonzero((common > 0).all(1))):
            continue
        boxes[len(shapes)] = box
        kept.append(word)
        shapes.append(shape)
    return sorted(kept, key=lambda word: -word.score)


def _shape(word: Word) -> Polygon | None:
    points = repair_polygon(word.polygon) if len(word.polygon) else None
    return None if points is None else Polygon(points)


def _area(word: Word) -> float:
    return float(np.prod(np.ptp(word.polygon, axis=0))) if len(word.polygon) else 0.0


def _same(a: Polygon, b: Polygon) -> bool:
    return bool(shapely.intersection(a, b).area > SAME_WORD * min(a.area, b.area))


def _is_cut(word: Word, tile: Tile, size: tuple[int, int]) -> bool:
    """Tell whether a border of the tile that is none of the picture runs through the word."""
    if not len(word.polygon):
        return False
    return not _inside(word.polygon.min(0), word.polygon.max(0), tile, size, NEAR)


def _fits(word: Word, tile: Tile, size: tuple[int, int]) -> bool:
    """Tell whether the tile shows the whole word and a little around it."""
    if not len(word.polygon):
        return True
    low, high = word.polygon.min(0), word.polygon.max(0)
    return _inside(low, high, tile, size, NEAR + 0.1 * float((high - low).min()))


def _inside(low: np.ndarray, high: np.ndarray, tile: Tile, size: tuple[int, int], margin: float) -> bool:
    height, width = size
    return bool(
        (tile.x0 == 0 or low[0] > tile.x0 + margin)
        and (tile.y0 == 0 or low[1] > tile.y0 + margin)
        and (tile.x1 == width or high[0] < tile.x1 - margin)
        and (tile.y1 == height or high[1] < tile.y1 - margin)
    )
