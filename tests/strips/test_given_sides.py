"""Words whose sides are given, not found from their outlines."""

import numpy as np
import pytest
from test_sides import band, rectangle

from dld.strips.collapsing import Characters
from dld.strips.cutting import PhotoPyramid, cut_strips
from dld.strips.photo_strips import strips_of
from dld.strips.reading import read_words
from dld.strips.rules import ReadingRules
from dld.strips.sides import bends, can_be_cut, sides_of_outlines, with_points


def level_sides(x0, y0, x1, y1, n=7):
    x = np.linspace(x0, x1, n)
    return np.stack([np.stack([x, np.full(n, float(y))], 1) for y in (y0, y1)])


@pytest.fixture
def pyramid():
    return PhotoPyramid(np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8))


def test_bend_is_the_height_of_the_arc_over_that_of_the_word():
    # an arc of 60 degrees of radius 300: its middle lies 300 (1 - cos 30) above its chord
    angle = np.radians(np.linspace(-30, 30, 31))
    direction = np.stack([np.sin(angle), -np.cos(angle)], 1)
    arc = np.stack([direction * 320, direction * 280])
    assert bends(np.stack([arc, arc[::-1, ::-1]])).tolist() == pytest.approx([300 * (1 - np.cos(np.pi / 6)) / 40] * 2)
    turned = level_sides(0, 0, 100, 20) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    assert bends(turned[None])[0] == pytest.approx(0, abs=1e-9)
    assert bends(np.zeros((1, 2, 5, 2)))[0] == 0
    shapes = sides_of_outlines([rectangle(0, 0, 200, 40), band(300, 40, 30)])
    straight, bent = bends(shapes.points)
    assert straight < 0.02 and bent == pytest.approx(1.0, abs=0.15)


def test_sides_of_another_number_of_points_run_along_the_same_segments():
    points = with_points(np.array([[[0, 0], [10, 0], [20, 20]], [[0, 5], [10, 5], [20, 25]]], float), 5)
    assert points[0].tolist() == [[0, 0], [5, 0], [10, 0], [15, 10], [20, 20]]
    assert points[1].tolist() == [[0, 5], [5, 5], [10, 5], [15, 15], [20, 25]]


def test_a_strip_fits_between_sides_that_are_finite_in_the_photo_and_not_twisted():
    sides = level_sides(20, 20, 120, 50)
    broken = sides.copy()
    broken[0, 3] = np.nan
    assert can_be_cut(sides, (100, 200)) and can_be_cut(sides[::-1, ::-1], (100, 200))
    assert not any(can_be_cut(x, (100, 200)) for x in (broken, sides[::-1], sides[:, ::-1], sides + 300, sides - 130))
    # no point, one point, no length, no height
    level = sides[:1].repeat(2, axis=0)
    for useless in (sides[:, :0], sides[:, :1], sides[:, :1].repeat(5, axis=1), level):
        assert not can_be_cut(useless, (100, 200))


def test_strips_are_cut_between_given_sides_and_between_others_as_ever(pyramid):
    outlines = [rectangle(20, 20, 120, 50), rectangle(20, 100, 120, 130)]
    given = level_sides(30, 22, 110, 44)
    ever, _ = strips_of(0, pyramid, outlines, ReadingRules())
    strips, unread = strips_of(0, pyramid, outlines, ReadingRules(), [given, None])
    assert unread == 0 and [s.row for s in strips] == [0, 1]
    np.testing.assert_allclose(strips[0].sides, with_points(given, 17))
    np.testing.assert_array_equal(strips[0].pixels, cut_strips(pyramid, with_points(given, 17)[None])[0])
    assert (strips[0].grown, strips[1].grown) == (1.0, 1.1)
    np.testing.assert_array_equal(strips[1].pixels, ever[1].pixels)
    # sides that no strip fits between
    for useless in (given + 1000, given[::-1], given[:, :1]):
        same, _ = strips_of(0, pyramid, outlines, ReadingRules(), [useless, None])
        np.testing.assert_array_equal(same[0].pixels, ever[0].pixels)


def test_a_tall_word_with_given_sides_is_read_from_its_first_letter_alone(pyramid):
    tall, upwards = rectangle(50, 20, 80, 180), level_sides(20, 50, 180, 80)[..., ::-1][:, ::-1]
    assert len(strips_of(0, pyramid, [tall], ReadingRules())[0]) == 2
    (strip,), _ = strips_of(0, pyramid, [tall], ReadingRules(), [upwards])
    np.testing.assert_allclose(strip.sides, with_points(upwards, 17))


def test_words_between_given_sides_are_parted_at_their_height(pyramid):
    seen = Characters(np.array([1, 2, 1]), np.array([1.0, 1.0, 1.0]), np.array([1, 5, 9]))
    sides = level_sides(20, 20, 120, 60)
    reading = read_words(
        [pyramid.levels[0]],
        [[rectangle(20, 20, 120, 60)]],
        [np.ones(1)],
        lambda pixels: [seen] * len(pixels),
        ["a", " "],
        sides=[[sides]],
    )[0]
    assert reading.texts == ["a", "a"]
    assert all(np.ptp(outline[:, 1]) == pytest.approx(40) for outline in reading.outlines)
