"""The checker's numbers and the lines it names."""

import json

import numpy as np
import pytest

from dld.data.annotation import SCHEMA, ImageAnnotation, TextAnnotation, write_annotations
from dld.data.dataset_check import check_annotations, dataset_statistics, word_heights
from dld.text.charset import Charset

COVERS = Charset.default().covers


def word(points, text="ab", ignore=False):
    return TextAnnotation(np.array(points, float), text, ignore)


def box(x, y, w=20, h=10):
    return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]


def findings(tmp_path, words, **kwargs):
    write_annotations(tmp_path / "a.json", [ImageAnnotation("a.jpg", "a", 100, 50, words)], "x")
    found, _ = check_annotations(tmp_path / "a.json", tmp_path, COVERS, decode_images=False, **kwargs)
    return [(f.severity, f.kind, f.word) for f in found]


def test_each_kind_of_bad_word(tmp_path):
    words = [
        word(box(1, 1)),
        word([[0, 0], [9, 9], [9, 0], [0, 9], [0, 4]]),
        word([[0, 0], [4, 4], [8, 8]]),
        word(box(200, 1)),
        word(box(90, 1)),
        word(box(1, 1), "naïve"),
        word(box(1, 1), "x" * 33),
        word(box(81.5, 1)),  # a pixel and a half over the border is not worth a line
        word([[0, 0], [9, 0], [0, 9], [9, 9]]),
    ]
    assert findings(tmp_path, words) == [
        ("warning", "polygon_not_simple", 1),
        ("error", "polygon_without_area", 2),
        ("error", "word_outside_image", 3),
        ("warning", "word_over_border", 4),
        ("warning", "unknown_character", 5),
        ("warning", "text_too_long", 6),
        ("warning", "corners_out_of_order", 8),
    ]


def test_outlines_that_mostly_cross_are_one_error_and_not_only_warnings(tmp_path):
    rows = word([[0, 0], [5, 0], [9, 0], [0, 9], [5, 9], [9, 9]])  # the upper side, then the lower one, both from the left
    assert findings(tmp_path, [rows, word(box(1, 1))]) == [("warning", "polygon_not_simple", 0)]
    assert findings(tmp_path, [rows, rows, word(box(1, 1))])[0] == ("error", "most_outlines_cross", None)


def test_on_a_dont_care_word_nothing_is_an_error_and_its_text_is_free(tmp_path):
    words = [word([[0, 0], [4, 4], [8, 8]], "", True), word(box(200, 1), "", True), word(box(1, 1), "né" * 40, True)]
    assert findings(tmp_path, words) == [("warning", "polygon_without_area", 0), ("warning", "word_outside_image", 1)]


def test_charset_and_length_are_the_callers(tmp_path):
    words = [word(box(1, 1), "abc")]
    assert findings(tmp_path, words, max_length=2) == [("warning", "text_too_long", 0)]


@pytest.mark.parametrize("indent", [None, 1])
def test_lines_are_those_of_the_file_however_it_is_laid_out(tmp_path, indent):
    words = [{"polygon": box(1, 1), "text": '"polygon": \\"'}, {"text": 'é"file_name":', "polygon": box(300, 300)}]
    images = [
        {"file_name": "a.jpg", "width": 100, "height": 50, "words": words},
        {"file_name": "b.jpg", "width": 100, "height": 50, "words": [{"polygon": box(1, 1), "text": ""}]},
    ]
    text = json.dumps({"schema": SCHEMA, "images": images}, indent=indent, ensure_ascii=False)
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    found, sound = check_annotations(tmp_path / "a.json", tmp_path, COVERS, decode_images=False)
    lines = text.split("\n")
    outside = next(f for f in found if f.kind == "word_outside_image")
    schema = next(f for f in found if f.kind == "schema")
    assert (outside.image, outside.word, schema.image, schema.word) == (0, 1, 1, 0)
    keys = [i for i, line in enumerate(lines, 1) for _ in range(line.count('"polygon": ['))]
    assert (outside.line, schema.line) == (keys[1], keys[2])
    assert [i.image_id for i in sound] == ["a"]  # the image with the schema problem is not looked at further


def test_a_height_does_not_change_when_a_word_is_turned_or_bent():
    flat = np.array(box(0, 0, 60, 12), float)
    angle = np.deg2rad(33)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    theta = np.linspace(0, np.pi / 2, 60)
    arc = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    bent = np.concatenate([arc * 60, arc[::-1] * 48])
    assert word_heights([flat, flat @ turn.T, flat * [0.1, 1], bent]) == pytest.approx([12, 12, 6, 12], abs=0.05)


def test_statistics_worked_by_hand():
    images = [
        ImageAnnotation("a", "a", 100, 50, [word(box(0, 0, 30, 10), "abc"), word(box(0, 0, 40, 30), "da")]),
        ImageAnnotation("b", "b", 100, 50, [word(box(0, 0), "", True), word(box(0, 0, 90, 20), "a")]),
        ImageAnnotation("c", "c", 100, 50),
    ]
    statistics = dataset_statistics(images)
    assert (statistics["images"], statistics["images_without_words"], statistics["words"]) == (3, 1, 4)
    assert (statistics["ignored"], statistics["ignored_share"]) == (1, 0.25)
    assert statistics["without_sides"] == 0
    triangles = [word(np.array([[0, 0], [30, 0], [0, 20]], float), "abc", ignored) for ignored in (False, True)]
    mixed = ImageAnnotation("d", "d", 100, 50, [*triangles, *images[0].words])
    assert dataset_statistics([mixed])["without_sides"] == 1, "don't-care words are not read"
    assert statistics["height_quantiles"]["0.5"] == pytest.approx(20)
    assert (statistics["longest_text"], statistics["characters"], statistics["words_per_image_max"]) == (3, 4, 2)
    assert dataset_statistics([])["height_quantiles"] == {}
