import numpy as np
import pytest

from dld.study.cost_curve import gain_over_curve


def test_half_way_between_two_points():
    """The baseline reads 0.2 for 4 GFLOPs and 0.6 for 8; another reads 0.5 for 6, where the line is at 0.4."""
    counts = [[(2, 10, 10)] * 30, [(6, 10, 10)] * 30]
    gain = gain_over_curve([(5, 10, 10)] * 30, [6.0] * 30, counts[::-1], [[8.0] * 30, [4.0] * 30])
    assert gain.value == pytest.approx(0.1)
    # all images are alike: whichever are drawn, the gain is the same
    assert gain.low == pytest.approx(0.1) and gain.high == pytest.approx(0.1)


def test_a_point_of_the_curve_gains_nothing_whatever_is_drawn():
    rng = np.random.default_rng(0)
    words = rng.integers(1, 9, 50)
    curve = [[(int(rng.integers(0, w + 1)), int(w), int(w)) for w in words] for _ in range(3)]
    costs = [(k + rng.uniform(0.5, 1.5, 50)).tolist() for k in (1, 3, 9)]
    gain = gain_over_curve(curve[1], costs[1], curve, costs)
    assert gain.value == gain.low == gain.high == 0


def test_the_interval_holds_the_gain():
    rng = np.random.default_rng(1)
    counts = [[(int(m), 5, 5) for m in rng.binomial(5, p, 200)] for p in (0.3, 0.5, 0.55)]
    gain = gain_over_curve(counts[2], [5.0] * 200, counts[:2], [[4.0] * 200, [6.0] * 200])
    assert gain.low < gain.value < gain.high and gain.low > 0.05 and gain.high < 0.25


def test_where_there_is_nothing_to_compare_with():
    counts = [[(1, 2, 2)] * 4, [(2, 2, 2)] * 4]
    costs = [[1.0] * 4, [2.0] * 4]
    assert gain_over_curve(counts[0], [0.5] * 4, counts, costs) is None
    assert gain_over_curve(counts[0], [2.5] * 4, counts, costs) is None
    with pytest.raises(ValueError, match="two points"):
        gain_over_curve(counts[0], [1.0] * 4, counts[:1], costs[:1])
    with pytest.raises(ValueError, match="do not fit"):
        gain_over_curve(counts[0][:3], [1.0] * 4, counts, costs)
