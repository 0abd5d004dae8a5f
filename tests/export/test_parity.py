"""How words are compared, on outlines worked out by hand."""

import numpy as np
import pytest

from dld.export.parity import match_words, polygon_distance
from dld.structures.words import Word


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32)


def test_distance_of_outlines():
    """A further point on an edge changes nothing; a corner moved out by 3 and 4 is 5 away."""
    square = box(0, 0, 10, 10)
    assert polygon_distance(square, np.insert(square, 1, [5, 0], axis=0)) == 0
    assert polygon_distance(square, np.array([[0, 0], [10, 0], [13, 14], [0, 10]])) == pytest.approx(5)


def test_words_are_the_same_where_text_and_place_are():
    words = [Word("a", box(0, 0, 20, 10)), Word("a", box(30, 0, 50, 10)), Word("b", box(60, 0, 80, 10))]
    others = [Word("a", box(31, 0, 50, 10)), Word("a", box(0, 0, 20, 10)), Word("b", box(60, 40, 80, 50))]
    pairs = match_words(words, others)
    assert [(one.polygon[0, 0], other.polygon[0, 0]) for one, other in pairs] == [(0, 0), (30, 31)]
    assert match_words(words[:1], others[:1]) == []
    assert len(match_words([words[0], words[0]], [words[0]])) == 1, "a word is not matched twice"
