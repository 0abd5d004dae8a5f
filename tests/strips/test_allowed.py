"""Which classes may be read."""

import pytest

from dld.strips.collapsing import allowed_classes


def test_the_blank_and_the_space_stay():
    assert allowed_classes("ba", ["a", "b", "c", " "]).tolist() == [True, True, True, False, True]
    assert allowed_classes("c", ["a", "b", "c"]).tolist() == [True, False, False, True]


def test_unknown_characters_are_named():
    with pytest.raises(ValueError, match=r"only known characters can be allowed \(MODEL\.STRIPS\.ALLOW\), not 'x' 'é'"):
        allowed_classes("aéx", ["a", "b"])


@pytest.mark.parametrize("nothing", [" ", "  "])
def test_that_nothing_could_be_read_is_said(nothing):
    with pytest.raises(ValueError, match=r"allow \(MODEL\.STRIPS\.ALLOW\) '\s+' leaves nothing to read"):
        allowed_classes(nothing, ["a", " "])
