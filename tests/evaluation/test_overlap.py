from dataclasses import replace

import numpy as np
import pytest
from slab_oracle import common_area

from dld.evaluation.overlap import is_clockwise, measure_overlap, polygon_problems
from dld.evaluation.protocol import icdar2015, totaltext

SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]])
BOW_TIE = np.array([[0, 0], [10, 10], [10, 0], [0, 10]])  # two wings of 25, no signed area
LINE = np.array([[0, 0], [5, 5], [10, 10]])


def test_two_rectangles_by_hand():
    right_half = SQUARE / [2, 1] + [5, 0]
    overlap = measure_overlap([SQUARE], [right_half, SQUARE + 5, SQUARE + 100], totaltext)
    assert overlap.intersection.tolist() == [[50, 25, 0]]
    assert overlap.iou.tolist() == [[0.5, 25 / 175, 0]]
    assert overlap.inside.tolist() == [[1, 0.25, 0]]


def test_self_intersecting_polygon_has_the_area_of_both_wings():
    overlap = measure_overlap([SQUARE], [BOW_TIE], totaltext)
    assert overlap.detected_areas.tolist() == [50] and overlap.iou[0, 0] == 0.5
    contour = measure_overlap([SQUARE], [BOW_TIE], replace(totaltext, self_intersecting_area="contour"))
    assert contour.detected_areas.tolist() == [0] and contour.inside[0, 0] == 0


def test_twice_wound_centre_is_outside():
    star = np.array([[50, 0], [80, 90], [0, 35], [100, 35], [20, 90]])
    centre = np.array([[49, 49], [51, 49], [51, 51], [49, 51]])
    overlap = measure_overlap([star], [star, centre], totaltext)
    assert overlap.detected_areas[0] == pytest.approx(common_area(star.tolist(), star.tolist()))
    assert overlap.intersection[0, 1] == 0


@pytest.mark.parametrize(
    "polygon",
    [
        LINE,
        LINE[:2],
        LINE[:0].reshape(0, 2),
        np.zeros((4, 2)),
        [[0, 0], [np.nan, 0], [5, 5]],
        [[0, 0], [1e300, 0], [5, 5]],
    ],
)
def test_degenerate_polygons_overlap_nothing(polygon):
    overlap = measure_overlap([SQUARE], [np.asarray(polygon, dtype=float)], totaltext)
    assert overlap.iou.tolist() == [[0]] and overlap.inside.tolist() == [[0]]
    assert polygon_problems([np.asarray(polygon, dtype=float)], totaltext) == ["degenerate"]


def test_problems_are_those_of_the_measured_polygon():
    thin = SQUARE * [1, 0.05]  # no area once the decimals are gone
    assert polygon_problems([SQUARE, BOW_TIE, thin], icdar2015) == [None, "self-intersecting", "degenerate"]
    assert polygon_problems([thin], totaltext) == [None]
    assert polygon_problems([], totaltext) == []


def test_truncation_is_towards_zero():
    moved = SQUARE + [0.9, -0.9]
    assert measure_overlap([SQUARE], [moved], icdar2015).intersection[0, 0] == 90  # y becomes 0..9
    assert measure_overlap([SQUARE], [moved], totaltext).intersection[0, 0] == pytest.approx(9.1 * 9.1)


def test_nothing_to_measure():
    assert measure_overlap([], [], totaltext).iou.shape == (0, 0)
    assert measure_overlap([SQUARE], [], totaltext).iou.shape == (1, 0)


def test_clockwise_is_as_one_sees_it():
    assert is_clockwise(SQUARE) and not is_clockwise(SQUARE[::-1]) and is_clockwise(BOW_TIE)


def test_areas_agree_with_slabs_on_random_polygons_many_of_them_crossing_themselves():
    generator = np.random.default_rng(0)
    first = [generator.integers(0, 40, size=(generator.integers(3, 9), 2)) for _ in range(12)]
    second = [generator.integers(0, 40, size=(generator.integers(3, 9), 2)) for _ in range(12)]
    overlap = measure_overlap(first, second, totaltext)
    expected = [[common_area(a.tolist(), b.tolist()) for b in second] for a in first]
    assert overlap.intersection == pytest.approx(np.array(expected), abs=1e-6)
    assert overlap.truth_areas == pytest.approx([common_area(a.tolist(), a.tolist()) for a in first], abs=1e-6)
    assert polygon_problems(first, totaltext).count("self-intersecting") > 3
