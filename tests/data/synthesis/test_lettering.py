"""Set words: outlines enclose their own ink, curved or straight, and follow the reading direction."""

import math

import cv2
import numpy as np
import pytest
from shapely import Polygon

from dld.data.synthesis.fonts import load_faces
from dld.data.synthesis.lettering import arrange_arc, arrange_badge, arrange_lines, arrange_wave, set_line


@pytest.fixture(scope="module")
def face():
    families = load_faces()
    return families.get("Roboto", next(iter(families.values())))[0]


def line(face, *words, size=24):
    made, used = set_line(face, list(words), size, 0.0, 0.5, 1000)
    assert used == len(words)
    return made


def arrangements(face):
    first, second, third = line(face, "Quality", "food"), line(face, "since", "1987"), line(face, "Egg")
    yield arrange_lines([first, second], "center", 8, (10, 6))
    yield arrange_arc(first, 1.8, True, (6, 6))
    yield arrange_arc(first, 1.8, False, (6, 6))
    yield arrange_arc(third, 6.0, True, (6, 6))  # as far as it can be bent
    yield arrange_wave(first, 8, 120, 0.7, (6, 6))
    yield arrange_badge(first, second, [third], 5)


def test_outlines_enclose_the_ink_and_little_else(face):
    for lettering in arrangements(face):
        inside = np.zeros_like(lettering.ink)
        for outline, _ in lettering.words:
            cv2.fillPoly(inside, [np.round(outline).astype(np.int32)], 1)
        ink = lettering.ink > 128
        assert ink.sum() > 500
        assert (ink & (inside > 0)).sum() >= 0.995 * ink.sum()
        assert ink.sum() > 0.15 * inside.sum()


def test_outlines_are_simple_clockwise_and_inside_the_plane(face):
    for lettering in arrangements(face):
        h, w = lettering.ink.shape
        for outline, _ in lettering.words:
            polygon = Polygon(outline)
            assert polygon.is_valid
            assert polygon.exterior.is_ccw  # with y pointing down: clockwise on the screen
            assert outline.min() >= 0 and outline[:, 0].max() <= w and outline[:, 1].max() <= h


def test_words_stand_in_reading_order(face):
    made = line(face, "one", "two", "three")
    assert made.texts == ["one", "two", "three"]
    assert made.boxes[0][2] < made.boxes[1][0] < made.boxes[1][2] < made.boxes[2][0]


def test_a_descender_belongs_to_the_box_of_its_word_only(face):
    made = line(face, "pry", "sum")
    assert made.boxes[0][3] > made.boxes[1][3] + 4
    assert abs(made.boxes[1][3]) <= 1  # ends at the baseline


def test_words_that_do_not_fit_stay_for_the_next_line(face):
    wide = line(face, "wide").width
    made, used = set_line(face, ["wide", "wide"], 24, 0.0, 0.5, 1.5 * wide)
    assert (made.texts, used) == (["wide"], 1)
    assert set_line(face, ["wide"], 24, 0.0, 0.5, 0.5 * wide) == (None, 1)


def test_a_word_without_glyphs_is_skipped(face):
    made, used = set_line(face, ["\u4e2d", "yes"], 24, 0.0, 0.5, 1000)
    assert (made.texts, used) == (["yes"], 2)


def test_a_longer_bend_has_more_points(face):
    made = line(face, "Mediterranean")
    flat, bent = (arrange_arc(made, math.radians(angle), True, (4, 4)).words[0][0] for angle in (10, 120))
    assert len(flat) < len(bent) <= 16
