"""Which classes may be read."""

import pytest

from dld.strips.collapsing import allowed_classes


def test_the_blank_and_the_space_stay():
    assert allowed_classes("ba", ["a", "b", "c", " "]).tolist() == [True, True, True, False, True]
    assert allowed_classes("c", ["a", "b", "c"]).tolist() == [True, False, False, True]


def test_unknown_characters_are_named():
    with pytest.raises(ValueError, match="only known characters can be allowed, not 'x' 'é'"):
        allowed_classes("aéx", ["a", "b"])
