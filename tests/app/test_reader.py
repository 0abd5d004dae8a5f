"""Facts about the page's readings: what each choice of the scale does, and that mistakes become messages."""

import cv2
import numpy as np
import pytest

from dld.app.page import answer_html, words_html
from dld.app.reader import Answer, Reader
from dld.structures.words import Word


@pytest.fixture
def picture(tmp_path, make_record):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), make_record()["image"])
    return str(path)


@pytest.fixture
def reader(tiny_weights):
    return Reader({"student": tiny_weights["student"], "teacher": tiny_weights["teacher"]}, "cpu")


def figures(answer):
    assert not answer.error
    return dict(answer.figures)


def test_every_choice_of_the_scale(reader, picture):
    chosen = reader.read(picture, "student", "auto", 0.4, 0.5)
    assert figures(chosen)["Scale"] in ("0.4", "0.6", "0.8") and not chosen.notes
    assert chosen.picture.size == (128, 96) and figures(chosen)["Words"] == str(len(chosen.words)) != "0"
    assert float(figures(chosen)["GFLOPs"]) > 0 and figures(chosen)["Time"].endswith("s")
    told = reader.read(picture, "student", "fixed scale", 0.4, 0.7)
    assert figures(told)["Scale"] == "0.7"
    rich, poor = (figures(reader.read(picture, "student", "budget", share, 0.5)) for share in (1.0, 0.05))
    assert rich["Scale"] == figures(chosen)["Scale"], "within a large budget the choice is the selector's own"
    assert poor["Scale"] == "0.4" and int(poor["Of the teacher's cost"].rstrip("%")) > 5


def test_a_warning_of_the_spotter_is_told(reader, picture):
    (note,) = reader.read(picture, "student", "budget", 0.05, 0.5).notes
    assert note.startswith("An image of 256 x 192 pixels cannot be read for 0.05 of the teacher's cost")


def test_weights_without_selector_say_so(reader, picture):
    full = reader.read(picture, "teacher", "auto", 0.4, 0.5)
    assert figures(full)["Scale"] == "1" and figures(full)["Of the teacher's cost"] == "100%"
    assert full.notes == ["These weights choose no scale by themselves: read at full resolution."]
    assert reader.read(picture, "teacher", "fixed scale", 0.4, 0.5).notes == []


def test_two_spotters_stay_in_memory(tiny_weights):
    reader = Reader({name: tiny_weights["teacher"] for name in "abc"}, "cpu")
    first, second = reader.spotter("a"), reader.spotter("b")
    assert reader.spotter("a") is first
    reader.spotter("c")
    assert reader.spotter("a") is first and reader.spotter("b") is not second


def test_mistakes_become_messages(reader, picture, tmp_path, monkeypatch, caplog):
    (tmp_path / "note.txt").write_text("no picture")
    bad = reader.read(str(tmp_path / "note.txt"), "student", "auto", 0.4, 0.5)
    assert "this file" in bad.error and str(tmp_path) not in bad.error and bad.picture is None
    assert "no weights are called 'x'" in reader.read(picture, "x", "auto", 0.4, 0.5).error
    assert "must be one of auto, budget, fixed scale" in reader.read(picture, "student", "all", 0.4, 0.5).error
    assert "budget must be a share" in reader.read(picture, "student", "budget", None, 0.5).error
    assert reader.read(None, "student", "auto", 0.4, 0.5) == Answer()

    def broken(*args):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(reader, "_read", broken)
    answer = reader.read(picture, "student", "auto", 0.4, 0.5)
    assert "Something went wrong inside the program" in answer.error and "secret" not in answer.error
    assert "secret detail" in caplog.text


def test_a_reader_needs_weights_and_a_font_that_is_there(tiny_weights, tmp_path):
    with pytest.raises(ValueError, match="no weights"):
        Reader({})
    with pytest.raises(FileNotFoundError):
        Reader({"a": tiny_weights["teacher"]}, font=str(tmp_path / "missing.ttf"))


def test_texts_on_the_page_are_no_html():
    word = Word("<script>alert(1)</script>", np.zeros((4, 2)), 0.5)
    answer = Answer(object(), [word], [("<b>", "&")], ["<i>"])
    for html in (words_html(answer), answer_html(answer), answer_html(Answer(error="<img src=x>"))):
        assert "<script" not in html and "<i>" not in html and "<b>" not in html and "<img" not in html
    assert "&lt;script&gt;alert(1)" in words_html(answer) and 'role="alert"' in answer_html(Answer(error="x"))
    assert "No words were found" in words_html(Answer(object())) and words_html(Answer()) == ""
