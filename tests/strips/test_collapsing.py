"""From columns to characters."""

from itertools import groupby

import numpy as np
import pytest

from dld.strips.collapsing import attended, collapse


def test_repeats_become_one_and_blanks_part_them():
    # "aa-ab" with a = 1, b = 2
    (read,) = collapse(np.array([[1, 1, 0, 1, 2]]), np.array([[0.5, 0.9, 0.8, 0.7, 0.6]]))
    assert read.ids.tolist() == [1, 1, 2]
    assert read.certainty.tolist() == [0.5, 0.7, 0.6]
    assert read.columns.tolist() == [0.5, 3, 4]


@pytest.mark.parametrize("blank", [0, 2])
def test_like_grouping_by_hand(blank):
    rng = np.random.default_rng(0)
    ids, probabilities = rng.integers(0, 4, (200, 15)), rng.random((200, 15))
    for row, certainty, (got, sure, _) in zip(ids, probabilities, collapse(ids, probabilities, blank), strict=True):
        runs = [next(run) for _, run in groupby(zip(row, certainty, strict=True), key=lambda pair: pair[0])]
        assert list(zip(got, sure, strict=True)) == [pair for pair in runs if pair[0] != blank]


def test_nothing_to_read():
    (read,) = collapse(np.zeros((1, 9), int), np.ones((1, 9)))
    assert len(read.ids) == len(read.certainty) == len(read.columns) == 0
    assert collapse(np.zeros((0, 9), int), np.zeros((0, 9))) == []


def test_characters_of_a_decoder_end_at_its_end():
    # "ab" and an end, three characters without one, nothing
    ids = np.array([[1, 2, 0, 0], [3, 1, 1, 2], [0, 0, 0, 0]])
    probabilities = np.array([[0.9, 0.8, 0.7, 1], [0.5, 0.6, 0.7, 0.8], [0.9, 1, 1, 1]])
    columns = np.array([[1.5, 4.0, 9, 0], [0.5, 3, 6, 8.25], [2, 0, 0, 0]])
    first, second, nothing = attended(ids, probabilities, columns, 10)
    assert first.ids.tolist() == [1, 2] and first.certainty.tolist() == [0.9, 0.8] and first.columns.tolist() == [1.5, 4]
    assert second.ids.tolist() == [3, 1, 1, 2] and second.columns.tolist() == [0.5, 3, 6, 8.25]
    assert len(nothing.ids) == len(nothing.certainty) == len(nothing.columns) == 0


@pytest.mark.parametrize("length", [1, 2, 4, 10])
def test_columns_of_a_decoder_rise_within_the_strip(length):
    """Whatever attention looked at: a piece of a strip must begin before it ends."""
    rng = np.random.default_rng(length)
    means = rng.uniform(0, length - 1, (50, 7))
    for read, seen in zip(attended(np.ones((50, 7), int), np.ones((50, 7)), means, length), means, strict=True):
        assert (np.diff(read.columns) > (0 if length > 1 else -1)).all()
        assert 0 <= read.columns[0] and read.columns[-1] <= length - 1
        if length == 10:
            assert read.columns[0] == min(seen[0], 6) and (np.diff(read.columns) >= 0.5 - 1e-9).all()
    rising = np.array([[0.0, 1, 2.5, 3, 4, 6, 9]])
    if length == 10:
        assert attended(np.ones((1, 7), int), np.ones((1, 7)), rising, 10)[0].columns.tolist() == rising[0].tolist()
