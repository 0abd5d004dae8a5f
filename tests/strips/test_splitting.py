"""Several words in one strip, cut apart where the reader saw spaces."""

import numpy as np
import pytest

from dld.strips.collapsing import Characters
from dld.strips.splitting import outline_between, pieces_of

SPACE = 9


def read(*seen):
    """Characters from pairs of a class and the column it was seen in."""
    ids, columns = zip(*seen, strict=True) if seen else ((), ())
    return Characters(np.array(ids, int), np.ones(len(ids)), np.array(columns, float))


def test_two_words_by_hand():
    # a strip of 168 pixels: 20 columns of text between margins of 4 pixels, so column c lies at (8 c + 4 - 4) / 160
    pieces = pieces_of(read((1, 2), (2, 4), (SPACE, 7), (3, 10), (4, 12), (5, 14)), SPACE, 168)
    assert [(p.first, p.last) for p in pieces] == [(0, 2), (3, 6)]
    # neighbours lie 0.1 apart: half a character is 0.05
    assert pieces[0].begin == 0 and pieces[0].end == pytest.approx(4 / 20 + 0.05)
    assert pieces[1].begin == pytest.approx(10 / 20 - 0.05) and pieces[1].end == 1


def test_a_word_does_not_reach_across_the_space():
    first, second = pieces_of(read((1, 0), (2, 8), (SPACE, 9), (3, 10), (4, 18)), SPACE, 168)
    assert first.end == second.begin == pytest.approx(9 / 20)


def test_spaces_around_are_no_words():
    (piece,) = pieces_of(read((SPACE, 0), (1, 3), (2, 5), (SPACE, 9), (SPACE, 11)), SPACE, 168)
    assert piece == (1, 3, 0.0, 1.0)
    assert pieces_of(read((SPACE, 0), (SPACE, 5)), SPACE, 168) == pieces_of(read(), SPACE, 168) == []
    assert pieces_of(read((1, 4)), SPACE, 168) == [(0, 1, 0.0, 1.0)]


def test_several_spaces_in_a_row_part_once_and_single_characters_are_words():
    pieces = pieces_of(read((1, 2), (SPACE, 5), (SPACE, 7), (2, 10), (SPACE, 13), (3, 16)), SPACE, 168)
    assert [(p.first, p.last) for p in pieces] == [(0, 1), (3, 4), (5, 6)]
    assert all(0 <= p.begin < p.end <= 1 for p in pieces)
    assert all(a.end <= b.begin for a, b in zip(pieces[:-1], pieces[1:], strict=True))


def test_the_outline_of_a_part_by_hand():
    # a word from (10, 20) to (110, 42): its outline, without the tenth that a strip reaches beyond it, is 20 high
    x = np.linspace(10, 110, 17)
    sides = np.stack([np.stack([x, np.full(17, 20.0)], 1), np.stack([x, np.full(17, 42.0)], 1)])
    outline = outline_between(sides, 0.25, 0.75, (100, 200, 3))
    assert outline.shape == (10, 2)
    assert outline.min(0) == pytest.approx([35, 21]) and outline.max(0) == pytest.approx([85, 41])
    # upper side rightwards, then the lower one back
    assert (np.diff(outline[:5, 0]) > 0).all() and (np.diff(outline[5:, 0]) < 0).all()
    clipped = outline_between(sides, 0.0, 1.0, (30, 60))
    assert clipped.max(0).tolist() == [60, 30]
