"""Facts about rank correlation: a textbook table, ties worked by hand, what no order can say."""

import numpy as np
import pytest

from dld.study.correlation import average_ranks, spearman

IQ = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
HOURS_OF_TV = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]


def test_a_published_example():
    """Ten pairs whose squared rank differences sum to 194: rho = 1 - 6 x 194 / 990 = -29/165."""
    assert spearman(IQ, HOURS_OF_TV) == pytest.approx(-29 / 165, abs=1e-12)


def test_equal_values_share_the_mean_of_their_places():
    assert average_ranks([30, 10, 30, 20]).tolist() == [3.5, 1, 3.5, 2]
    # ranks 1.5 1.5 3 4 against 1 2 3 4: covariance 4.5 of (4.5 x 5)^1/2
    assert spearman([0.3, 0.3, 0.5, 0.8], [5, 9, 10, 90]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_only_the_order_counts():
    x = np.array([0.1, 3.0, 2.0, 9.0])
    assert spearman(x, np.exp(x)) == 1 and spearman(x, -(x**3)) == -1


def test_without_an_order_there_is_no_correlation():
    assert spearman([0.5, 0.5, 0.5], [1, 2, 3]) is None
    assert spearman([1], [1]) is None and spearman([], []) is None


@pytest.mark.parametrize(("a", "b", "message"), [([1, 2], [1], "one length"), ([1, np.nan], [1, 2], "not finite")])
def test_what_is_not_paired_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        spearman(a, b)
