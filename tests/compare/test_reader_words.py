"""What RapidOCR and tesseract return, in the shape of their real answers, becomes words of a protocol."""

from types import SimpleNamespace

import numpy as np
import pytest

from dld.compare.reader_words import split_at_spaces, words_of_rapidocr, words_of_tesseract

# a line of rapidocr 3.10 on a photo of ICDAR 2015
LINE = [[373.0, 112.0], [466.0, 112.0], [466.0, 132.0], [373.0, 132.0]]
GENEXIS = [[378, 112], [420, 112], [420, 132], [378, 132]]
THEATRE = [[425, 112], [464, 112], [464, 132], [425, 132]]


def rapidocr_output(*lines):
    """Of (text, score, box, pieces) as `RapidOCROutput`."""
    texts, scores, boxes, pieces = zip(*lines, strict=True)
    return SimpleNamespace(txts=texts, scores=scores, boxes=np.array(boxes), word_results=tuple(p for p in pieces if p))


def box(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def corners(words):
    return [np.sort(word.polygon, axis=0)[[0, -1]].ravel().round(3).tolist() for word in words]


def test_a_box_is_cut_in_proportion_to_its_characters():
    first, second = split_at_spaces("to York", box(100, 50, 170, 60), 0.5)
    assert (first.text, second.text, second.score) == ("to", "York", 0.5)
    assert first.polygon.tolist() == box(100, 50, 120, 60) and second.polygon.tolist() == box(130, 50, 170, 60)


def test_a_slanted_box_is_cut_along_its_slant():
    # five characters along (50, 10): a piece of two ends at (20, 4)
    words = split_at_spaces("ab cd", [[0, 0], [50, 10], [48, 20], [-2, 10]])
    assert [word.text for word in words] == ["ab", "cd"]
    assert words[0].polygon.tolist() == [[0, 0], [20, 4], [18, 14], [-2, 10]]


def test_a_repeated_word_is_found_at_its_own_place():
    words = split_at_spaces("a  a", box(0, 0, 40, 10))
    assert corners(words) == [[0, 0, 10, 10], [30, 0, 40, 10]]


@pytest.mark.parametrize(("text", "expected"), [(" word ", ["word"]), ("", []), ("   ", [])])
def test_one_word_keeps_its_box_and_no_text_is_no_word(text, expected):
    words = split_at_spaces(text, LINE)
    assert [word.text for word in words] == expected and all(word.polygon.tolist() == LINE for word in words)


def test_words_of_a_line_have_the_boxes_that_rapidocr_gives():
    output = rapidocr_output(
        ("Genexis Theatre", 0.99768, LINE, (("Genexis", 0.99968, GENEXIS), ("Theatre", 0.99879, THEATRE))),
        ("[06]", 0.931, box(491, 112, 523, 133), (("[06]", 0.81386, box(492, 112, 520, 133)),)),
    )
    words = words_of_rapidocr(output)
    assert [(word.text, word.score) for word in words] == [("Genexis", 0.99768), ("Theatre", 0.99768), ("[06]", 0.931)]
    assert [word.polygon.tolist() for word in words[:2]] == [GENEXIS, THEATRE]


def test_pieces_without_a_space_between_them_are_one_word():
    # cut at a wide gap, which is no space in the line's text
    pieces = (("CA", 0.9, box(10, 5, 30, 25)), ("FE", 0.9, box(60, 5, 90, 25)), ("BAR", 0.9, box(100, 5, 130, 25)))
    words = words_of_rapidocr(rapidocr_output(("CAFE BAR", 0.8, box(0, 0, 140, 30), pieces)))
    assert [word.text for word in words] == ["CAFE", "BAR"]
    assert corners(words) == [[10, 5, 90, 25], [100, 5, 130, 25]]


def test_characters_of_a_line_with_chinese_become_words_again():
    pieces = tuple((c, 0.9, box(10 * i, 0, 10 * i + 8, 10)) for i, c in enumerate("口Exit"))
    words = words_of_rapidocr(rapidocr_output(("口 Exit", 0.7, box(0, 0, 50, 10), pieces)))
    assert [word.text for word in words] == ["口", "Exit"]
    assert corners(words) == [[0, 0, 8, 10], [10, 0, 48, 10]]


def test_where_pieces_are_not_the_text_the_line_is_cut():
    line = box(0, 0, 70, 10)
    for pieces in ((("toY", 0.9, line), ("ork", 0.9, line)), (("to", 0.9, None), ("York", 0.9, line))):
        words = words_of_rapidocr(rapidocr_output(("to York", 0.8, line, pieces)))
        assert [word.text for word in words] == ["to", "York"] and corners(words) == [[0, 0, 20, 10], [30, 0, 70, 10]]


def test_a_line_without_pieces_does_not_give_its_neighbours_to_the_others():
    one, two = box(0, 0, 10, 10), box(0, 20, 10, 30)
    output = rapidocr_output(("exit", 0.9, one, ()), ("exit", 0.9, two, (("exit", 0.9, box(2, 22, 9, 28)),)))
    assert len(output.word_results) == 1
    assert [word.polygon.tolist() for word in words_of_rapidocr(output)] == [one, two]


def test_a_photo_without_text_has_no_words():
    assert words_of_rapidocr(SimpleNamespace(txts=None, boxes=None, scores=None, word_results=(("", 1.0, None),))) == []
    assert words_of_rapidocr(SimpleNamespace(boxes=np.array([LINE]), scores=[0.9])) == []  # found, but not read


def test_tesseract_gives_rows_of_which_some_are_words():
    data = {
        "level": [1, 2, 3, 4, 5, 5, 5, 5],
        "page_num": [1] * 8,
        "block_num": [0, 1, 1, 1, 1, 1, 1, 1],
        "par_num": [0, 0, 1, 1, 1, 1, 1, 1],
        "line_num": [0, 0, 0, 1, 1, 1, 1, 1],
        "word_num": [0, 0, 0, 0, 1, 2, 3, 4],
        "left": [0, 140, 140, 140, 140, 13, 30, 50],
        "top": [0, 5, 5, 5, 5, 6, 7, 8],
        "width": [583, 443, 443, 443, 43, 18, 10, 11],
        "height": [500, 33, 33, 33, 14, 33, 12, 13],
        "conf": [-1, -1, -1, -1, 75, 95, 0, 40],
        "text": ["", "", "", "", "Hibachi", " ", "noise", "IN"],
    }
    words = words_of_tesseract(data)
    assert [(word.text, word.score) for word in words] == [("Hibachi", 0.75), ("IN", 0.4)]
    assert words[0].polygon.tolist() == box(140, 5, 183, 19)
    assert words_of_tesseract({}) == []
