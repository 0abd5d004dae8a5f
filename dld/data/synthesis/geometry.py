"""Where the flat drawing of a sign goes: baselines bent inside the sign's plane, and the plane seen in perspective.

Three frames, all in pixels, x right and y down: the *line* (text set straight, y = 0 on the baseline), the *plane*
(the sign, flat) and the *image*. A bend maps line to plane, a homography maps plane to image; pixels and label
points go through the same two maps.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["Arc", "Wave", "box_outline", "plane_homography", "project"]


@dataclass(frozen=True)
class Arc:
    """Text along a circle.

    Attributes:
        center: (x, y) of the circle in the plane.  radius: of the baseline.
        origin: line x that comes to stand exactly at the top (or bottom) of the circle.
        over: True for text over the top of the circle (a rainbow), False for text along its bottom (a smile).
    """

    center: tuple[float, float]
    radius: float
    origin: float
    over: bool

    def forward(self, points: np.ndarray) -> np.ndarray:
        """Map line points (N, 2) to plane points (N, 2)."""
        angle = (points[:, 0] - self.origin) / self.radius
        side = -1.0 if self.over else 1.0
        radius = self.radius + side * points[:, 1]
        return np.stack([self.center[0] + radius * np.sin(angle), self.center[1] + side * radius * np.cos(angle)], 1)

    def inverse_map(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Return line x and y (float32, height x width) of every plane pixel."""
        side = -1.0 if self.over else 1.0
        dx = np.arange(width, dtype=np.float32)[None, :] - np.float32(self.center[0])
        dy = np.float32(side) * (np.arange(height, dtype=np.float32)[:, None] - np.float32(self.center[1]))
        dx, dy = np.broadcast_to(dx, (height, width)), np.broadcast_to(dy, (height, width))
        radius, angle = cv2.cartToPolar(np.ascontiguousarray(dy), np.ascontiguousarray(dx))
        angle[angle > math.pi] -= np.float32(2 * math.pi)
        return angle * np.float32(self.radius) + np.float32(self.origin), np.float32(side) * (radius - np.float32(self.radius))

    def turn(self, length: float) -> float:
        """Return the angle (radians) through which a stretch of the line of this length (pixels) turns."""
        return length / self.radius


@dataclass(frozen=True)
class Wave:
    """Text on a sine: the line shifted by ``shift`` and, vertically, by amplitude * sin(2 pi x / period + phase)."""

    shift: tuple[float, float]
    amplitude: float
    period: float
    phase: float

    def _rise(self, x: np.ndarray) -> np.ndarray:
        return self.amplitude * np.sin(2 * math.pi * x / self.period + self.phase)

    def forward(self, points: np.ndarray) -> np.ndarray:
        return np.stack([points[:, 0] + self.shift[0], points[:, 1] + self._rise(points[:, 0]) + self.shift[1]], 1)

    def inverse_map(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        x = np.arange(width, dtype=np.float32) - np.float32(self.shift[0])
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32(self.shift[1]) - self._rise(x).astype(np.float32)[None, :]
        return np.ascontiguousarray(np.broadcast_to(x[None, :], (height, width))), np.ascontiguousarray(y.astype(np.float32))

    def turn(self, length: float) -> float:
        slope = 2 * math.pi * abs(self.amplitude) / self.period
        return 4 * math.atan(slope) * min(1.0, length / self.period)


def box_outline(box: tuple[float, float, float, float], points_per_edge: int = 2) -> np.ndarray:
    """Return the outline (2 n, 2) of a box (x0, y0, x1, y1): along the top from left to right, back along the bottom."""
    x0, y0, x1, y1 = box
    x = np.linspace(x0, x1, points_per_edge)
    return np.concatenate([np.stack([x, np.full_like(x, y0)], 1), np.stack([x[::-1], np.full_like(x, y1)], 1)])


def plane_homography(
    size: tuple[float, float], roll: float, yaw: float, pitch: float, nearness: float, shear: float = 0.0
) -> np.ndarray:
    """Return the homography (3, 3) of a plane seen by a pinhole camera; the plane's centre is mapped to (0, 0).

    Args:
        size: (width, height) of the plane in pixels; at its centre and without foreshortening one plane pixel is one
            image pixel.
        roll, yaw, pitch: radians, turns about the optical axis (clockwise on the screen), the vertical and the
            horizontal.
        nearness: half the plane's diagonal over the camera's distance; 0 is a parallel projection.
        shear: horizontal shift per unit of height.
    """
    w, h = size
    cr, sr, cy, sy, cp, sp = (f(a) for a in (roll, yaw, pitch) for f in (math.cos, math.sin))
    turn_yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn_roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    rotation = turn_roll @ turn_pitch @ turn_yaw
    distance = 0.5 * math.hypot(w, h) / max(nearness, 1e-6)
    homography = np.array(
        [rotation[0, :2].tolist() + [0], rotation[1, :2].tolist() + [0], (rotation[2, :2] / distance).tolist() + [1]]
    )
    flat = np.array([[1, -shear, -w / 2 + shear * h / 2], [0, 1, -h / 2], [0, 0, 1]])
    return homography @ flat


def project(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (N, 2) through a homography (3, 3)."""
    x, y = points[:, 0], points[:, 1]
    h = homography
    w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
    return np.stack([(h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w], 1)
