"""One word's outline: area, validity, repair, clipping.

Convention: a polygon is an array (P, 2) of x, y in continuous pixel coordinates of one image: the pixel in column j and
row i covers [j, j + 1] x [i, i + 1], so the image is the rectangle [0, width] x [0, height]. The order of the points
(clockwise or not) and a repeated last point do not matter. Everything computes in float64.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import ArrayLike
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

__all__ = [
    "LARGEST_PIXEL",
    "MOST_CROSSINGS",
    "MOST_POINTS",
    "clip_polygon",
    "count_crossings",
    "is_simple",
    "polygon_area",
    "polygon_box",
    "repair_polygon",
    "ring_of_four",
]

# Limits that outlines of words never reach and beyond which memory and minutes are lost: a coordinate (float32 loses the
# pixels there), points of an outline, and crossings of an outline with itself (a repair takes time by their square).
LARGEST_PIXEL = 1_000_000
MOST_POINTS = 1_000
MOST_CROSSINGS = 100


def _as_points(points: ArrayLike) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"a polygon must have shape (P, 2), got {points.shape}")
    return points


def polygon_area(points: ArrayLike) -> float:
    """Compute the area in square pixels by the shoelace formula; the lobes of a self-intersecting outline cancel."""
    # the first point as the origin keeps the products small: no cancellation far from (0, 0)
    points = _as_points(points)
    x, y = (points - points[:1]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def polygon_box(points: ArrayLike) -> tuple[float, float, float, float]:
    """Return the smallest upright box around the points: x0, y0, x1, y1."""
    points = _as_points(points)
    x0, y0 = points.min(axis=0)
    x1, y1 = points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def count_crossings(points: ArrayLike) -> int:
    """Count the pairs of edges of a closed outline that cross each other; edges that only touch do not count.

    Args:
        points: finite (P, 2); time and memory grow with the square of P.
    """
    start = _as_points(points)
    end = np.roll(start, -1, axis=0)
    along = end - start

    def side(corner: np.ndarray) -> np.ndarray:
        """Tell on which side of edge i (row) corner j (column) lies: +1, -1, 0."""
        away = corner[None] - start[:, None]
        return np.sign(along[:, None, 0] * away[..., 1] - along[:, None, 1] * away[..., 0])

    parted = side(start) * side(end) < 0  # (P, P): the ends of edge j lie on both sides of the line of edge i
    return int((parted & parted.T).sum()) // 2


def is_simple(points: ArrayLike) -> bool:
    """Tell whether the outline has at least three finite points, does not cross or touch itself, and encloses an area."""
    points = _as_points(points)
    if len(points) < 3 or not np.isfinite(points).all():
        return False
    polygon = Polygon(points)
    return polygon.is_valid and polygon.area > 0


def _largest_part(geometry: BaseGeometry) -> Polygon | None:
    """Return the polygon of the largest area inside any geometry; None when it holds no area."""
    parts: list[Polygon] = []
    for part in shapely.get_parts(geometry):
        parts.extend(part.geoms if isinstance(part, MultiPolygon) else [part])
    parts = [p for p in parts if isinstance(p, Polygon) and p.area > 0]
    return max(parts, key=lambda p: p.area) if parts else None


def _outline(polygon: Polygon | None) -> np.ndarray | None:
    # a tiny outline can become flat or touch itself in floating point: then there is no usable polygon left
    if polygon is None:
        return None
    points = np.asarray(polygon.exterior.coords, dtype=np.float64)[:-1]
    return points if is_simple(points) else None


def ring_of_four(points: ArrayLike) -> np.ndarray | None:
    """Order the four corners of an outline that crosses itself, around it; None for any other outline.

    Labels in row order (top left, top right, bottom left, bottom right) are such bow-ties. Four points of which two edges
    cross are the corners of a convex shape, so there is one way around them.

    Args:
        points: (P, 2) in pixels; a fifth point may repeat the first.

    Returns:
        float64 (4, 2) that begins with the first point.
    """
    points = _as_points(points)
    if len(points) == 5 and (points[0] == points[4]).all():
        points = points[:4]
    if len(points) != 4 or not np.isfinite(points).all():
        return None
    for order in ([0, 1, 3, 2], [0, 2, 1, 3]):  # the second and the last edge cross, or the first and the third
        if count_crossings(points) == 1 and is_simple(points[order]):
            return points[order]
    return None


def repair_polygon(points: ArrayLike) -> np.ndarray | None:
    """Return a simple polygon for any outline: itself if it is simple, else the largest part of `make_valid`.

    Of a bow-tie of four points the corners are put in order; of others `make_valid` keeps every lobe (`buffer(0)` drops one),
    of which the largest becomes the word.

    Args:
        points: (P, 2) in pixels, any P.

    Returns:
        float64 (Q, 2), Q >= 3, or None if nothing with an area is left (two points, a line, NaN), or if the outline is a
        tangle: more than MOST_POINTS or MOST_CROSSINGS.
    """
    points = _as_points(points)
    # an annotated coordinate within LARGEST_PIXEL may have been enlarged with its image
    if len(points) < 3 or len(points) > MOST_POINTS or not (np.abs(points) <= 1000 * LARGEST_PIXEL).all():
        return None
    if is_simple(points):
        return points
    if count_crossings(points) > MOST_CROSSINGS:
        return None
    ring = ring_of_four(points)
    if ring is not None:
        return ring
    return _outline(_largest_part(shapely.make_valid(Polygon(points))))


def clip_polygon(points: ArrayLike, width: float, height: float) -> np.ndarray | None:
    """Return the part of a polygon inside the image [0, width] x [0, height]; of several parts, the largest.

    Args:
        points: (P, 2) in pixels; repaired first if not simple.
        width, height: of the image in pixels.

    Returns:
        float64 (Q, 2), the same points if all lie inside; None if nothing with an area is left.
    """
    simple = repair_polygon(points)
    if simple is None:
        return None
    x0, y0, x1, y1 = polygon_box(simple)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return simple
    return _outline(_largest_part(Polygon(simple).intersection(shapely.box(0, 0, width, height))))
