"""Areas of the polygons of one image and of their intersections: exact clipping, never a raster.

A self-intersecting polygon stands for its even-odd area (a bow-tie: both wings). A degenerate one (fewer than three
points, no area, a coordinate that is no number) has area zero and overlaps nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from dld.evaluation.protocol import Protocol

__all__ = ["Overlap", "is_clockwise", "measure_overlap", "polygon_problems", "polygon_regions"]

LARGEST_COORDINATE = 1e9  # beyond it products of coordinates lose their pixels, and no image is that large


@dataclass(frozen=True)
class Overlap:
    """Areas in square pixels.

    Attributes:
        intersection: (G, D), ground-truth words by detections.
        truth_areas: (G,).
        detected_areas: (D,).
    """

    intersection: np.ndarray
    truth_areas: np.ndarray
    detected_areas: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Return intersection over union (G, D); 0 where both areas are 0."""
        union = self.truth_areas[:, None] + self.detected_areas[None, :] - self.intersection
        return _ratio(self.intersection, union)

    @property
    def inside(self) -> np.ndarray:
        """Return the fraction (G, D) of the detection's area that lies in the word; 0 where it has no area."""
        return _ratio(self.intersection, np.broadcast_to(self.detected_areas[None, :], self.intersection.shape))


def measure_overlap(truth: Sequence[np.ndarray], detected: Sequence[np.ndarray], protocol: Protocol) -> Overlap:
    """Clip every word of an image with every detection.

    Args:
        truth: G polygons, each (P, 2) in pixels.
        detected: D polygons in the same pixels.
    """
    first, second = polygon_regions(truth, protocol), polygon_regions(detected, protocol)
    areas = np.zeros((len(first), len(second)))
    a, b = shapely.bounds(first), shapely.bounds(second)  # (G, 4) and (D, 4); NaN for empty regions compares as False
    near = (
        (a[:, None, 0] < b[None, :, 2])
        & (b[None, :, 0] < a[:, None, 2])
        & (a[:, None, 1] < b[None, :, 3])
        & (b[None, :, 1] < a[:, None, 3])
    )
    rows, columns = np.nonzero(near)
    if len(rows):
        areas[rows, columns] = shapely.area(shapely.intersection(first[rows], second[columns]))
    return Overlap(areas, _areas(truth, first, protocol), _areas(detected, second, protocol))


def polygon_regions(polygons: Sequence[np.ndarray], protocol: Protocol) -> np.ndarray:
    """Return valid shapely geometries (N,) of the areas that the polygons enclose; empty ones for degenerate polygons."""
    regions = _rings(polygons, protocol)
    for index in np.flatnonzero(~shapely.is_valid(regions)):
        regions[index] = _even_odd_region(regions[index])
    return regions


def polygon_problems(polygons: Sequence[np.ndarray], protocol: Protocol) -> list[str | None]:
    """Say what is wrong with each polygon when it is measured: "degenerate", "self-intersecting", or None."""
    rings = _rings(polygons, protocol)
    crossed = ~shapely.is_valid(rings)
    empty = shapely.area(polygon_regions(polygons, protocol)) == 0
    return [
        "degenerate" if is_empty else "self-intersecting" if is_crossed else None
        for is_empty, is_crossed in zip(empty, crossed, strict=True)
    ]


def is_clockwise(polygon: np.ndarray) -> bool:
    """Tell whether the corners run clockwise as one sees them (y down), or enclose as much one way as the other."""
    x, y = np.asarray(polygon, dtype=np.float64).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) >= 0


def _areas(polygons: Sequence[np.ndarray], regions: np.ndarray, protocol: Protocol) -> np.ndarray:
    # The area of shapely's unrepaired polygon is the absolute shoelace sum.
    return shapely.area(regions if protocol.self_intersecting_area == "even_odd" else _rings(polygons, protocol))


def _rings(polygons: Sequence[np.ndarray], protocol: Protocol) -> np.ndarray:
    regions = np.full(len(polygons), shapely.Polygon(), dtype=object)
    kept, points = [], []
    for index, polygon in enumerate(polygons):
        corners = np.asarray(polygon, dtype=np.float64)
        if len(corners) >= 3 and np.isfinite(corners).all() and np.abs(corners).max() <= LARGEST_COORDINATE:
            kept.append(index)
            points.append(np.concatenate([corners, corners[:1]]))
    if kept:
        coordinates = np.concatenate(points)
        if protocol.truncate_coordinates:
            coordinates = np.trunc(coordinates)
        owners = np.repeat(np.arange(len(kept)), [len(corners) for corners in points])
        regions[kept] = shapely.polygons(shapely.linearrings(coordinates, indices=owners))
    return regions


def _even_odd_region(region: shapely.Geometry) -> shapely.Geometry:
    # make_valid also returns the lines where a polygon folds onto itself: they have no area and must not be clipped.
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(region)))
    parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(list(parts))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
