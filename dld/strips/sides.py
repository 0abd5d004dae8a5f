"""The upper and the lower side of a word, found from its outline.

A strip is cut between them (`dld.strips.cutting`). R words, B bins along a word, n points of a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ["WordSides", "bends", "can_be_cut", "sides_of_outlines", "with_points"]

BINS = 24
# cells of the raster in which a word is measured: along it, and at most across it
LENGTH, MOST_ACROSS = 8 * BINS, 512
# a predicted outline is a little tighter than the annotated one
GROW_HEIGHT, GROW_LENGTH = 1.1, 1.02
# the principal axis of a shape that is not clearly longer than wide means nothing: such a word lies level
ELONGATED = 1.3
UPRIGHT = 0.7


class WordSides(NamedTuple):
    """Sides of R words in the pixels of their outlines."""

    points: np.ndarray  # float64 (R, 2, n, 2): upper and lower side, each from the first letter to the last
    tall: np.ndarray  # bool (R,): runs rather down than across, so it may have to be read from either end
    found: np.ndarray  # bool (R,): False where an outline has no area; its points then mean nothing


def sides_of_outlines(outlines: Sequence[np.ndarray], count: int = 17) -> WordSides:
    """Find the sides of words by the shape of each outline, without any learnt part.

    The word is turned so that the principal axis of its area (second moments) lies level. In each of 24 bins along the
    axis its highest and lowest point are taken. A quadratic through the middles (a straight line for words up to 1.5 times as
    long as high, a level one for those that are shorter than high) is the centre line, a straight line through the heights
    (constant up to twice as long as high) the height. The sides lie half that height, times 1.1, to either side of it.

    Args:
        outlines: R polygons (P, 2), any orientation, pixels.
        count: points n of each side.

    Returns:
        the sides. Words run rightwards; tall ones downwards.
    """
    R = len(outlines)
    points, tall, found = np.zeros((R, 2, count, 2)), np.zeros(R, bool), np.zeros(R, bool)
    frames = [_measure(np.asarray(outline, np.float64)) for outline in outlines]
    rows = [i for i, frame in enumerate(frames) if frame is not None]
    if not rows:
        return WordSides(points, tall, found)
    middle = np.stack([frames[i].middle for i in rows])  # (R', B)
    height = np.stack([frames[i].height for i in rows])
    seen = height > 0
    length = np.array([frames[i].length for i in rows])
    usual = np.nanmedian(np.where(seen, height, np.nan), axis=1)
    at = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    # the ends of an outline are round: their bins count less
    weight = np.where(seen, np.where((np.arange(BINS) >= 2) & (np.arange(BINS) < BINS - 2), 1.0, 0.3), 0.0) ** 2
    bent, inclined = np.where(length > 1.5 * usual, 2, np.where(length < usual, 0, 1)), (length > 2 * usual).astype(int)
    line, heights = _fit(at, middle, weight, bent), _fit(at, height, weight, inclined)
    g = np.linspace(-1, 1, count)
    half_length = length[:, None] / 2
    y = line[:, :1] + line[:, 1:2] * g + line[:, 2:] * g**2
    slope = (line[:, 1:2] + 2 * line[:, 2:] * g) / half_length
    half = np.maximum(heights[:, :1] + heights[:, 1:2] * g, 0.4 * usual[:, None]) * GROW_HEIGHT / 2
    normal = np.stack([-slope, np.ones_like(slope)], -1) / np.hypot(1, slope)[..., None]
    centre = np.stack([np.broadcast_to(g * half_length * GROW_LENGTH, y.shape), y], -1)
    local = np.stack([centre - normal * half[..., None], centre + normal * half[..., None]], 1)  # (R', 2, n, 2)
    along = np.stack([frames[i].along for i in rows])
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    origin = np.stack([frames[i].origin for i in rows])
    turned = local[..., :1] * along[:, None, None] + local[..., 1:] * across[:, None, None]
    points[rows] = turned + origin[:, None, None]
    tall[rows] = [frames[i].tall for i in rows]
    found[rows] = np.isfinite(points[rows]).all((1, 2, 3))
    return WordSides(points, tall, found)


def bends(sides: np.ndarray) -> np.ndarray:
    """Compute how far words are from straight: the largest distance of the centre line from its chord, over the word's height.

    Args:
        sides: (R, 2, n, 2).

    Returns:
        float64 (R,); 0 for a word without height.
    """
    middle = sides.mean(1)
    chord = middle[:, -1] - middle[:, 0]
    chord = chord / np.maximum(np.hypot(*chord.T), 1e-9)[:, None]
    offset = middle - middle[:, :1]
    distance = np.abs(offset[..., 0] * chord[:, None, 1] - offset[..., 1] * chord[:, None, 0]).max(1)
    height = np.hypot(*np.moveaxis(sides[:, 1] - sides[:, 0], -1, 0)).mean(1)
    return np.where(height > 0, distance / np.maximum(height, 1e-9), 0.0)


def can_be_cut(sides: np.ndarray, photo_size: Sequence[int]) -> bool:
    """Tell whether a strip of sense lies between two sides (2, n, 2), pixels of a photo of `photo_size` (H, W).

    They must have two points at least, be finite, reach into the photo, and not be twisted: the lower side stays on one hand of
    the upper one, that of a word that is not mirrored.
    """
    if sides.shape[1] < 2 or not np.isfinite(sides).all():
        return False
    if not ((sides.max((0, 1)) > 0).all() and (sides.min((0, 1)) < np.array(photo_size[:2])[::-1]).all()):
        return False
    step, across = np.diff(sides.mean(0), axis=0), sides[1] - sides[0]
    across = (across[1:] + across[:-1]) / 2
    return bool((step[:, 0] * across[:, 1] - step[:, 1] * across[:, 0] > 0).all())


def with_points(sides: np.ndarray, count: int) -> np.ndarray:
    """Return sides (2, n, 2) with another number of points, float64 (2, count, 2), even along their segments."""
    n = sides.shape[1]
    at = np.linspace(0, n - 1, count)
    before = np.minimum(at.astype(int), n - 2)
    share = (at - before)[:, None]
    return sides[:, before] * (1 - share) + sides[:, before + 1] * share


class _Frame(NamedTuple):
    """A word in the frame of its axis: u along it, v across it, both in pixels, (0, 0) at `origin`."""

    origin: np.ndarray  # (2,), the middle of its extent along the axis, on the axis
    along: np.ndarray  # (2,), unit vector from the first letter to the last
    tall: bool
    length: float
    middle: np.ndarray  # (B,), v of the centre line
    height: np.ndarray  # (B,), 0 where a bin saw nothing


def _measure(outline: np.ndarray) -> _Frame | None:
    """Measure an outline; None for one without area or with a coordinate that is not finite."""
    if outline.ndim != 2 or len(outline) < 3 or not np.isfinite(outline).all():
        return None
    low = outline.min(0)
    extent = float(np.ptp(outline, axis=0).max())
    if extent <= 0:
        return None
    # moments in float32 are exact enough near the origin only
    moments = cv2.moments(((outline - low) / extent).astype(np.float32)[:, None])
    area = moments["m00"]
    if abs(area) < 1e-6:
        return None
    centre = np.array([moments["m10"], moments["m01"]]) / area * extent + low
    along, tall = _axis(moments["mu20"] / area, moments["mu11"] / area, moments["mu02"] / area)
    u, v = (outline - centre) @ along, (outline - centre) @ np.array([-along[1], along[0]])
    length, depth = float(np.ptp(u)), float(np.ptp(v))
    if length <= 0 or depth <= 0:
        return None
    cell = max(length / LENGTH, depth / MOST_ACROSS)
    columns, rows = max(int(np.ceil(length / cell)), 1), max(int(np.ceil(depth / cell)), 1)
    mask = np.zeros((rows, columns), np.uint8)
    corners = np.stack([(u - u.min()) / cell - 0.5, (v - v.min()) / cell - 0.5], 1)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1, shift=4)
    filled = mask.any(0)
    first, last = mask.argmax(0), rows - 1 - mask[::-1].argmax(0)
    bins = np.minimum(np.arange(columns) * BINS // columns, BINS - 1)
    top, bottom = np.full(BINS, rows), np.full(BINS, -1)
    np.minimum.at(top, bins[filled], first[filled])
    np.maximum.at(bottom, bins[filled], last[filled])
    seen = bottom >= top
    if seen.sum() < 4:
        return None
    height = np.where(seen, (bottom - top + 1) * cell, 0.0)
    middle = np.where(seen, ((top + bottom + 1) / 2) * cell + v.min(), 0.0)
    origin = centre + along * (u.min() + u.max()) / 2
    return _Frame(origin, along, tall, length, middle, height)


def _axis(xx: float, xy: float, yy: float) -> tuple[np.ndarray, bool]:
    """Return the unit vector along a word with these second moments, rightwards (tall: downwards), and whether it is tall."""
    mean, gap = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    along = np.array([1.0, 0.0])
    if mean + gap >= ELONGATED * (mean - gap):
        angle = 0.5 * np.arctan2(2 * xy, xx - yy)
        along = np.array([np.cos(angle), np.sin(angle)])
    tall = abs(along[0]) < UPRIGHT * abs(along[1])
    return (-along if along[int(tall)] < 0 else along), bool(tall)


def _fit(at: np.ndarray, values: np.ndarray, weight: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """Fit polynomials up to degree 2 by weighted least squares, one a row: values, weight (R, B), degree (R,) -> (R, 3)."""
    powers = at[:, None] ** np.arange(3)  # B, 3
    used = (np.arange(3) <= degree[:, None]).astype(float)  # R, 3
    basis = powers * used[:, None]  # R, B, 3
    normal = np.einsum("rbi,rb,rbj->rij", basis, weight, basis) + np.eye(3) * (1 - used)[:, None]
    return np.linalg.solve(normal, np.einsum("rbi,rb->ri", basis, weight * values)[..., None])[..., 0]
