"""The two sides of an annotated word: what its annotator, or the generator, put into the order of the outline's points.

The top side runs from the word's start to its end above the letters, the bottom side below them, whichever way the word lies
in the image. Walking along the top side, the bottom side is on the right (y down): a word is never mirrored. Imports neither
torch nor detectron2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dld.structures.polygon import MOST_POINTS, ring_of_four

__all__ = ["MOST_JITTER", "SIDE_POINTS", "jittered", "resample", "sides_cross", "spread_characters", "word_sides"]

# points of a side: an arc of half a circle is followed to 4 % of its radius
SIDE_POINTS = 7
# share of a word's height by which its sides may be moved
MOST_JITTER = 0.3
# a word whose ends are longer than this many times its sides was annotated without regard to how it reads
_TALL = 2.0
# outlines of more points are thinned before their short ends are searched
_MOST_SEARCHED = 100


def word_sides(polygon: np.ndarray, n: int = SIDE_POINTS, characters: int | None = None) -> np.ndarray | None:
    """Return top and bottom side of an annotated outline, both from the word's start to its end, at equal steps along each.

    Outlines of 2m points are m points of the top side and m of the bottom side, backwards: the form of Total-Text, CTW1500
    and synthwords, and with m = 2 of the quads of ICDAR and SynthText. Others, and those whose halves make no word, are cut at
    their short ends: the two edges whose corners are nearest to right angles on both sides, which are short, and leave two
    sides of one length. Such a word starts at the outline's first point, if that is a corner, else it runs rightwards, or
    downwards if it is tall. Outlines that run anticlockwise are turned round. A quad that is more than twice as high
    as its sides are long was annotated without regard to reading: it is taken to read downwards.

    Args:
        polygon: (P, 2) in pixels (y down), as it was annotated: neither clipped nor thinned.
        n: points of a side, at least 2.
        characters: of the word, where they are known: a single one may well be tall.

    Returns:
        float64 (2, n, 2); None for an outline that has no two sides (less than four corners, no area, sides that cross).

    Raises:
        ValueError: less than 2 points a side.
    """
    if n < 2:
        raise ValueError(f"a side needs at least 2 points, got {n}")
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 2 or points.shape[1:] != (2,) or len(points) > MOST_POINTS or not np.isfinite(points).all():
        return None
    if len(points) > 1 and (points[0] == points[-1]).all():
        points = points[:-1]
    if len(points) < 4:
        return None
    for top, bottom in _candidates(points, _TALL if characters != 1 else np.inf):
        if min(_length(top), _length(bottom)) > 0 and not sides_cross(_together(top, bottom)):
            return np.stack([resample(top, n), resample(bottom, n)])
    return None


def spread_characters(polygon: np.ndarray, count: int) -> np.ndarray | None:
    """Spread characters of one width evenly along the sides of a word.

    A weak substitute for annotated ones: letters have widths of their own, so places are wrong by about a third of a letter.

    Args:
        polygon: as in :func:`word_sides`.
        count: characters, at least 1.

    Returns:
        float64 (count, 4, 2), corners clockwise from the top left as it is read; None for an outline without sides.
    """
    sides = word_sides(polygon, count + 1, count)
    if sides is None:
        return None
    top, bottom = sides
    return np.stack([top[:-1], top[1:], bottom[1:], bottom[:-1]], 1)


def _candidates(points: np.ndarray, tall: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what may be the sides of an outline, likely ones first."""
    yield from _halves(points, tall)
    ring = ring_of_four(points)
    if ring is not None:
        yield from _halves(ring, tall)
    yield from _between_ends(points)


