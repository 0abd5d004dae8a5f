"""Which outlines are pieces of one word, and what becomes of them."""

import numpy as np
import pytest

from dld.strips.joining import joined_outline, joins_pieces, mostly_inside, overlapping_pairs


def level(x0, x1, y=50.0, height=20.0, points=5):
    """Sides of a level word."""
    x = np.linspace(x0, x1, points)
    return np.stack([np.stack([x, np.full(points, y + side * height)], 1) for side in (-0.5, 0.5)])


def turned(sides, degrees):
    a = np.deg2rad(degrees)
    return sides @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, 250])
@pytest.mark.parametrize(
    ("second", "pair"),
    [
        (level(80, 200), True),
        (level(97, 200), True),
        (level(99, 200), False),  # overlaps by less than a tenth of its height
        (level(110, 200), False),
        (level(10, 200), False),  # overlaps by almost all of the first
        (level(80, 102), False),  # hardly goes on after it
        (level(80, 200, y=58), True),
        (level(80, 200, y=61), False),  # another line
        (level(80, 200, height=30), True),
        (level(80, 200, height=36), False),
        (level(80, 200)[:, ::-1], False),  # runs the other way
    ],
)
def test_the_second_goes_on_where_the_first_ends(degrees, second, pair):
    sides = turned(np.stack([level(0, 100), second]), degrees)
    assert overlapping_pairs(sides) == ([(0, 1)] if pair else [])
    assert overlapping_pairs(sides[::-1]) == ([(1, 0)] if pair else [])


def test_three_pieces_and_none():
    assert overlapping_pairs(np.stack([level(0, 100), level(90, 200), level(190, 300)])) == [(0, 1), (1, 2)]
    assert overlapping_pairs(np.empty((0, 2, 17, 2))) == overlapping_pairs(level(0, 100)[None]) == []


def test_no_more_pairs_than_outlines():
    # each of twenty begins inside all that are before it
    sides = np.stack([level(10 * k, 1000 + 10 * k, y=50 + 0.1 * k) for k in range(20)])
    assert overlapping_pairs(sides) == []
    crowd = np.concatenate([np.stack([level(0, 100, y=50 + 0.1 * k), level(90, 200, y=50 + 0.1 * k)]) for k in range(20)])
    pairs = overlapping_pairs(crowd)
    assert len(pairs) == 60 and {(2 * k, 2 * k + 1) for k in range(20)} <= set(pairs)


def test_pairs_of_old_outlines_are_left_out():
    sides = np.stack([level(0, 100), level(90, 200), level(190, 300)])
    assert overlapping_pairs(sides, np.array([False, False, True])) == [(1, 2)]
    assert overlapping_pairs(sides, np.zeros(3, bool)) == []


def test_sides_that_are_points_are_no_pieces():
    assert overlapping_pairs(np.zeros((3, 2, 17, 2))) == []


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def test_outlines_together():
    outline = joined_outline(box(0, 0, 10, 4), box(8, 0, 20, 4))
    assert outline.min(0).tolist() == [0, 0] and outline.max(0).tolist() == [20, 4] and outline.shape[1] == 2
    for one, other in ((box(0, 0, 60, 20), box(50, 2, 120, 22)), (box(0, 0, 60, 20)[::-1], box(50, 2, 120, 22))):
        x, y = joined_outline(one, other).T
        assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0, "clockwise, with y pointing down"
    assert joined_outline(box(0, 0, 10, 4), box(11, 0, 20, 4)) is None
    bow_tie = np.array([[0, 0], [10, 4], [10, 0], [0, 4]], float)
    # its wings touch in a point, and the box one of them
    assert joined_outline(bow_tie, box(8, 0, 20, 4)) is None
    assert joined_outline(bow_tie, box(-1, 0, 20, 4)) is not None


def test_what_lies_in_a_word():
    outlines = [box(0, 0, 10, 4), box(8, 0, 30, 4), box(50, 0, 60, 4), np.array([[0, 0], [10, 4], [10, 0], [0, 4]], float)]
    assert mostly_inside(outlines, box(0, 0, 20, 4)).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("first", "second", "whole", "joins"),
    [
        ("WELCC", "COME", "WELCOME", True),
        ("STRAWB", "BERRY", "STRAWBERRY", True),
        ("INF", "CORMATION", "INFORMATION", True),
        ("Commonwealt", "lth", "commonwealth", True),
        ("HELD", "OVER", "HELDOVER", False),  # two words that touch?
        ("FIRE", "DEPT", "FIRE DEPT", False),
        ("A B", "BC", "ABC", False),
        ("", "BC", "ABC", False),
        ("AB", "ABC", "ABC", False),  # the second piece is all of it
        ("WELCC", "COME", "WELCC", False),
        ("Points", "redeemer", "Pointredeem", False),
        ("OUT", "TOP", "GUTOP", True),  # a third of a piece may differ
        ("OU", "UP", "GUP", False),
    ],
)
def test_texts(first, second, whole, joins):
    assert joins_pieces(whole, first, second) is joins
