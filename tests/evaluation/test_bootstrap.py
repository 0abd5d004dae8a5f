import numpy as np
import pytest

from dld.evaluation.bootstrap import hmean_interval, paired_difference_interval

COUNTS = np.random.default_rng(1).binomial(10, [0.5, 0.9, 0.9], size=(300, 3))


def test_value_is_the_pooled_hmean_and_lies_inside():
    interval = hmean_interval([[3, 4, 10], [1, 4, 0]])
    assert interval.value == pytest.approx(2 * 0.5 * 0.4 / 0.9)
    interval = hmean_interval(COUNTS)
    assert interval.low < interval.value < interval.high


def test_equal_seeds_give_equal_intervals_and_other_seeds_others():
    assert hmean_interval(COUNTS, seed=3) == hmean_interval(COUNTS, seed=3) != hmean_interval(COUNTS, seed=4)


def test_identical_images_leave_no_doubt():
    interval = hmean_interval([[4, 5, 5]] * 20)
    assert (interval.low, interval.value, interval.high) == pytest.approx((0.8, 0.8, 0.8))


def test_width_is_that_of_the_binomial():
    # one word and one detection an image: the H-mean is the share of matched images
    counts = np.array([[1, 1, 1]] * 250 + [[0, 1, 1]] * 750)
    interval = hmean_interval(counts, samples=4000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 * 0.75 / 1000), rel=0.1)


def test_a_system_does_not_differ_from_itself():
    interval = paired_difference_interval(COUNTS, COUNTS)
    assert (interval.low, interval.value, interval.high) == (0, 0, 0)


def test_pairing_sees_what_separate_intervals_do_not():
    better = COUNTS.copy()
    better[:30, 0] = np.minimum(better[:30, 0] + 1, better[:30, 1:].min(axis=1))
    difference = paired_difference_interval(better, COUNTS)
    assert difference.low > 0
    assert hmean_interval(better).low < hmean_interval(COUNTS).high


def test_images_without_anything():
    assert hmean_interval([[0, 0, 0]]).value == 0


@pytest.mark.parametrize("counts", [[], [[1, 2]], [1, 2, 3]])
def test_wrong_shapes_are_named(counts):
    with pytest.raises(ValueError, match=r"counts must be \(N, 3\)"):
        hmean_interval(counts)


def test_unpaired_counts_and_impossible_levels_are_refused():
    with pytest.raises(ValueError, match="got 300 and 299"):
        paired_difference_interval(COUNTS, COUNTS[1:])
    with pytest.raises(ValueError, match="level"):
        hmean_interval(COUNTS, level=95)
