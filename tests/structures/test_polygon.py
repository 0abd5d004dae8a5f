"""Facts about outlines: areas worked by hand, what repair keeps."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon

from dld.structures.polygon import (
    MOST_CROSSINGS,
    clip_polygon,
    count_crossings,
    is_simple,
    polygon_area,
    polygon_box,
    repair_polygon,
    ring_of_four,
)

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4]]
BOW_TIE = [[0, 0], [4, 4], [4, 0], [0, 4]]
# two lobes that meet at (6, 6): the left one has 36, the right one 4 square pixels
UNEVEN_BOW_TIE = [[0, 0], [8, 8], [8, 4], [0, 12], [0, 6]]

coordinates = st.integers(min_value=0, max_value=40)
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=10)


def test_area_of_shapes_worked_by_hand():
    assert polygon_area(SQUARE) == 16
    assert polygon_area(SQUARE[::-1]) == 16
    assert polygon_area([[0, 0], [6, 0], [0, 3]]) == 9
    assert polygon_area([[1, 1], [5, 5]]) == 0
    assert polygon_area(BOW_TIE) == 0  # the lobes cancel: the reason why repair comes first


def test_area_far_from_the_origin_is_exact():
    assert polygon_area(np.asarray(SQUARE) + 1e9) == 16


def test_box():
    assert polygon_box([[3, 9], [-1, 2], [5, 4]]) == (-1, 2, 5, 9)


@pytest.mark.parametrize(
    ("points", "simple"),
    [
        (SQUARE, True),
        ([*SQUARE, SQUARE[0]], True),  # closed by hand
        (SQUARE[::-1], True),
        (BOW_TIE, False),
        ([[0, 0], [4, 4]], False),
        ([[0, 0], [2, 2], [4, 4]], False),
        ([[0, 0], [4, 0], [np.nan, 4]], False),
    ],
)
def test_what_is_simple(points, simple):
    assert is_simple(points) is simple


def test_repair_leaves_a_simple_polygon_as_it_is():
    assert np.array_equal(repair_polygon(SQUARE), SQUARE)


def test_repair_keeps_the_larger_lobe():
    repaired = repair_polygon(UNEVEN_BOW_TIE)
    assert polygon_area(repaired) == pytest.approx(36)
    assert polygon_box(repaired) == (0, 0, 6, 12)


def test_four_corners_out_of_order_are_put_around_the_word():
    corners = np.array([[1, 1], [9, 2], [8, 7], [0, 6]])
    for order in itertools.permutations(range(4)):
        points = corners[list(order)]
        ring, repaired = ring_of_four(points), repair_polygon(points)
        assert polygon_area(repaired) == polygon_area(corners)
        assert (ring is None) == is_simple(points)
        assert repaired[0].tolist() == points[0].tolist()
        closed = repair_polygon([*points, points[0]])
        assert polygon_area(closed) == polygon_area(corners)


@pytest.mark.parametrize(
    "points",
    [SQUARE, UNEVEN_BOW_TIE, [[0, 0], [4, 0], [2, 0], [2, 3]], [[0, 0], [4, 0], [0, 4], [np.nan, 4]], [[1, 1]] * 4, SQUARE[:3]],
)
def test_of_other_outlines_no_corners_are_moved(points):
    assert ring_of_four(points) is None


def test_repair_removes_a_spike():
    repaired = repair_polygon([[0, 0], [4, 0], [4, 2], [9, 2], [4, 2], [4, 4], [0, 4]])
    assert polygon_area(repaired) == 16
    assert polygon_box(repaired) == (0, 0, 4, 4)


@pytest.mark.parametrize("points", [[[0, 0], [5, 5]], [[1, 1], [1, 1], [1, 1]], [[0, 0], [np.inf, 1], [2, 2]]])
def test_repair_of_what_has_no_area_is_none(points):
    assert repair_polygon(points) is None


@settings(max_examples=150, deadline=None)
@given(outlines)
def test_a_repaired_polygon_is_simple_and_inside_the_box_of_the_points(points):
    repaired = repair_polygon(points)
    if repaired is not None:
        assert is_simple(repaired)
        assert np.array_equal(repair_polygon(repaired), repaired)
        box, outer = polygon_box(repaired), polygon_box(points)
        assert box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def test_clip_halves_a_square_on_the_border():
    clipped = clip_polygon([[-2, 1], [2, 1], [2, 3], [-2, 3]], 10, 10)
    assert polygon_box(clipped) == (0, 1, 2, 3)
    assert polygon_area(clipped) == 4


def test_clip_leaves_what_is_inside_and_drops_what_is_outside():
    assert np.array_equal(clip_polygon(SQUARE, 4, 4), SQUARE)
    assert clip_polygon(np.asarray(SQUARE) + 20, 10, 10) is None
    assert clip_polygon([[10, 0], [14, 0], [14, 4], [10, 4]], 10, 10) is None  # shares only the border


def test_clip_keeps_the_largest_of_several_parts():
    # a U whose legs (widths 2 and 3) stand in the image and whose bottom lies below it
    u = [[0, 0], [2, 0], [2, 12], [5, 12], [5, 0], [8, 0], [8, 14], [0, 14]]
    clipped = clip_polygon(u, 10, 10)
    assert polygon_box(clipped) == (5, 0, 8, 10)


@settings(max_examples=100, deadline=None)
@given(outlines)
def test_clipping_twice_changes_nothing(points):
    clipped = clip_polygon(points, 20, 15)
    if clipped is not None:
        assert Polygon(clipped).symmetric_difference(Polygon(clip_polygon(clipped, 20, 15))).area < 1e-6
        x0, y0, x1, y1 = polygon_box(clipped)
        assert -1e-9 <= x0 and -1e-9 <= y0 and x1 <= 20 + 1e-9 and y1 <= 15 + 1e-9


@pytest.mark.parametrize("points", [[1, 2, 3], [[1, 2, 3]]])
def test_a_wrong_shape_is_named(points):
    with pytest.raises(ValueError, match="polygon"):
        polygon_area(points)


def test_crossings_of_an_outline_with_itself():
    angle = 2 * np.pi * np.arange(5) / 5
    star = np.stack([np.cos(2 * angle), np.sin(2 * angle)], 1)  # every second corner of a pentagon
    assert count_crossings([[0, 0], [4, 0], [4, 4], [0, 4]]) == 0
    assert count_crossings([[0, 0], [4, 4], [4, 0], [0, 4]]) == 1
    assert count_crossings(star) == 5
    # edges that meet at a corner, or touch a side, do not cross it
    assert count_crossings([[0, 0], [4, 0], [2, 0], [2, 3]]) == 0


def test_a_tangle_is_no_word():
    tangle = np.random.default_rng(0).uniform(0, 100, (60, 2))
    assert count_crossings(tangle) > MOST_CROSSINGS and repair_polygon(tangle) is None
