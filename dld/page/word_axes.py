"""Where a word begins, where it ends and how high it is, found from its outline.

N words; pixels, x to the right, y down. Level words run rightwards, tall ones downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["WordAxes", "axes_of", "turned_back"]

# a shape that is not clearly longer than wide has no direction of its own
ELONGATED = 1.8
# from here on an outline may be bent
BENT = 2.5
# steeper than this (|dx| < UPRIGHT |dy|) a word stands on end
UPRIGHT = 0.7
# such a word is taken for one of a bent line, up to this cosine of its slant, beside a level word of this cosine to it
STEEPEST, ALIKE = 0.17, 0.7
BINS = 12
# how many words beside one without direction are asked, and how far away, in its own extents
NEIGHBOURS, NEAR = 4, 2.0


@dataclass
class WordAxes:
    """The axes of N words; float64."""

    start: np.ndarray  # (N, 2), the middle of the side where reading begins
    end: np.ndarray  # (N, 2)
    begins: np.ndarray  # (N, 2), unit vector of the reading direction at the start
    ends: np.ndarray  # (N, 2), the same at the end
    height: np.ndarray  # (N,), across
    length: np.ndarray  # (N,), along
    tall: np.ndarray  # bool (N,)


def turned_back(outline: np.ndarray, turn: int) -> np.ndarray:
    """Turn points (P, 2) of a page that was turned clockwise by `turn` degrees (0, 90, 180, 270) upright about (0, 0)."""
    x, y = np.asarray(outline, np.float64).reshape(-1, 2).T
    return np.stack({0: (x, y), 90: (y, -x), 180: (-x, -y), 270: (-y, x)}[turn], axis=1)


def axes_of(outlines: Sequence[np.ndarray], texts: Sequence[str]) -> WordAxes:
    """Return the axes of words, each along the principal axis of its outline's area (second moments).

    What has no axis of its own, being about as long as wide or a single character, lies along the words next to it, or,
    standing alone, along the level words of the page (the median of their slants, each counted by its length).

    Args:
        outlines: N polygons (P, 2) of three or more finite points.
        texts: N transcriptions.
    """
    slants = np.full(len(outlines), np.nan)
    tall = np.zeros(len(outlines), bool)
    extent = np.zeros(len(outlines))
    for i, (outline, text) in enumerate(zip(outlines, texts, strict=True)):
        along, ratio = _principal(outline)
        if len(text) != 1 and ratio >= ELONGATED:
            tall[i] = abs(along[0]) < UPRIGHT * abs(along[1])
            along = -along if along[int(tall[i])] < 0 else along
            slants[i] = np.arctan2(along[1], along[0])
            extent[i] = np.ptp(outline @ along)
    own = np.isfinite(slants)
    usual = _weighted_median(slants[own & ~tall], extent[own & ~tall])
    boxes = np.array([[*p.min(0), *p.max(0)] for p in outlines]).reshape(-1, 4)
    _lean_on_neighbours(boxes, slants, tall, own)
    for i in np.flatnonzero(~own).tolist():
        slants[i], tall[i] = _like_neighbours(i, np.flatnonzero(own), boxes, slants, tall, extent) or (usual, False)
    parts: list[tuple] = [
        _ends(outline, slant, bool(known)) for outline, slant, known in zip(outlines, slants, own, strict=True)
    ]
    start, end, begins, ends, height, length = zip(*parts, strict=True) if parts else ([],) * 6
    first, last, begin, stop = (np.array(column, np.float64).reshape(-1, 2) for column in (start, end, begins, ends))
    return WordAxes(first, last, begin, stop, np.array(height, np.float64), np.array(length, np.float64), tall)


def _principal(outline: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the unit vector along the longer axis of a polygon's area, and how many times longer that is than the other."""
    p = outline - outline.mean(0)
    q = np.roll(p, -1, axis=0)
    cross = p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1]
    area = cross.sum() / 2
    if abs(area) < 1e-9:
        spread = np.cov(p.T, bias=True)
    else:
        centre = ((p + q) * cross[:, None]).sum(0) / (6 * area)
        second = np.einsum("p,pi,pj->ij", cross, p, p) + np.einsum("p,pi,pj->ij", cross, q, q)
        mixed = np.einsum("p,pi,pj->ij", cross, p, q)
        spread = (second + (mixed + mixed.T) / 2) / (12 * area) - np.outer(centre, centre)
    values, vectors = np.linalg.eigh(spread)
    return vectors[:, 1], float(np.sqrt(max(values[1], 0) / max(values[0], 1e-12)))


