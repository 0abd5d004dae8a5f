"""Outlines of small masks laid over boxes. Imports neither torch nor detectron2."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["clockwise", "mask_outlines"]


def mask_outlines(inside: np.ndarray, boxes: np.ndarray, epsilon: float = 0.01) -> list[np.ndarray]:
    """Find the largest contour of each mask, simplified, in the pixels of the boxes.

    The masks lie below each other with a gap, so that one contour search serves all of them.

    Args:
        inside: bool (R, S, S), each over its whole box.
        boxes: float (R, 4).
        epsilon: tolerance of the simplification as share of the contour's length.

    Returns:
        R arrays float32 (P, 2), P >= 3; a mask with no area gives its box.
    """
    R, side, _ = inside.shape
    if R == 0:
        return []
    strip = np.zeros((R, side + 2, side), dtype=np.uint8)
    strip[:, 1:-1] = inside
    contours, _ = cv2.findContours(strip.reshape(R * (side + 2), side), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest: list[np.ndarray | None] = [None] * R
    areas = np.zeros(R)
    for found in contours:
        row = int(found[0, 0, 1]) // (side + 2)
        area = cv2.contourArea(found)
        if area > areas[row]:
            areas[row], largest[row] = area, found[:, 0]
    polygons = []
    for row, contour in enumerate(largest):
        x0, y0, x1, y1 = boxes[row]
        if contour is not None:
            # contours run through pixel centres: + 0.5 puts them where the grid over the box says
            local = (contour - [0, row * (side + 2) + 1] + 0.5) / side
            points = (local * [x1 - x0, y1 - y0] + [x0, y0]).astype(np.float32)
            points = cv2.approxPolyDP(points[:, None], epsilon * cv2.arcLength(points[:, None], True), True)[:, 0]
            if len(points) >= 3:
                polygons.append(clockwise(points))
                continue
        polygons.append(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32))
    return polygons


def clockwise(points: np.ndarray) -> np.ndarray:
    """Return a polygon (P, 2) in the order that looks clockwise on a screen (y down), as official submissions want it."""
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    return points if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() >= 0 else points[::-1].copy()
