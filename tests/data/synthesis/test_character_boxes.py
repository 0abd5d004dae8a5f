"""Where the characters of generated words lie: around their ink, in the order of the text, through every bend and turn."""

import math

import cv2
import numpy as np
import pytest
from shapely import LineString, MultiPoint, Point, Polygon

from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.fonts import FontFace, load_faces
from dld.data.synthesis.lettering import arrange_arc, arrange_badge, arrange_lines, arrange_wave, set_line
from dld.data.synthesis.scene import render_synthwords
from dld.data.synthesis.synthwords import SynthWordsDataset
from dld.structures.sides import word_sides

BENT = SynthWordsConfig(size=(256, 320), max_words=10, curved_rate=0.6, empty_rate=0.0)


def one_line(face, *words, size=32, tracking=0.0):
    made, used = set_line(face, list(words), size, tracking, 0.5, 2000)
    assert used == len(words)
    return made


def covered(lettering):
    """Share of the ink that lies in the quadrangles of characters."""
    inside = np.zeros_like(lettering.ink)
    for corners in lettering.characters:
        for quad in corners:
            cv2.fillPoly(inside, [np.round(quad * 16 - 8).astype(np.int32)], 1, shift=4)
    return float((lettering.ink * (inside > 0).astype(float)).sum() / lettering.ink.sum())


@pytest.mark.parametrize("tracking", [0.0, 0.3])
def test_characters_cover_the_ink_of_their_word_in_every_face(tracking):
    for faces in load_faces().values():
        lettering = arrange_lines([one_line(faces[0], "fjAVEgo.", tracking=tracking)], "left", 0, (8, 8))
        assert covered(lettering) > 0.95, faces[0].family


def test_characters_cover_the_ink_of_bent_words():
    face = next(iter(load_faces().values()))[0]
    first, second, third = one_line(face, "Quality", "food"), one_line(face, "since", "1987"), one_line(face, "Egg")
    for lettering in (
        arrange_arc(first, 2.0, True, (6, 6)),
        arrange_arc(first, 2.0, False, (6, 6)),
        arrange_wave(first, 8, 150, 0.7, (6, 6)),
        arrange_badge(first, second, [third], 5),
    ):
        assert [len(corners) for corners in lettering.characters] == [len(text) for _, text in lettering.words]
        assert covered(lettering) > 0.95


def test_a_letter_lies_where_it_would_be_drawn_alone():
    face = next(iter(load_faces().values()))[0]
    boxes = face.character_boxes("HIH", 40, tracking=0.5)
    ink, dx, dy = face.mask("HIH", 40, tracking=0.5)
    assert boxes[0, 0] <= dx <= boxes[0, 2] and boxes[-1, 0] <= dx + ink.shape[1] <= boxes[-1, 2] + 1
    np.testing.assert_allclose(boxes[:, 1], dy, atol=0.8)
    np.testing.assert_allclose(boxes[:, 3], dy + ink.shape[0], atol=1.2)
    gaps = boxes[1:, 0] - boxes[:-1, 2]
    np.testing.assert_allclose(gaps, 0.5 * 40, atol=1.0)


def test_each_character_of_a_picture_has_a_place_in_the_order_of_the_text():
    seen = 0
    for index in range(12):
        for word in render_synthwords(index, config=BENT).words:
            assert word.chars.shape == (len(word.text), 4, 2) and word.chars.dtype == np.float32
            sides = None if word.ignore else word_sides(word.polygon, 33, len(word.text))
            if sides is None:
                continue
            line = LineString(sides.mean(0))
            places = [line.project(Point(*quad.mean(0))) for quad in word.chars]
            assert (np.diff(places) > 0).all(), word.text
            height = np.hypot(*(sides[1] - sides[0]).T).mean()
            room = Polygon(word.polygon).buffer(0.3 * height)
            assert all(room.contains(Point(*quad.mean(0))) for quad in word.chars)
            ends = places[0], line.length - places[-1]
            assert max(ends) < 1.2 * height, "the first and the last letter stand at the ends"
            for quad in word.chars:
                assert (quad[1] - quad[0]) @ (quad[2] - quad[3]) > 0
                turned = np.cross(np.append(quad[1] - quad[0], 0), np.append(quad[3] - quad[0], 0))[2]
                assert turned > 0, "clockwise on the screen"
            seen += len(word.text) > 1
    assert seen > 30


def test_characters_turn_with_a_sign_seen_from_the_side():
    """Corners of a straight word's box lie at the corners of its characters' hull, whatever the homography."""
    config = SynthWordsConfig(size=(256, 320), max_words=6, curved_rate=0.0, empty_rate=0.0)
    angles = []
    for index in range(12):
        for word in render_synthwords(index, config=config).words:
            if word.ignore or len(word.text) < 4:
                continue
            hull, polygon = MultiPoint(word.chars.reshape(-1, 2)).convex_hull, Polygon(word.polygon)
            assert hull.intersection(polygon).area > 0.85 * hull.area
            along, reading = word.chars[-1].mean(0) - word.chars[0].mean(0), word.polygon[1] - word.polygon[0]
            angles.append(math.atan2(*along[::-1]) - math.atan2(*reading[::-1]))
    angles = (np.array(angles) + math.pi) % (2 * math.pi) - math.pi
    assert len(angles) > 10 and np.abs(angles).max() < 0.25


def test_pictures_and_outlines_do_not_depend_on_the_characters(monkeypatch):
    known = [render_synthwords(index, config=BENT) for index in range(4)]
    monkeypatch.setattr(FontFace, "character_boxes", lambda self, text, capital_px, tracking=0.0: np.zeros((len(text), 4)))
    for index, picture in enumerate(known):
        other = render_synthwords(index, config=BENT)
        np.testing.assert_array_equal(picture.image, other.image)
        for word, same in zip(picture.words, other.words, strict=True):
            np.testing.assert_array_equal(word.polygon, same.polygon)
            assert (word.text, word.ignore) == (same.text, same.ignore)
            assert not np.array_equal(word.chars, same.chars)


def test_records_carry_them():
    words = SynthWordsDataset("val", config=BENT)[3]["annotations"]
    assert words and all(word["characters"].shape == (len(word["text"]), 4, 2) for word in words)
