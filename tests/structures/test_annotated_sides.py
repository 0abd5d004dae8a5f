"""The sides of annotated words: what stands above and below the letters, whichever way a word lies."""

import numpy as np
import pytest

from dld.structures.sides import SIDE_POINTS, resample, sides_cross, word_sides


def turned(points, degrees, about=(50.0, 50.0)):
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return (np.asarray(points, float) - about) @ turn + about


def outline(top, bottom):
    """As annotators draw it: the top side, then the bottom side backwards."""
    return np.concatenate([np.asarray(top, float), np.asarray(bottom, float)[::-1]])


def arc(radius, height, half_angle, count, centre=(300.0, 400.0)):
    """Top and bottom side of a word on the upper part of a circle."""
    angle = np.radians(np.linspace(-half_angle, half_angle, count))
    direction = np.stack([np.sin(angle), -np.cos(angle)], 1)
    return direction * (radius + height / 2) + centre, direction * (radius - height / 2) + centre


QUAD = np.array([[10.0, 20], [70, 22], [70, 42], [10, 40]])


def test_two_points_a_side_are_the_corners_of_a_quad():
    np.testing.assert_array_equal(word_sides(QUAD, n=2), [[[10, 20], [70, 22]], [[10, 40], [70, 42]]])


def test_corners_stay_and_steps_are_equal():
    top, bottom = [[0, 0], [10, 0], [90, 0], [100, 0]], [[0, 30], [50, 30], [60, 30], [100, 30]]
    sides = word_sides(outline(top, bottom), n=5)
    assert sides.shape == (2, 5, 2)
    np.testing.assert_allclose(sides[0], [[x, 0] for x in (0, 25, 50, 75, 100)])
    np.testing.assert_allclose(sides[1], [[x, 30] for x in (0, 25, 50, 75, 100)])


def test_a_half_circle_has_equal_steps():
    top, bottom = arc(100, 30, 90, 181)
    sides = word_sides(outline(top, bottom))
    assert sides.shape == (2, SIDE_POINTS, 2)
    # 6 chords of 30 degrees each
    np.testing.assert_allclose(np.hypot(*np.diff(sides[0], axis=0).T), 2 * 115 * np.sin(np.radians(15)), rtol=1e-3)
    np.testing.assert_allclose(np.hypot(*np.diff(sides[1], axis=0).T), 2 * 85 * np.sin(np.radians(15)), rtol=1e-3)
    np.testing.assert_allclose(sides[:, [0, -1]], [[top[0], top[-1]], [bottom[0], bottom[-1]]])


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 180, 270])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_sides_turn_with_the_word(degrees, count):
    """Upside-down and vertical words keep their start: the annotator says where it is."""
    top, bottom = arc(200, 40, 20, count)
    shape, sides = outline(top, bottom), word_sides(outline(top, bottom))
    np.testing.assert_allclose(word_sides(turned(shape, degrees)), turned(sides, degrees), atol=1e-9)


@pytest.mark.parametrize("shape", [QUAD, outline(*arc(200, 40, 20, 4))], ids=["quad", "arc"])
@pytest.mark.parametrize("first", ["kept", "turned, too"])
def test_an_anticlockwise_outline_is_turned_round(shape, first):
    backwards = np.roll(shape[::-1], 1, axis=0) if first == "kept" else shape[::-1]
    np.testing.assert_allclose(word_sides(backwards), word_sides(shape), atol=1e-9)


def test_corners_in_rows_are_put_in_order():
    np.testing.assert_allclose(word_sides(QUAD[[0, 1, 3, 2]]), word_sides(QUAD))


def test_a_closed_outline_is_the_same():
    np.testing.assert_array_equal(word_sides(np.concatenate([QUAD, QUAD[:1]])), word_sides(QUAD))


@pytest.mark.parametrize("extra", ["top", "bottom", "end", "start"])
@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_an_odd_outline_is_cut_at_its_short_ends(extra, degrees):
    """One more point on a side, or in the middle of an end, than on the other."""
    top, bottom = (side.tolist() for side in arc(200, 40, 20, 3))
    wanted = word_sides(turned(outline(top, bottom), degrees))
    if extra == "top":
        top.insert(1, ((np.array(top[0]) + top[1]) / 2).tolist())
    elif extra == "bottom":
        bottom.insert(1, ((np.array(bottom[0]) + bottom[1]) / 2).tolist())
    shape = outline(top, bottom)
    if extra == "end":
        shape = np.insert(shape, 3, (np.array(top[-1]) + bottom[-1]) / 2, axis=0)
    elif extra == "start":
        shape = np.append(shape, [(np.array(top[0]) + bottom[0]) / 2], axis=0)
    found = word_sides(turned(shape, degrees))
    # a point inside an end makes it two short edges, of which one goes with a side: off by half a height at most
    limit = 20 if extra in ("end", "start") else 1
    assert np.hypot(*np.moveaxis(found - wanted, -1, 0)).max() <= limit


def test_a_tall_quad_that_starts_at_its_upper_left_corner_reads_downwards():
    tall = np.array([[10.0, 10], [30, 10], [30, 90], [10, 90]])
    np.testing.assert_array_equal(word_sides(tall, 2), [[[30, 10], [30, 90]], [[10, 10], [10, 90]]])
    # a single character is tall
    np.testing.assert_array_equal(word_sides(tall, 2, characters=1), [[[10, 10], [30, 10]], [[10, 90], [30, 90]]])
    # and one that starts at its lower left corner says that it reads upwards
    np.testing.assert_array_equal(word_sides(np.roll(tall, 1, axis=0), 2), [[[10, 90], [10, 10]], [[30, 90], [30, 10]]])


NAN = QUAD.copy()
NAN[1, 0] = np.nan


@pytest.mark.parametrize(
    "shape",
    [
        QUAD[:3],
        QUAD[:1],
        np.zeros((0, 2)),
        np.full((4, 2), 3.0),
        np.array([[0.0, 0], [10, 0], [20, 0], [30, 0]]),
        np.array([[0.0, 0], [10, 0], [20, 0], [30, 0], [40, 0]]),
        NAN,
        np.full((4, 2), np.inf),
        np.zeros((4, 3)),
        np.random.default_rng(0).uniform(0, 9, (1001, 2)),
    ],
)
def test_outlines_without_two_sides_have_none(shape):
    assert word_sides(shape) is None


@pytest.mark.parametrize("seed", range(3))
def test_any_outline_gives_uncrossed_sides_or_none(seed):
    rng = np.random.default_rng(seed)
    shapes = [rng.normal(size=(rng.integers(3, 16), 2)) * rng.uniform(0.01, 1000) for _ in range(100)]
    found = [sides for sides in map(word_sides, shapes) if sides is not None]
    assert len(found) > 20
    assert all(np.isfinite(sides).all() for sides in found)


def test_crossing_sides():
    level = np.stack([np.linspace([0, 0], [60, 0], 4), np.linspace([0, 20], [60, 20], 4)])
    assert not sides_cross(level)
    assert sides_cross(level[::-1]), "the bottom side stands above"
    assert sides_cross(level[:, ::-1]), "mirrored"
    twisted = level.copy()
    twisted[:, 3] = level[::-1, 3]
    assert sides_cross(twisted)


def test_a_side_of_one_point_is_refused():
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        word_sides(QUAD, n=1)


def test_equal_steps_by_hand():
    np.testing.assert_allclose(resample(np.array([[0.0, 0], [3, 0], [3, 5]]), 5), [[0, 0], [2, 0], [3, 1], [3, 3], [3, 5]])