def resample(points: np.ndarray, n: int) -> np.ndarray:
    """Return n points at equal steps along a line (P, 2), its ends included."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, along[-1], n)
    return np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], 1)


def sides_cross(sides: np.ndarray) -> bool:
    """Tell whether two sides (2, n, 2) cross each other, or the bottom one lies on the left of the top one."""
    top, bottom = sides
    if not _signed_area(np.concatenate([top, bottom[::-1]])) > 0:
        return True
    a, b = np.diff(top, axis=0), np.diff(bottom, axis=0)
    # on which side of each segment of one line the ends of each segment of the other lie
    to_bottom = _cross(a[:, None], bottom[None] - top[:-1, None])
    to_top = _cross(b[:, None], top[None] - bottom[:-1, None])
    parted = (to_bottom[:, :-1] * to_bottom[:, 1:] < 0) & (to_top[:, :-1] * to_top[:, 1:] < 0).T
    return bool(parted.any())


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _signed_area(points: np.ndarray) -> float:
    """Positive for outlines that look clockwise (y down)."""
    local = points - points[:1]
    return float(_cross(local, np.roll(local, -1, axis=0)).sum()) / 2


def _length(line: np.ndarray) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def _ends(top: np.ndarray, bottom: np.ndarray) -> float:
    """Return how long the ends of a word are beside its sides."""
    ends = np.hypot(*(top[[0, -1]] - bottom[[0, -1]]).T).sum()
    return float(ends / max(_length(top) + _length(bottom), 1e-9))


def _halves(points: np.ndarray, tall: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """First and second half of an outline of an even number of points, where these can be the sides of a word."""
    half = len(points) // 2
    if len(points) % 2:
        return []
    if _signed_area(points) >= 0:
        orders = [points]
    else:
        # the whole list was turned round, or all but its first point
        orders = [points[::-1], np.roll(points[::-1], 1, axis=0)]
    found = [(order[:half], order[half:][::-1]) for order in orders]
    if half == 2:
        # downwards: the right edge is the top side
        found += [(order[[1, 2]], order[[0, 3]]) for order in orders[:1] if _ends(*found[0]) > tall]
    fitting = [pair for pair in found if _ends(*pair) <= tall]
    # short ends first, and of two that are about as short the one that runs rightwards
    return sorted(fitting, key=lambda pair: _ends(*pair) * (1.0 if _runs_forward(pair[0]) else 1.25))


def _runs_forward(side: np.ndarray) -> bool:
    """Tell whether a side runs rightwards, or downwards where it is steep."""
    x, y = side[-1] - side[0]
    return bool(y > 0 if abs(x) < 0.7 * abs(y) else x > 0)


def _between_ends(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return sides between the two edges of an outline that look most like the ends of a word."""
    points = points[(points != np.roll(points, 1, axis=0)).any(1)]
    points = points[:: -(-len(points) // _MOST_SEARCHED)]
    area, P = _signed_area(points), len(points)
    if P < 4 or area == 0:
        return []
    if area < 0:
        points = np.roll(points[::-1], 1, axis=0)  # the first point stays the first
    edge = np.roll(points, -1, axis=0) - points
    length = np.hypot(*edge.T)
    before = np.roll(edge, 1, axis=0)
    turn = np.arctan2(_cross(before, edge), (before * edge).sum(1))  # pi / 2 at a right corner
    uneven = np.abs(turn + np.roll(turn, -1) - np.pi) / np.pi  # of each edge: its two corners make half a turn
    along = np.concatenate([[0.0], np.cumsum(length)])
    i, j = np.arange(P)[:, None], np.arange(P)[None]
    upper = (along[j] - along[np.minimum(i + 1, P)]) % along[-1]  # from the end of edge i to the start of edge j
    lower = along[-1] - upper - length[i] - length[j]
    apart = (np.abs(i - j) > 1) & (np.abs(i - j) < P - 1)
    sides = np.maximum(upper + lower, 1e-9)
    cost = uneven[i] + uneven[j] + 2 * (length[i] + length[j]) / sides + np.abs(upper - lower) / sides
    start, end = np.unravel_index(np.where(apart, cost, np.inf).argmin(), (P, P))
    pairs = []
    for a, b in ((start, end), (end, start)):
        top = points[np.arange(a + 1, a + 1 + (b - a - 1) % P + 1) % P]
        bottom = points[np.arange(b + 1, b + 1 + (a - b - 1) % P + 1) % P][::-1]
        first = bool((top[0] == points[0]).all())
        pairs.append((not first, not _runs_forward(top), (top, bottom)))
    return [pair for *_, pair in sorted(pairs, key=lambda item: item[:2])]


def _together(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Join sides of any number of points into one array: the shorter one repeats its last point."""
    count = max(len(top), len(bottom))
    return np.stack([np.concatenate([s, np.repeat(s[-1:], count - len(s), axis=0)]) for s in (top, bottom)])


def jittered(sides: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Move sides (R, 2, n, 2) as predicted ones differ from annotated ones.

    Each end of each side moves across the word by up to `amount` of its height, what lies between follows linearly; and each
    end of the word moves along it by up to three times that.
    """
    n = sides.shape[2]
    across = sides[:, 1] - sides[:, 0]  # R, n, 2: from the upper to the lower side
    share = np.linspace(0, 1, n)[None, None]
    ends = rng.uniform(-amount, amount, (len(sides), 2, 2, 1))
    moved = sides + (ends[:, :, 0] * (1 - share) + ends[:, :, 1] * share)[..., None] * across[:, None]
    along = moved[:, :, -1] - moved[:, :, 0]
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]).mean(1), 1e-6)
    reach = 3 * amount * np.hypot(across[..., 0], across[..., 1]).mean(1) / length
    # more than a tenth of a word at either end would be more than a letter
    stretch = rng.uniform(-1, 1, (len(sides), 2)) * np.minimum(reach, 0.1)[:, None]
    offset = -stretch[:, :1, None] * (1 - share) + stretch[:, 1:, None] * share  # R, 1, n
    return moved + offset[..., None] * along[:, :, None]
