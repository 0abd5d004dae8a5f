"""Words as two cubic Bezier curves, the form that ABCNet takes: the upper side, and the lower one back.

Sixteen numbers: four control points of the upper side from the first letter to the last, then four of the lower side from
the last letter to the first.
"""

from __future__ import annotations

import numpy as np

from dld.strips.sides import sides_of_outlines
from dld.structures.mask_outlines import clockwise

__all__ = ["bezier_outline", "fit_bezier"]

POINTS = 10  # of a bent side
STRAIGHT = 0.5  # pixels that inner control points of a straight side may lie beside it


def _basis(at: np.ndarray) -> np.ndarray:
    """Return the Bernstein polynomials of degree 3 at parameters in [0, 1]: (n,) -> (n, 4)."""
    at = at[:, None]
    return np.hstack([(1 - at) ** 3, 3 * at * (1 - at) ** 2, 3 * at**2 * (1 - at), at**3])


def _side(control: np.ndarray) -> np.ndarray:
    """Return points on a curve, both ends included; the ends alone where it is straight."""
    first, last = control[0], control[3]
    along = last - first
    length = np.hypot(*along)
    away = control[1:3] - first
    beside = np.abs(along[0] * away[:, 1] - along[1] * away[:, 0])
    if length > 0 and (beside <= STRAIGHT * length).all():
        return control[[0, 3]]
    return _basis(np.linspace(0, 1, POINTS)) @ control


def bezier_outline(control: np.ndarray) -> np.ndarray:
    """Return the outline between two sides.

    Args:
        control: (8, 2) control points in pixels.

    Returns:
        float64 (P, 2): the control points' ends where both sides are straight, 10 points for each side that is bent.
    """
    return np.concatenate([_side(control[:4]), _side(control[4:])])


def fit_bezier(outline: np.ndarray) -> np.ndarray:
    """Fit the control points (8, 2) of a word's two sides, by least squares with the ends fixed.

    Which corners end the sides is taken from the shape (`dld.strips.sides`): the points of the outline next to the ends of
    its sides. Where these are not four different ones, the sides themselves are fitted.

    Args:
        outline: (P, 2) in pixels, either direction, with an area.
    """
    outline = clockwise(np.asarray(outline, dtype=np.float64))
    sides = sides_of_outlines([outline])
    if not sides.found[0]:
        x0, y0, x1, y1 = *outline.min(0), *outline.max(0)
        return np.concatenate([_fit(np.array(s, float)) for s in ([(x0, y0), (x1, y0)], [(x1, y1), (x0, y1)])])
    upper, lower = sides.points[0]
    ends = np.stack([upper[0], upper[-1], lower[-1], lower[0]])
    a, b, c, d = np.linalg.norm(outline[None] - ends[:, None], axis=2).argmin(1)
    if len({a, b, c, d}) == 4 and (b - a) % len(outline) < (c - a) % len(outline) < (d - a) % len(outline):
        ring = np.concatenate([outline, outline])
        upper, back = ring[a : a + (b - a) % len(outline) + 1], ring[c : c + (d - c) % len(outline) + 1]
    else:
        back = lower[::-1]
    return np.concatenate([_fit(upper), _fit(back)])


def _fit(points: np.ndarray) -> np.ndarray:
    """Fit control points (4, 2) of the curve through both ends of a chain that comes next to all of it."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    first, last = points[0], points[-1]
    thirds = np.array([first, first + (last - first) / 3, first + (last - first) * 2 / 3, last])
    if len(points) == 2 or steps.sum() == 0:
        return thirds
    # a chain of few points is its edges, not its corners
    at = np.linspace(0, 1, max(4 * len(points), 16))
    along = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    dense = np.stack([np.interp(at, along, points[:, i]) for i in (0, 1)], axis=1)
    basis = _basis(at)
    rest = dense - basis[:, :1] * first - basis[:, 3:] * last
    inner = np.linalg.lstsq(basis[:, 1:3], rest, rcond=None)[0]
    return np.concatenate([first[None], inner, last[None]])
