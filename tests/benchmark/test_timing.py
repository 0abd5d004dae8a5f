import pytest

from dld.benchmark.timing import Comparison, alternate


def test_the_two_take_turns_at_going_first():
    calls = []
    found = alternate(lambda i: calls.append(("a", i)), lambda i: calls.append(("b", i)), 3, warm_up=1)
    warm_up, measured = calls[:2], calls[2:]
    assert warm_up == [("a", 0), ("b", 0)]
    assert measured == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert len(found.a) == len(found.b) == 3


def test_a_limit_of_time_still_measures_one_pair():
    found = alternate(lambda i: None, lambda i: None, 50, seconds=0.0)
    assert len(found.a) == len(found.b) == 1
    with pytest.raises(ValueError, match="at least one pair"):
        alternate(lambda i: None, lambda i: None, 0)


def test_numbers_by_hand():
    # pairs' own ratios 2, 4, 3, 2, 4: quartiles 2, 3, 4
    found = Comparison([2.0, 4.0, 3.0, 4.0, 8.0], [1.0, 1.0, 1.0, 2.0, 2.0])
    entry = found.entry("small", 2, efficiency=0.5)
    assert entry["a_median"] == 4.0 and entry["b_median"] == 1.0 and entry["ratio"] == 4.0
    assert entry["spread"] == pytest.approx(2 / 3)
    assert (entry["size"], entry["threads"], entry["pairs"], entry["efficiency"]) == ("small", 2, 5, 0.5)
    assert Comparison([1.0], [2.0]).spread == 0.0
