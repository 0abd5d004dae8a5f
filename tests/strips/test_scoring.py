"""Scores of words and which of them stay."""

import numpy as np
import pytest

from dld.strips.scoring import least_detection, reading_score, suppress, word_score


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def test_the_reading_is_as_sure_as_the_geometric_mean():
    assert reading_score(np.array([0.5, 0.5, 0.5])) == pytest.approx(0.5)
    assert reading_score(np.array([0.25, 1.0])) == pytest.approx(0.5)
    assert reading_score(np.array([0.1, 0.8, 0.8])) == pytest.approx(0.4)
    assert reading_score(np.array([0.0, 1.0])) == pytest.approx(0, abs=1e-9)
    assert reading_score(np.array([])) == 0


def test_score_of_a_word_by_hand():
    # sqrt(0.64) x 0.5^3 = 0.8 x 0.125 = 0.1
    assert word_score(0.64, 0.5, 3) == pytest.approx(0.1)
    assert word_score(0.64, 0.5, 10) == pytest.approx(0.1)
    assert word_score(0.64, 0.5, 2) == pytest.approx(0.09)
    assert word_score(0.64, 0.5, 1) == pytest.approx(0.08)
    assert word_score(1.0, 1.0, 3) == 1
    assert word_score(0.5, 0.0, 0) == 0
    assert word_score(-1e-6, 1.0, 5) == 0


@pytest.mark.parametrize("min_score", [0.0, 0.3, 0.6, 1.0])
def test_what_lies_below_the_least_detection_never_becomes_a_word(min_score):
    least = least_detection(min_score)
    assert all(word_score(least - 1e-6, 1.0, n) < min_score or min_score == 0 for n in range(1, 30))
    assert word_score(least, 1.0, 3) == pytest.approx(min_score)


def test_a_piece_and_its_whole_the_surer_stays():
    whole, piece = box(0, 0, 100, 20), box(10, 2, 40, 18)
    assert suppress([whole, piece], np.array([0.9, 0.8])).tolist() == [0]
    assert suppress([whole, piece], np.array([0.8, 0.9])).tolist() == [1]


def test_what_overlaps_by_half_of_the_smaller_stays():
    a = box(0, 0, 10, 10)
    assert suppress([a, box(5, 0, 25, 10)], np.array([0.9, 0.8])).tolist() == [0, 1]
    assert suppress([a, box(4.9, 0, 25, 10)], np.array([0.9, 0.8])).tolist() == [0]


def test_only_a_kept_word_takes_others_along():
    # a takes b; b, gone, no longer takes c
    a, b, c = box(0, 0, 10, 10), box(4, 0, 14, 10), box(8, 0, 18, 10)
    assert suppress([c, b, a], np.array([0.7, 0.8, 0.9])).tolist() == [2, 0]


def test_equal_scores_keep_their_order_and_far_words_all_stay():
    boxes = [box(30 * i, 0, 30 * i + 20, 10) for i in range(5)]
    assert suppress(boxes, np.full(5, 0.5)).tolist() == [0, 1, 2, 3, 4]
    assert suppress(boxes, np.array([0.1, 0.5, 0.3, 0.5, 0.9])).tolist() == [4, 1, 3, 2, 0]
    assert suppress([boxes[0]] * 3, np.full(3, 0.5)).tolist() == [0]


def test_outlines_that_cross_themselves():
    bow_tie = np.array([[0.0, 0.0], [10.0, 10.0], [10.0, 0.0], [0.0, 10.0]])
    flat = np.array([[0.0, 0.0], [5.0, 5.0], [10.0, 10.0]])
    kept = suppress([bow_tie, box(0, 0, 10, 10), flat, box(50, 0, 60, 10)], np.array([0.5, 0.9, 0.1, 0.2]))
    assert {1, 3} <= set(kept.tolist())
    assert 0 not in kept  # within the square
    assert sorted(suppress([bow_tie, bow_tie + 100], np.array([0.5, 0.9]))) == [0, 1]


def test_no_word():
    assert suppress([], np.array([])).tolist() == []


def test_like_the_plain_rule_on_random_boxes():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (60, 2))
    ends = corners + rng.uniform(3, 30, (60, 2))
    scores = rng.random(60).round(1)
    kept: list[int] = []
    for i in sorted(range(60), key=lambda k: -scores[k]):

        def covered(j, i=i):
            common = np.maximum(np.minimum(ends[i], ends[j]) - np.maximum(corners[i], corners[j]), 0).prod()
            return common > 0.5 * min((ends[i] - corners[i]).prod(), (ends[j] - corners[j]).prod())

        if not any(covered(j) for j in kept):
            kept.append(i)
    boxes = [box(*a, *b) for a, b in zip(corners, ends, strict=True)]
    assert suppress(boxes, scores).tolist() == kept
