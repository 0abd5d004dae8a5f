"""Bends and projections: forward and backward maps agree, and simple cases have their known values."""

import math

import cv2
import numpy as np
import pytest

from dld.data.synthesis.geometry import Arc, Wave, box_outline, plane_homography, project


def test_an_arc_leaves_the_origin_at_the_top_and_turns_clockwise():
    arc = Arc(center=(50.0, 80.0), radius=40.0, origin=10.0, over=True)
    quarter = 40 * math.pi / 2
    points = arc.forward(np.array([[10.0, 0.0], [10.0, -5.0], [10.0 + quarter, 0.0]]))
    np.testing.assert_allclose(points, [[50, 40], [50, 35], [90, 80]], atol=1e-9)


def test_a_smile_is_read_left_to_right_along_the_bottom():
    arc = Arc(center=(50.0, 20.0), radius=40.0, origin=0.0, over=False)
    points = arc.forward(np.array([[-10.0, 0.0], [0.0, 0.0], [0.0, 5.0], [10.0, 0.0]]))
    assert points[0, 0] < points[1, 0] < points[3, 0]
    np.testing.assert_allclose(points[1:3], [[50, 60], [50, 65]], atol=1e-9)


@pytest.mark.parametrize(
    "bend",
    [
        Arc((40.0, 55.0), 45.0, 12.0, True),
        Arc((40.0, 5.0), 45.0, 12.0, False),
        Wave((3.0, 20.0), 6.0, 70.0, 0.4),
    ],
)
def test_pixel_map_is_the_inverse_of_the_point_map(bend):
    line_x, line_y = bend.inverse_map(80, 60)
    back = bend.forward(np.stack([line_x.ravel(), line_y.ravel()], 1).astype(np.float64))
    plane = np.stack(np.meshgrid(np.arange(80), np.arange(60)), -1).reshape(-1, 2)
    assert np.abs(back - plane).max() < 0.1


def test_homography_without_turns_only_moves_the_centre():
    homography = plane_homography((30, 10), 0, 0, 0, 0.3)
    np.testing.assert_allclose(project(homography, box_outline((0, 0, 30, 10))), box_outline((-15, -5, 15, 5)), atol=1e-9)


def test_roll_is_clockwise_on_the_screen():
    homography = plane_homography((20, 20), math.pi / 2, 0, 0, 0)
    np.testing.assert_allclose(project(homography, np.array([[20.0, 10.0]])), [[0, 10]], atol=1e-6)


def test_yaw_makes_the_far_side_shorter():
    corners = project(plane_homography((40, 40), 0, math.radians(40), 0, 0.4), box_outline((0, 0, 40, 40)))
    left, right = corners[3, 1] - corners[0, 1], corners[2, 1] - corners[1, 1]
    assert abs(left - right) > 3


def test_project_agrees_with_opencv():
    homography = plane_homography((40, 30), 0.3, 0.5, -0.2, 0.3, 0.1)
    points = np.random.default_rng(0).uniform(0, 40, (20, 2))
    expected = cv2.perspectiveTransform(points[None], homography)[0]
    np.testing.assert_allclose(project(homography, points), expected, atol=1e-6)