def _lean_on_neighbours(boxes: np.ndarray, slants: np.ndarray, tall: np.ndarray, own: np.ndarray) -> None:
    """Let steep words beside words that lean alike run rightwards as those do: the ends of an arc. Changes slants and tall."""
    steep = [i for i in np.flatnonzero(own & tall) if np.cos(slants[i]) ** 2 > STEEPEST**2]
    changed = True
    while changed and steep:
        changed = False
        for i in steep:
            level = np.flatnonzero(own & ~tall)
            apart = np.maximum(np.maximum(boxes[level, :2] - boxes[i, 2:], boxes[i, :2] - boxes[level, 2:]), 0)
            reach = np.ptp(boxes[i].reshape(2, 2), axis=0).max() / 2
            if ((np.hypot(*apart.T) <= reach) & (np.abs(np.cos(slants[level] - slants[i])) >= ALIKE)).any():
                slants[i] = np.arctan(np.tan(slants[i]))
                tall[i], changed = False, True
                steep.remove(i)
                break


def _like_neighbours(
    i: int, others: np.ndarray, boxes: np.ndarray, slants: np.ndarray, tall: np.ndarray, extent: np.ndarray
) -> tuple[float, bool] | None:
    """Return the slant of the words next to word i and whether they are tall; None where none is near."""
    apart = np.maximum(np.maximum(boxes[others, :2] - boxes[i, 2:], boxes[i, :2] - boxes[others, 2:]), 0)
    distance = np.hypot(*apart.T)
    near = np.argsort(distance, kind="stable")[:NEIGHBOURS]
    near = others[near[distance[near] <= NEAR * np.ptp(boxes[i].reshape(2, 2), axis=0).max()]]
    if not len(near):
        return None
    stands = bool(2 * extent[near[tall[near]]].sum() > extent[near].sum())
    near = near[tall[near] == stands]
    return float(np.average(slants[near], weights=extent[near])), stands


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the weighted median; 0 for no values."""
    if not len(values):
        return 0.0
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, share[-1] / 2)])


def _ends(outline: np.ndarray, slant: float, may_bend: bool) -> tuple:
    """Return start, end, directions at both, height, length of one word in the frame of its slant."""
    along = np.array([np.cos(slant), np.sin(slant)])
    across = np.array([-along[1], along[0]])
    middle = (outline.min(0) + outline.max(0)) / 2
    u, v = (outline - middle) @ along, (outline - middle) @ across
    first, last = u.min(), u.max()
    length, height = last - first, np.ptp(v)
    centre = np.array([0.0, 0.0, (v.min() + v.max()) / 2])  # v = a u^2 + b u + c
    if may_bend and length > 0:
        at, low, high = _profile(u, v)
        if len(at) >= 3:
            height = float(np.median(high - low))
            degree = 2 if length > BENT * height else 1
            centre = np.concatenate([np.zeros(2 - degree), np.polyfit(at, (low + high) / 2, degree)])
    points, directions = [], []
    for place in (first, last):
        slope = 2 * centre[0] * place + centre[1]
        points.append(middle + along * place + across * np.polyval(centre, place))
        directions.append((along + across * slope) / np.hypot(1, slope))
    return (*points, *directions, max(float(height), 1e-6), max(float(length), 1e-6))


def _profile(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places along a closed outline and its lowest and highest point there, the rounded ends left out."""
    places = u.min() + np.ptp(u) * (np.arange(1, BINS) / BINS)
    u2, v2 = np.roll(u, -1), np.roll(v, -1)
    found = []
    for place in places:
        crossing = (np.minimum(u, u2) <= place) & (place <= np.maximum(u, u2)) & (u != u2)
        if crossing.any():
            heights = v[crossing] + (place - u[crossing]) / (u2[crossing] - u[crossing]) * (v2[crossing] - v[crossing])
            found.append((place, heights.min(), heights.max()))
    return tuple(np.array(found).reshape(-1, 3).T)  # type: ignore[return-value]
