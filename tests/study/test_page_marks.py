"""Facts about the drawings: what is right and wrong, and that every label lies in its picture."""

import base64
import re
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dld.evaluation.ground_truth import GroundTruthWord
from dld.evaluation.protocol import icdar2015
from dld.structures.words import SpottingResult, Word
from dld.study.page_marks import Mark, Picture, encode_picture, judge, overlay, plain


def box(x, y, width=60, height=20):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=np.float32)


def svg(marks, picture):
    return ET.fromstring(f"<svg>{overlay(marks, picture)}</svg>")


def test_every_word_and_detection_is_one_mark():
    truth = [
        GroundTruthWord(box(0, 0), "EXIT"),
        GroundTruthWord(box(0, 40), "left"),
        GroundTruthWord(box(0, 80), "river"),
        GroundTruthWord(box(0, 120), "###"),
    ]
    found = [Word("lift", box(0, 40)), Word("exit", box(0, 0)), Word("moon", box(200, 0)), Word("mist", box(0, 120))]
    marks = judge(truth, SpottingResult("a", None, 300, 200, found), icdar2015)
    told = {(mark.verdict, mark.label) for mark in marks}
    assert told == {
        ("right", "exit"),
        ("misread", "lift ≠ left"),
        ("missed", "river"),
        ("false", "moon"),
        ("dont_care", "mist"),
        ("dont_care", ""),
    }
    assert len(marks) == 6


def test_a_picture_is_made_smaller_never_larger_and_drawings_are_of_one_size():
    def stored(picture):
        data = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]

    large, small = (encode_picture(np.full((h, w, 3), 90, np.uint8)) for h, w in ((300, 1280), (40, 20)))
    assert (large.width, large.height, large.zoom) == (640, 150, 0.5) and stored(large) == (150, 640)
    assert (small.width, small.height, small.zoom) == (320, 640, 16) and stored(small) == (40, 20)
    assert stored(encode_picture(np.zeros((1, 20000, 3), np.uint8))) == (1, 640)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-900, 900), st.floats(-900, 900), st.text(max_size=90)), max_size=12))
def test_labels_lie_in_the_picture_whatever_the_words(words):
    picture = Picture("", 200, 120, 0.5)
    root = svg([Mark(box(x, y), text, "false") for x, y, text in words], picture)
    for rect in root.iter("rect"):
        x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        assert 0 <= x and x + w <= 200.1 and 0 <= y and y + h <= 120.1


def test_labels_of_neighbours_do_not_hide_each_other():
    root = svg([Mark(box(20 * i, 100), f"word{i}", "right") for i in range(4)], Picture("", 640, 480, 1.0))
    rects = [[float(r.get(k)) for k in ("x", "y", "width", "height")] for r in root.iter("rect")]
    for i, (x, y, w, h) in enumerate(rects):
        assert not [r for r in rects[:i] if r[0] < x + w and x < r[0] + r[2] and r[1] < y + h and y < r[1] + r[3]]


def test_mistakes_lie_on_top_and_say_what_they_are():
    marks = [Mark(box(9, 50), "gone", "missed"), Mark(box(9, 50), "here", "right"), Mark(box(9, 50), "", "dont_care")]
    root = svg(marks, Picture("", 640, 480, 1.0))
    assert [p.get("class") for p in root.iter("polygon")] == ["dont_care", "right", "missed"]
    assert [t.text for t in root.iter("text")] == ["here", "\u2212 gone"]


@pytest.mark.parametrize("polygon", [np.zeros((0, 2)), np.array([[0, 0], [1, 1]]), np.array([[0, 0], [9, np.nan], [9, 9]])])
def test_what_is_no_polygon_is_not_drawn(polygon):
    assert overlay([Mark(polygon, "x", "false")], Picture("", 10, 10, 1.0)) == ""


def test_controls_and_halves_of_characters_are_replaced():
    assert plain("a\x00b\n\ud800ü東\u202e") == "a\ufffdb\ufffd\ufffdü東\u202e"
    assert re.fullmatch(r"[^\x00-\x1f]*", plain("".join(map(chr, range(256)))))
