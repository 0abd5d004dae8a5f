"""Lines and reading order of pages whose order is known."""

import numpy as np
import pytest
from generated_pages import KINDS, Page, box, paragraph, straight
from measure_order import flat, share_right

from dld.page.order import reading_order
from dld.structures.words import SpottingResult, Word, read_results, write_results


def lines_read(page: Page, turn: int = 0) -> list[str]:
    blocks = reading_order(page.outlines, page.texts, turn)
    return [" ".join(page.texts[i] for i in line) for block in blocks for line in block]


def page_of(*words) -> Page:
    """Words as (text, x0, y0, x1, y1)."""
    page = Page()
    for text, *corners in words:
        page.add(text, box(*corners), 0)
    return page


@pytest.mark.parametrize(
    "kind, least", [("straight", 0.98), ("two columns", 0.95), ("slanted", 0.95), ("curved", 0.95), ("standing", 0.95)]
)
def test_the_next_word_is_read_next(kind, least):
    assert share_right(kind, 16) >= least


@pytest.mark.parametrize("kind", ["straight", "two columns", "slanted"])
def test_words_that_are_not_found_leave_the_others_in_order(kind):
    assert share_right(kind, 12, missing=0.1) >= 0.95


def test_lines_are_the_lines_that_were_set():
    rng = np.random.default_rng(3)
    page = Page()
    paragraph(rng, page, 40, 30, 500, 24, 6)
    expected = [" ".join(t for t, n in zip(page.texts, page.lines, strict=True) if n == k) for k in range(6)]
    assert lines_read(page) == expected


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_is_read_as_the_upright_one(turn):
    page = straight(np.random.default_rng(8))
    angle = np.radians(turn)  # y points down: a positive angle turns clockwise
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert lines_read(page.moved(lambda p: p @ matrix.T), turn) == lines_read(page)


def test_a_heading_over_two_columns_comes_first_and_columns_are_read_one_after_the_other():
    page = page_of(
        ("right1", 300, 60, 380, 80),
        ("left2", 10, 90, 80, 110),
        ("HEADING", 40, 0, 340, 40),
        ("right2", 300, 90, 380, 110),
        ("left1", 10, 60, 80, 80),
    )
    assert lines_read(page) == ["HEADING", "left1", "left2", "right1", "right2"]


def test_what_stands_below_an_empty_strip_comes_later_however_far_left_it_is():
    page = page_of(("below", 0, 100, 60, 120), ("right", 200, 5, 260, 25), ("left", 0, 0, 60, 20))
    assert lines_read(page) == ["left", "right", "below"]


def test_a_narrow_gutter_is_told_from_a_wide_space_by_the_line_below():
    rows = [("ab", 0, 0, 60, 20), ("cd", 85, 0, 160, 20)]
    assert lines_read(page_of(*rows)) == ["ab cd"]
    below = [("ef", 0, 30, 60, 50), ("gh", 85, 30, 160, 50)]
    assert lines_read(page_of(*rows, *below)) == ["ab", "ef", "cd", "gh"]


def test_words_on_end_are_read_downwards_and_their_lines_from_right_to_left():
    page = page_of(("four", 0, 90, 20, 160), ("two", 30, 90, 50, 160), ("three", 0, 0, 20, 80), ("one", 30, 0, 50, 80))
    assert lines_read(page) == ["one two", "three four"]


def test_words_on_an_arc_are_one_line():
    page, texts = Page(), "once upon a time there".split()
    for k, text in enumerate(texts):
        angle = np.radians(-60 + 30 * k + np.linspace(-11, 11, 9))
        arc = [np.stack([r * np.sin(angle), -r * np.cos(angle)], 1) for r in (120, 100)]
        page.add(text, np.concatenate([arc[0], arc[1][::-1]]), 0)
    assert lines_read(page) == [" ".join(texts)]


def test_every_word_is_read_once_whatever_its_outline():
    rng = np.random.default_rng(0)
    for _ in range(20):
        outlines = [rng.uniform(0, 100, (rng.integers(3, 9), 2)) for _ in range(30)]
        outlines += [np.zeros((0, 2)), np.full((4, 2), np.nan), np.ones((3, 2)), np.array([[0, 0], [9, 0], [4, 0.0]])]
        order = flat(reading_order(outlines, ["ab"] * len(outlines)))
        assert sorted(order) == list(range(len(outlines)))
    assert reading_order([], []) == []


def test_a_result_has_lines_and_text_and_writes_them(tmp_path):
    words = [Word("Down", box(60, 0, 110, 20)), Word("NOW", box(0, 40, 60, 60)), Word("Slow", box(0, 0, 50, 20))]
    result = SpottingResult("a", "a.jpg", 200, 100, words)
    assert result.text == "Slow Down\nNOW"
    assert [(line.text, line.indices) for line in result.lines] == [("Slow Down", [2, 0]), ("NOW", [1])]
    assert result.lines[0].box == (0, 0, 110, 20) and result.to_dict()["lines"] == [[2, 0], [1]]
    result.rotation = 180
    assert result.text == "NOW\nDown Slow"
    write_results(tmp_path / "r.json", [result])
    (again,) = read_results(tmp_path / "r.json")
    assert again.rotation == 180 and again.text == result.text
    assert SpottingResult("b", None, 9, 9, []).text == ""
    with pytest.raises(ValueError, match="rotation"):
        SpottingResult.from_dict({"words": [], "rotation": 45})


def test_all_kinds_are_measured():
    assert set(KINDS) == {"straight", "two columns", "slanted", "curved", "standing"}
