"""From columns to characters."""

from itertools import groupby

import numpy as np
import pytest

from dld.strips.collapsing import collapse


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
