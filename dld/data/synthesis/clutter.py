"""Shapes that have the strokes of text without being text: a detector must learn to leave them alone."""

import cv2
import numpy as np

from dld.data.synthesis.colors import muted_color, random_color

__all__ = ["add_clutter"]


def _clutter_color(rng: np.random.Generator) -> tuple[float, float, float]:
    return random_color(rng) if rng.random() < 0.35 else muted_color(rng)


def _thickness(rng: np.random.Generator, image: np.ndarray) -> int:
    return max(1, int(min(image.shape[:2]) * 0.02 * rng.random() ** 2))


def _box(rng: np.random.Generator, image: np.ndarray, largest: float = 0.5) -> tuple[int, int, int, int]:
    h, w = image.shape[:2]
    bw, bh = (int(s * rng.uniform(0.04, largest)) for s in (w, h))
    x, y = int(rng.integers(-bw // 2, w)), int(rng.integers(-bh // 2, h))
    return x, y, x + max(bw, 4), y + max(bh, 4)


def _lines(rng: np.random.Generator, image: np.ndarray) -> None:
    h, w = image.shape[:2]
    color, thickness = _clutter_color(rng), _thickness(rng, image)
    for _ in range(int(rng.integers(1, 8))):
        ends = [(int(rng.integers(-20, w + 20)), int(rng.integers(-20, h + 20))) for _ in range(2)]
        cv2.line(image, *ends, color, thickness, cv2.LINE_AA)


def _lattice(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw bars, fences and gratings: parallel strokes at the pitch of letters."""
    x0, y0, x1, y1 = _box(rng, image, 0.7)
    color, step = _clutter_color(rng), int(rng.integers(5, 40))
    thickness = max(1, int(step * rng.uniform(0.1, 0.5)))
    slant = int(rng.integers(-10, 11)) if rng.random() < 0.3 else 0
    both = rng.random() < 0.4
    if both or rng.random() < 0.7:
        for x in range(x0, x1, step):
            cv2.line(image, (x, y0), (x + slant, y1), color, thickness, cv2.LINE_AA)
    if both:
        for y in range(y0, y1, step):
            cv2.line(image, (x0, y), (x1, y + slant), color, thickness, cv2.LINE_AA)


def _bricks(rng: np.random.Generator, image: np.ndarray) -> None:
    x0, y0, x1, y1 = _box(rng, image, 0.9)
    bh = int(rng.integers(6, 30))
    bw, color = int(bh * rng.uniform(1.5, 3.5)), _clutter_color(rng)
    for row, y in enumerate(range(y0, y1, bh)):
        cv2.line(image, (x0, y), (x1, y), color, 1)
        for x in range(x0 + (row % 2) * bw // 2, x1, bw):
            cv2.line(image, (x, y), (x, min(y + bh, y1)), color, 1)


def _rectangles(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw panes and panels, filled or framed, with nothing written on them."""
    for _ in range(int(rng.integers(1, 6))):
        x0, y0, x1, y1 = _box(rng, image)
        cv2.rectangle(image, (x0, y0), (x1, y1), _clutter_color(rng), -1 if rng.random() < 0.6 else _thickness(rng, image))


def _ellipses(rng: np.random.Generator, image: np.ndarray) -> None:
    for _ in range(int(rng.integers(1, 7))):
        x0, y0, x1, y1 = _box(rng, image, 0.3)
        axes = ((x1 - x0) // 2, (y1 - y0) // 2)
        fill = -1 if rng.random() < 0.6 else _thickness(rng, image)
        center, turn = ((x0 + x1) // 2, (y0 + y1) // 2), rng.uniform(0, 180)
        cv2.ellipse(image, center, axes, turn, 0, 360, _clutter_color(rng), fill, cv2.LINE_AA)


def _polygons(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw arrows, stars and odd shapes in a row: the size and the spacing of letters, but no letters."""
    x0, y0, x1, y1 = _box(rng, image, 0.15)
    size, color = max(6, min(x1 - x0, y1 - y0)), _clutter_color(rng)
    corners = int(rng.integers(3, 9))
    shape = rng.uniform(-0.5, 0.5, (corners, 2))
    for i in range(int(rng.integers(1, 6))):
        points = (shape * size + (x0 + 1.3 * i * size, y0)).astype(np.int32)
        if rng.random() < 0.6:
            cv2.fillPoly(image, [points], color, cv2.LINE_AA)
        else:
            cv2.polylines(image, [points], True, color, max(1, size // 12), cv2.LINE_AA)


def _checkers(rng: np.random.Generator, image: np.ndarray) -> None:
    x0, y0, x1, y1 = _box(rng, image, 0.4)
    cell, color = int(rng.integers(4, 24)), _clutter_color(rng)
    for row, y in enumerate(range(y0, y1, cell)):
        for x in range(x0 + (row % 2) * cell, x1, 2 * cell):
            cv2.rectangle(image, (x, y), (x + cell - 1, y + cell - 1), color, -1)


def _speckles(rng: np.random.Generator, image: np.ndarray) -> None:
    h, w = image.shape[:2]
    for x, y, r in zip(rng.integers(w, size=30), rng.integers(h, size=30), rng.integers(1, 7, size=30), strict=True):
        cv2.circle(image, (int(x), int(y)), int(r), _clutter_color(rng), -1, cv2.LINE_AA)


_CLUTTER = (_lines, _lattice, _bricks, _rectangles, _rectangles, _ellipses, _polygons, _polygons, _checkers, _speckles)


def add_clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw one to six groups of lines, lattices, bricks, panes, discs or arrows into ``image`` (uint8 BGR) in place."""
    for _ in range(int(rng.integers(1, 7))):
        _CLUTTER[int(rng.integers(len(_CLUTTER)))](rng, image)
