"""Heights of strips, and the rule that chooses among them."""

import numpy as np
import pytest

from dld.strips.heights import FORMS, checked_rows, choose_rows
from dld.strips.rules import ReadingRules


def test_rows_of_text_in_a_strip():
    assert [FORMS[r].text_rows for r in (48, 32, 24, 16)] == pytest.approx([40, 80 / 3, 20, 40 / 3])


def test_a_word_is_enlarged_no_more_than_allowed_or_least():
    heights = np.array([100, 20, 19.9, 13.4, 13.3, 10, 9.9, 3])
    assert choose_rows(heights, (48, 32, 24, 16), 2.0).tolist() == [48, 48, 32, 32, 24, 24, 16, 16]
    assert choose_rows(heights, (48, 32, 24, 16), 1.0).tolist() == [48, 24, 16, 16, 16, 16, 16, 16]
    assert choose_rows(heights, (48,), 0.1).tolist() == [48] * 8
    assert choose_rows(np.zeros(0), (48, 24), 2.0).shape == (0,)


def test_heights_are_checked_and_sorted():
    assert checked_rows([16, 48, 16]) == checked_rows(np.array([16.0, 48.0])) == (48, 16)
    for wrong in ([], [47], [48, 12], [48.5], ["48"], [[48]], [None]):
        with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.ROWS must be of 48, 32, 24, 16, got"):
            checked_rows(wrong)


def test_rules_choose_alike_in_whatever_order_heights_are_given():
    assert ReadingRules(rows=[16, 48, 24]).rows == (48, 24, 16)
    for wrong in ([20], []):
        with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.ROWS must be of 48, 32, 24, 16, got"):
            ReadingRules(rows=wrong)


def test_columns_are_never_none():
    assert FORMS[16].columns(np.array([1, 28, 808])).tolist() == [1, 14, 404]
