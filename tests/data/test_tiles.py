"""Tiles of long and huge pictures, and their words made one."""

import numpy as np
import pytest

from dld.data.tiles import Tile, check_tile, merge_words, tiles_of
from dld.structures.word import Word


def word(text, x0, y0, x1, y1, score=0.9):
    return Word(text, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32), score)


@pytest.mark.parametrize(
    "size, tile",
    [
        ((4800, 640), "auto"),
        ((300, 9000), "auto"),
        ((5000, 7000), "auto"),
        ((700, 900), 256),
        ((64, 5000), 64),
        ((1, 9000), "auto"),
    ],
)
def test_tiles_cover_the_picture_and_overlap(size, tile):
    tiles = tiles_of(size, tile, 640, 1600)
    assert len(tiles) == len(set(tiles)) > 1
    count = np.zeros(size, np.uint8)
    for t in tiles:
        assert 0 <= t.x0 < t.x1 <= size[1] and 0 <= t.y0 < t.y1 <= size[0]
        count[t.y0 : t.y1, t.x0 : t.x1] += 1
    assert count.min() == 1 and len({(t.x1 - t.x0, t.y1 - t.y0) for t in tiles}) == 1
    # neighbours of a row share a quarter of a tile
    row = [t for t in tiles if t.y0 == 0]
    assert all(a.x1 - b.x0 >= (a.x1 - a.x0) // 4 for a, b in zip(row, row[1:], strict=False))


@pytest.mark.parametrize("size", [(480, 640), (640, 640), (3000, 4000), (640, 2200), (50, 60), (1, 1)])
def test_usual_pictures_are_read_as_a_whole(size):
    assert tiles_of(size, "auto", 640, 1600) == tiles_of(size, "off", 640, 1600) == []


def test_a_strip_is_cut_across_and_a_huge_picture_both_ways():
    strip = tiles_of((4800, 640), "auto", 640, 1600)
    assert {(t.x0, t.x1, t.y1 - t.y0) for t in strip} == {(0, 640, 480)} and len(strip) == 13
    huge = tiles_of((6000, 8000), "auto", 640, 1600)
    assert {(t.x1 - t.x0, t.y1 - t.y0) for t in huge} == {(1920, 1920)} and len(huge) == 4 * 6
    # a line of words: a tile shows several of them, and there are as few tiles as in a picture of full height
    line = tiles_of((40, 30_000), "auto", 640, 1600)
    assert {(t.x1 - t.x0, t.y1 - t.y0) for t in line} == {(480, 40)} and len(line) == 83
    assert tiles_of((4800, 640), "auto", 0, 0) == [], "nothing is resized, so nothing is lost"
    assert tiles_of((200, 200), 256, 640, 1600) == []


@pytest.mark.parametrize("tile", ["", "yes", 63, -1, 100.5, float("nan"), float("inf"), True])
def test_tiles_that_make_no_sense_are_refused(tile):
    with pytest.raises(ValueError, match="tile must be"):
        check_tile(tile)


def test_tiles_that_make_sense():
    assert [check_tile(x) for x in ("auto", "off", None, "256", 256)] == ["auto", "off", "off", 256, 256]


def test_a_word_in_two_tiles_is_one_and_the_surest_is_kept():
    upper, lower = Tile(0, 0, 100, 60), Tile(0, 40, 100, 100)
    parts = [(upper, [word("G0", 10, 45, 40, 55, 0.7), word("A", 1, 1, 9, 9, 0.8)]), (lower, [word("GO", 10, 44, 41, 55, 0.9)])]
    merged = merge_words([], parts, (100, 100))
    assert [(w.text, w.score) for w in merged] == [("GO", 0.9), ("A", 0.8)]


def test_a_word_that_a_border_cuts_is_taken_from_the_tile_that_shows_it():
    left, right = Tile(0, 0, 60, 30), Tile(40, 0, 100, 30)
    parts = [(left, [word("STA", 45, 5, 60, 20, 0.99)]), (right, [word("START", 45, 5, 75, 20, 0.6)])]
    assert [w.text for w in merge_words([], parts, (30, 100))] == ["START"]
    # a border of the picture cuts nothing
    at_the_edge = [(left, [word("IN", 0, 0, 20, 20, 0.9)]), (right, [])]
    assert [w.text for w in merge_words([word("INN", 0, 0, 20, 20, 1.0)], at_the_edge, (30, 100))] == ["IN"]


def test_words_larger_than_the_overlap_come_from_the_whole_and_pieces_only_where_nothing_else_is():
    left, right = Tile(0, 0, 60, 30), Tile(40, 0, 100, 30)
    parts = [(left, [word("RESTA", 10, 5, 60, 20, 0.9)]), (right, [word("URANT", 40, 5, 90, 20, 0.95)])]
    assert [w.text for w in merge_words([word("RESTAURANT", 10, 5, 90, 20, 0.5)], parts, (30, 100))] == ["RESTAURANT"]
    assert {w.text for w in merge_words([], parts, (30, 100))} == {"RESTA", "URANT"}


def test_neighbours_stay_two_words():
    slanted = [
        Word(t, np.array([[x, x], [x + 50, x + 50], [x + 42, x + 58], [x - 8, x + 8]], np.float32))
        for t, x in (("A", 20), ("B", 34))
    ]
    slanted[1].polygon[:, 0] += 17
    assert len(merge_words([], [(Tile(0, 0, 200, 200), slanted)], (200, 200))) == 2
