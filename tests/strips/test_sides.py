"""The sides of a word by the shape of its outline."""

import numpy as np
import pytest

from dld.strips.sides import sides_of_outlines


def rectangle(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def turned(points, degrees, about=(0.0, 0.0)):
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return (np.asarray(points) - about) @ turn + about


def band(radius, height, half_angle, centre=(400.0, 600.0), up=True):
    """Outline of a word that bulges upwards (or downwards) along a circle; angles from the vertical."""
    angle = np.radians(np.linspace(-half_angle, half_angle, 40))
    sign = -1 if up else 1
    direction = np.stack([np.sin(angle), sign * np.cos(angle)], 1)
    outer, inner = direction * (radius + height / 2) + centre, direction * (radius - height / 2) + centre
    return np.concatenate([outer, inner[::-1]])


def test_upright_rectangle():
    # 200 x 40: the height becomes 44, the length 204, around the same centre (200, 120)
    sides = sides_of_outlines([rectangle(100, 100, 300, 140)], count=5)
    assert sides.points.shape == (1, 2, 5, 2)
    assert sides.found.tolist() == [True] and sides.tall.tolist() == [False]
    x = np.linspace(98, 302, 5)
    expected = np.stack([np.stack([x, np.full(5, 98.0)], 1), np.stack([x, np.full(5, 142.0)], 1)])
    np.testing.assert_allclose(sides.points[0], expected, atol=1.0)


@pytest.mark.parametrize("degrees", [-40, -30, 15, 30])
def test_a_turned_rectangle_has_turned_sides(degrees):
    shape = rectangle(100, 100, 300, 140)
    straight, slanted = sides_of_outlines([shape, turned(shape, degrees, (200, 120))]).points
    np.testing.assert_allclose(slanted, turned(straight, degrees, (200, 120)), atol=1.5)


def test_tall_rectangle_runs_downwards():
    sides = sides_of_outlines([rectangle(100, 100, 140, 300)])
    assert sides.tall.tolist() == [True]
    # turned a quarter clockwise: its upper side is on the right
    upper, lower = sides.points[0]
    np.testing.assert_allclose(upper, np.stack([np.full(17, 142.0), np.linspace(98, 302, 17)], 1), atol=1.0)
    np.testing.assert_allclose(lower, np.stack([np.full(17, 98.0), np.linspace(98, 302, 17)], 1), atol=1.0)


@pytest.mark.parametrize("shape", [rectangle(100, 100, 300, 140), rectangle(7, 9, 20, 90), band(200, 40, 40)])
def test_neither_direction_nor_first_corner_of_the_outline_matters(shape):
    same = sides_of_outlines([shape, shape[::-1], np.roll(shape, 1, 0)])
    np.testing.assert_allclose(same.points[1], same.points[0], atol=1e-3)
    np.testing.assert_allclose(same.points[2], same.points[0], atol=1e-3)


def test_moved_and_enlarged_outlines_have_moved_and_enlarged_sides():
    shape = band(200, 40, 30)
    sides = sides_of_outlines([shape, shape + (10_000, 5_000), shape * 8])
    np.testing.assert_allclose(sides.points[1] - (10_000, 5_000), sides.points[0], atol=1.0)
    np.testing.assert_allclose(sides.points[2] / 8, sides.points[0], atol=1.0)


@pytest.mark.parametrize("up", [True, False])
def test_sides_of_an_arc_follow_it(up):
    radius, height, centre = 300.0, 40.0, (400.0, 600.0)
    sides = sides_of_outlines([band(radius, height, 25, centre, up)])
    upper, lower = sides.points[0]
    middle = (upper + lower) / 2
    bulge = middle[8, 1] - (middle[0, 1] + middle[-1, 1]) / 2
    # the sagitta of 25 degrees: 300 x (1 - cos 25 degrees) = 28 pixels
    assert bulge == pytest.approx((-1 if up else 1) * 28, abs=6)
    heights = np.hypot(*(lower - upper).T)
    np.testing.assert_allclose(heights, 44, rtol=0.12)
    np.testing.assert_allclose(np.hypot(*(middle - centre).T), radius, atol=5)
    assert (lower[:, 1] > upper[:, 1]).all() and (np.diff(middle[:, 0]) > 0).all()


def test_outlines_without_area_are_not_found_and_spoil_no_other():
    good = rectangle(100, 100, 300, 140)
    nan = good.copy()
    nan[2, 1] = np.nan
    infinite = good.copy()
    infinite[0, 0] = np.inf
    bad = [
        np.array([[0.0, 0.0], [50.0, 20.0]]),
        np.full((4, 2), 7.0),
        np.array([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0]]),
        np.array([[0.0, 0.0], [50.0, 25.0], [100.0, 50.0], [20.0, 10.0]]),
        nan,
        infinite,
        np.zeros((0, 2)),
    ]
    sides = sides_of_outlines([bad[0], good, *bad[1:]])
    assert sides.found.tolist() == [False, True] + [False] * (len(bad) - 1)
    np.testing.assert_array_equal(sides.points[1], sides_of_outlines([good]).points[0])
    assert not sides_of_outlines(bad).found.any()


def test_no_outline():
    sides = sides_of_outlines([])
    assert sides.points.shape == (0, 2, 17, 2) and sides.tall.shape == sides.found.shape == (0,)


def test_a_square_lies_level_even_when_it_stands_on_a_corner():
    square = turned(rectangle(100, 100, 140, 140), 45, (120, 120))
    sides = sides_of_outlines([square])
    upper, lower = sides.points[0]
    assert not sides.tall[0]
    assert np.ptp(upper[:, 1]) < 8 and np.ptp(lower[:, 1]) < 8 and (upper[:, 1] < lower[:, 1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_random_polygons_give_finite_sides(seed):
    rng = np.random.default_rng(seed)
    shapes = [rng.normal(size=(rng.integers(3, 20), 2)) * rng.uniform(0.01, 1000) for _ in range(100)]
    sides = sides_of_outlines(shapes)
    assert np.isfinite(sides.points[sides.found]).all()
    assert sides.found.mean() > 0.8
