"""Pictures that are not read as they lie: turned pages are turned upright, long and huge ones are read in tiles.

Words come back in pixels of the picture as it was given, and the cost of everything that was read is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dld.data.tiles import Tile, merge_words
from dld.structures.words import SpottingResult, Word

__all__ = ["TURNS", "ReadPixels", "ViewReader", "check_rotation", "upright_evidence"]

# pictures uint8 BGR (H, W, 3) -> their results
ReadPixels = Callable[[Sequence[np.ndarray]], list[SpottingResult]]

TURNS = (0, 90, 180, 270)
# a word with fewer characters may stand as high as it is wide and still be upright
TELLING = 3


def check_rotation(rotation: str | int) -> str | int:
    """Return the option as it is.

    Raises:
        ValueError: neither "auto" nor one of 0, 90, 180, 270.
    """
    if rotation == "auto":
        return rotation
    try:
        turn = int(rotation)
    except (TypeError, ValueError, OverflowError):
        turn = -1
    if turn not in TURNS or turn != float(rotation):
        raise ValueError(f'rotation must be "auto" or one of 0, 90, 180, 270, got {rotation!r}')
    return turn


def upright_evidence(words: Sequence[Word]) -> float:
    """Measure how surely a page stands upright: characters of words that lie level, each word counted by its score."""
    total = 0.0
    for word in words:
        if len(word.polygon) and len(word.text):
            width, height = np.ptp(word.polygon, axis=0)
            if len(word.text) < TELLING or width > height:
                total += float(word.score) * len(word.text)
    return total


class ViewReader:
    """Reads pictures turned and in tiles.

    Args:
        read: reads a batch of pictures as they lie.
        tiles: the tiles of a picture of a size (H, W); none where it is read as a whole.
        rotation: degrees by which pages are turned clockwise, or "auto".
        glance: reads a batch at a small scale; needed for "auto".
        at_once: views that may be read at once, also where fewer pictures are.
    """

    def __init__(
        self,
        read: ReadPixels,
        tiles: Callable[[tuple[int, int]], list[Tile]],
        rotation: str | int = 0,
        glance: ReadPixels | None = None,
        at_once: int = 1,
    ) -> None:
        self.read, self.tiles, self.rotation, self.glance, self.at_once = read, tiles, rotation, glance, at_once

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[SpottingResult]:
        """Return the results of uint8 BGR pictures (H, W, 3), in their order."""
        if self.rotation == "auto":
            turns, tried = zip(*(self._find_turn(picture) for picture in pictures), strict=True) if pictures else ((), ())
        else:
            turns, tried = [int(self.rotation)] * len(pictures), [[] for _ in pictures]
        results = self._read_tiled(self.read, [turned_upright(p, turn) for p, turn in zip(pictures, turns, strict=True)])
        for picture, turn, result, trials in zip(pictures, turns, results, tried, strict=True):
            _add_cost(result, trials)
            if turn:
                _turn_back(result, turn, picture.shape[:2])
        return results

    def _find_turn(self, picture: np.ndarray) -> tuple[int, list[SpottingResult]]:
        """Find the turn with the strongest evidence, 0 where there is none; return it and what was read to find it."""
        assert self.glance is not None
        views = [turned_upright(picture, turn) for turn in TURNS]
        chunks = [views[k : k + self.at_once] for k in range(0, len(views), self.at_once)]
        trials = [trial for chunk in chunks for trial in self._read_tiled(self.glance, chunk)]
        evidence = [upright_evidence(trial.words) for trial in trials]
        return TURNS[int(np.argmax(evidence))], trials

    def _read_tiled(self, read: ReadPixels, pictures: Sequence[np.ndarray]) -> list[SpottingResult]:
        tiles = [self.tiles((picture.shape[0], picture.shape[1])) for picture in pictures]
        if not any(tiles):
            return read(pictures)
        views = [view for picture, own in zip(pictures, tiles, strict=True) for view in (picture, *_cut(picture, own))]
        size = max(len(pictures), self.at_once)
        read_views = iter([r for k in range(0, len(views), size) for r in read(views[k : k + size])])
        results = []
        for picture, own in zip(pictures, tiles, strict=True):
            whole = next(read_views)
            parts = [next(read_views) for _ in own]
            results.append(_merged(whole, own, parts, (picture.shape[0], picture.shape[1])) if own else whole)
        return results


def turned_upright(picture: np.ndarray, turn: int) -> np.ndarray:
    """Turn the pixels of a page that is turned clockwise by `turn` degrees back."""
    return np.ascontiguousarray(np.rot90(picture, turn // 90)) if turn else picture


def _cut(picture: np.ndarray, tiles: Sequence[Tile]) -> list[np.ndarray]:
    return [np.ascontiguousarray(picture[t.y0 : t.y1, t.x0 : t.x1]) for t in tiles]


def _merged(
    whole: SpottingResult, tiles: Sequence[Tile], parts: Sequence[SpottingResult], size: tuple[int, int]
) -> SpottingResult:
    for tile, part in zip(tiles, parts, strict=True):
        for word in part.words:
            word.polygon = word.polygon + np.array([tile.x0, tile.y0], dtype=word.polygon.dtype)
    words = merge_words(whole.words, [(t, p.words) for t, p in zip(tiles, parts, strict=True)], size)
    scales = {part.scale for part in parts}
    result = SpottingResult(None, None, whole.width, whole.height, words, scales.pop() if len(scales) == 1 else None)
    result.unread = whole.unread + sum(part.unread for part in parts)
    result.cost, result.gflops = whole.cost, whole.gflops
    if all(part.gflops and part.cost for part in (whole, *parts)):
        # the teacher would read the same views
        full = sum(part.gflops / part.cost for part in (whole, *parts))  # type: ignore[operator]
        result.gflops = sum(part.gflops for part in (whole, *parts))  # type: ignore[misc]
        result.cost = result.gflops / full
    return result


def _add_cost(result: SpottingResult, trials: Sequence[SpottingResult]) -> None:
    """Count what was read to find out how the page lies; the share is that of the reading alone at full resolution."""
    more = sum(trial.gflops or 0.0 for trial in trials)
    if more and result.gflops and result.cost:
        result.cost *= (result.gflops + more) / result.gflops
        result.gflops += more


def _turn_back(result: SpottingResult, turn: int, size: tuple[int, int]) -> None:
    """Move words of the upright page into pixels of the picture (H, W) as it was given."""
    height, width = size
    for word in result.words:
        x, y = word.polygon.T
        points = {90: (width - y, x), 180: (width - x, height - y), 270: (y, height - x)}[turn]
        word.polygon = np.stack(points, axis=1)
    result.width, result.height, result.rotation = width, height, turn
