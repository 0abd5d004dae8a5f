"""How many given words a recogniser reads, by how they lie."""

import json

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from dld.cli import analyze
from dld.engine.checkpoint import SpotterCheckpointer
from dld.modeling.recognition.recognizer import Readings
from dld.study.given_words import GivenWord, given_rows, given_table, kind_of, turned_view

WORD = np.array([[10.0, 20], [90, 20], [90, 40], [10, 40]])


def arc(radius, half, turn):
    angle = np.linspace(-turn / 2, turn / 2, 12)
    line = np.stack([np.sin(angle), -np.cos(angle)], 1)
    return np.concatenate([(radius + half) * line, (radius - half) * line[::-1]]) + 200


def test_words_lie_as_their_outlines_are_annotated():
    assert kind_of(WORD, 4) == "straight"
    assert [kind_of(turned_view((60, 100), d, 1.0).points(WORD), 4) for d in (10, 40, -40, 90, -90, 140)] == [
        "straight", "turned", "turned", "on end", "on end", "turned",
    ]  # fmt: skip
    assert kind_of(arc(80, 10, 2.0), 6) == "bent" and kind_of(arc(80, 10, 0.4), 3) == "straight"
    assert kind_of(np.array([[0.0, 0], [9, 0], [5, 8]]), 2) == "all"


@pytest.mark.parametrize("degrees", [0, 40, 90, -90])
def test_a_turned_picture_is_whole(degrees):
    view = turned_view((60, 100), degrees, 0.5)
    corners = view.points(np.array([[0.0, 0], [100, 0], [100, 60], [0, 60]]))
    assert corners.min() >= -1e-9 and (corners.max(0) <= [view.width + 1e-9, view.height + 1e-9]).all()
    assert (corners.min(0) < 1).all() and (corners.max(0) > [view.width - 1, view.height - 1]).all()
    if degrees % 90 == 0:
        assert {view.height, view.width} == {30, 50}


def test_rows_are_of_each_kind():
    words = [GivenWord("straight", True, True), GivenWord("straight", False, None), GivenWord("bent", False, True)]
    rows = given_rows("a", words)
    assert [(row["kind"], row["words"]) for row in rows] == [("all", 3), ("straight", 2), ("bent", 1)]
    assert [row["read"] for row in rows] == [pytest.approx(1 / 3), 0.5, 0.0]
    assert [row["read_annotated"] for row in rows] == [1.0, 1.0, 1.0]
    assert given_table(rows[1:2]).splitlines()[-1] == "| a | straight | 2 | 50.0 | 100.0 |"
    assert given_rows("b", [GivenWord("on end", True, None)])[0]["read_annotated"] is None


@pytest.mark.parametrize(("name", "calls"), [("TextRecognizer", 1), ("AnchorRecognizer", 2)])
def test_the_command_reads_given_words(tiny_cfg, small_set, tmp_path, capsys, monkeypatch, name, calls):
    """A recogniser that reads what is written, but for one word of the second picture on its head."""
    tiny_cfg.merge_from_list(["MODEL.RECOGNITION.NAME", name, "INPUT.CHARACTERS", 10, "INPUT.MIN_SIZE_TEST", 192])
    torch.manual_seed(0)
    SpotterCheckpointer(build_model(tiny_cfg), str(tmp_path), extra={"config": tiny_cfg.dump()}).save("reader")
    monkeypatch.setattr("dld.modeling.recognition.recognizer.TextRecognizer.read", read := Reads(calls))
    argv = ["--teacher", str(tmp_path / "reader.pth"), "--dataset", small_set, "--limit", "2", "--given-words"]
    assert analyze.main([*argv, "--threads", "1", "--output", str(tmp_path / "given")]) == 0
    assert read.calls == 8 * calls
    rows = json.loads((tmp_path / "given" / "given_words.json").read_text())
    assert {row["kind"]: row["words"] for row in rows} == {"all": 16, "straight": 4, "turned": 4, "on end": 8}
    shares = {row["kind"]: row["read"] for row in rows}
    assert shares == {"all": 15 / 16, "straight": 1.0, "turned": 1.0, "on end": 7 / 8}
    assert rows[0]["read_annotated"] is None, "nobody annotated its characters"
    assert rows[0]["images"] == 2 and (tmp_path / "given" / "given_words.md").read_text() in capsys.readouterr().out


class Reads:
    """In the place of `TextRecognizer.read`: called `every` times for each turn of each picture."""

    def __init__(self, every):
        self.every, self.calls = every, 0

    def __get__(self, recognizer, owner):
        return lambda context: self(recognizer, context)

    def __call__(self, recognizer, context):
        turn = self.calls // self.every
        self.calls += 1
        words = [("stone", "river"), ("Blue", "42")][turn // 4]
        if turn == 7:
            words = ("Blue", "43")
        assert len(context) == 2
        ids = torch.stack([recognizer.charset.encode(word, 10) for word in words])
        return Readings(ids.masked_fill(ids == recognizer.charset.pad, recognizer.charset.end), torch.ones(2, 11))


def test_spotters_that_read_no_crops_say_so(small_set, tiny_cfg, tmp_path, capsys):
    tiny_cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "TextPerceptron", "MODEL.SPOTTER", "TextPerceptron"])
    SpotterCheckpointer(build_model(tiny_cfg), str(tmp_path), extra={"config": tiny_cfg.dump()}).save("maps")
    argv = ["--teacher", str(tmp_path / "maps.pth"), "--dataset", small_set, "--given-words", "--output", str(tmp_path / "o")]
    assert analyze.main(argv) == 2
    assert "teacher has no recogniser of the crops of boxes" in capsys.readouterr().err
