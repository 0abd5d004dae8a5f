"""Turned and tiled pictures, read by a stand-in that sees grey rectangles as words."""

import numpy as np
import pytest

from dld.data.picture_views import ViewReader, check_rotation, upright_evidence
from dld.data.tiles import Tile, tiles_of
from dld.structures.words import SpottingResult, Word

WORDS = {40: "EXIT", 80: "stone", 120: "river", 160: "north"}


class Seer:
    """Reads each grey value as a word, surely where it lies level; half of the teacher's cost, a GFLOP a pixel."""

    def __init__(self):
        self.sizes = []

    def __call__(self, pictures):
        self.sizes.append([p.shape[:2] for p in pictures])
        return [self.read(p) for p in pictures]

    def read(self, picture):
        words = []
        for value, text in WORDS.items():
            rows, columns = np.nonzero(picture[:, :, 0] == value)
            if len(rows):
                x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
                level = x1 - x0 > y1 - y0 and picture[y0, x0, 1] == 1  # a mark at the first letter
                words.append(Word(text, polygon, 0.9 if level else 0.2))
        height, width = picture.shape[:2]
        return SpottingResult(None, None, width, height, words, 0.5, 0.5, float(height * width))


def picture(height=100, width=160, **boxes):
    pixels = np.zeros((height, width, 3), np.uint8)
    for text, (x0, y0, x1, y1) in boxes.items():
        pixels[y0:y1, x0:x1, 0] = next(v for v, t in WORDS.items() if t == text)
        pixels[y0, x0, 1] = 1
    return pixels


def boxes_of(result):
    return {w.text: (*w.polygon.min(0), *w.polygon.max(0)) for w in result.words}


def no_tiles(size):
    return []


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("told", [True, False])
def test_words_of_a_turned_page_come_back_in_its_own_pixels(turn, told):
    upright = picture(EXIT=(10, 20, 50, 30), stone=(60, 70, 120, 85))
    page = np.rot90(upright, -turn // 90)  # clockwise
    glance = Seer()
    (result,) = ViewReader(Seer(), no_tiles, turn if told else "auto", glance)([page])
    assert (result.rotation, result.height, result.width) == (turn, *page.shape[:2])
    assert boxes_of(result) == boxes_of(Seer().read(page))
    assert result.text == "EXIT\nstone"
    area = 160 * 100
    assert result.gflops == (area if told else 5 * area) and result.cost == (0.5 if told else 2.5)
    assert glance.sizes == ([] if told else [[(s := page.shape[:2])], [s[::-1]], [s], [s[::-1]]])


def test_a_page_without_words_is_taken_for_upright():
    (result,) = ViewReader(Seer(), no_tiles, "auto", Seer())([picture()])
    assert result.rotation == 0 and result.words == []
    assert ViewReader(Seer(), no_tiles, "auto", Seer())([]) == []


@pytest.mark.parametrize(("at_once", "glances", "views"), [(1, [1] * 4, [1, 1, 1]), (2, [2, 2], [2, 1]), (4, [4], [3])])
def test_turns_and_tiles_are_read_as_many_at_once_as_may_be(at_once, glances, views):
    glance, read = Seer(), Seer()
    lying = picture(100, 160, EXIT=(10, 20, 50, 30))
    (alone,) = ViewReader(Seer(), no_tiles, "auto", Seer())([lying])
    (result,) = ViewReader(read, no_tiles, "auto", glance, at_once)([lying])
    assert [len(sizes) for sizes in glance.sizes] == glances and len(read.sizes) == 1
    assert boxes_of(result) == boxes_of(alone) and (result.cost, result.gflops) == (alone.cost, alone.gflops)
    halves = lambda size: [Tile(0, 0, 100, 100), Tile(60, 0, 160, 100)] if size == (100, 160) else []  # noqa: E731
    read.sizes.clear()
    (tiled,) = ViewReader(read, halves, at_once=at_once)([lying])
    assert [len(sizes) for sizes in read.sizes] == views and "EXIT" in boxes_of(tiled)


def test_a_strip_is_read_in_tiles_and_every_word_once():
    boxes = {"EXIT": (10, 20, 50, 30), "stone": (5, 95, 60, 108), "river": (20, 300, 90, 320), "north": (0, 630, 60, 640)}
    strip = picture(640, 100, **boxes)

    def tiles(size):
        return tiles_of(size, "auto", 100, 250)

    read = Seer()
    small = picture(EXIT=(10, 20, 50, 30))
    result, other = ViewReader(read, tiles)([strip, small])
    assert boxes_of(result) == boxes and len(result.words) == 4
    assert (result.width, result.height, result.scale, result.cost) == (100, 640, 0.5, 0.5)
    parts = tiles((640, 100))
    assert result.gflops == 640 * 100 + sum((t.x1 - t.x0) * (t.y1 - t.y0) for t in parts)
    assert max(map(len, read.sizes)) == 2, "no more at once than pictures were given"
    assert boxes_of(other) == {"EXIT": (10, 20, 50, 30)}
    (turned,) = ViewReader(Seer(), tiles, "auto", Seer())([np.rot90(strip, -1)])
    assert turned.rotation == 90 and turned.text == result.text
    assert boxes_of(turned) == {t: (640 - y1, x0, 640 - y0, x1) for t, (x0, y0, x1, y1) in boxes.items()}


@pytest.mark.parametrize("rotation", ["Auto", 45, -90, 360, 90.5, float("inf"), None, "", True])
def test_turns_that_make_no_sense_are_refused(rotation):
    with pytest.raises(ValueError, match="rotation must be"):
        check_rotation(rotation)


def test_turns_that_make_sense():
    assert [check_rotation(x) for x in ("auto", 0, "90", 270.0)] == ["auto", 0, 90, 270]


def test_words_on_end_are_no_evidence_unless_they_are_short():
    def word(text, width, height, score=0.5):
        return Word(text, np.array([[0, 0], [width, 0], [width, height], [0, height]]), score)

    assert (
        upright_evidence([word("abcd", 30, 10), word("abcd", 10, 30), word("No", 9, 10), word("", 30, 10)]) == 0.5 * 4 + 0.5 * 2
    )
    assert upright_evidence([]) == 0
