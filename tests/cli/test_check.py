"""What `check` prints and returns."""

import json

import numpy as np
import pytest
from PIL import Image

from dld.cli.check import main
from dld.data.annotation import ImageAnnotation, TextAnnotation, write_annotations

SQUARE = np.array([[1.0, 1], [9, 1], [9, 5], [1, 5]])


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (20, 10)).save(tmp_path / "images" / name)
    images = [
        ImageAnnotation("a.jpg", "a", 20, 10, [TextAnnotation(SQUARE, "ab"), TextAnnotation(SQUARE, "né")]),
        ImageAnnotation("b.jpg", "b", 20, 10, [TextAnnotation(SQUARE, "", True)]),
    ]
    write_annotations(tmp_path / "annotations.json", images, "x")
    return tmp_path


def check(data, *more):
    return main(["--json", str(data / "annotations.json"), "--images", str(data / "images"), *more])


def test_warnings_alone_pass_and_statistics_are_printed(data, capsys):
    assert check(data) == 0
    out = capsys.readouterr().out
    assert f"{data / 'annotations.json'}:4: warning: images[0].words[1] (a): 'né' has characters outside" in out
    assert "1 x warning: unknown_character" in out
    assert "words without sides  0 (no strip can be cut from them)" in out
    assert "images               2 (0 without words)" in out and "don't-care           1 (33.3%)" in out


def test_a_charset_file_may_know_more(data, capsys):
    (data / "charset.txt").write_text("abné", encoding="utf-8")
    assert check(data, "--charset", str(data / "charset.txt")) == 0
    assert "no problems found" in capsys.readouterr().out


def test_missing_broken_and_wrongly_sized_images_fail(data, capsys):
    (data / "images" / "a.jpg").unlink()
    Image.new("RGB", (30, 10)).save(data / "images" / "b.jpg")
    assert check(data) == 1
    out = capsys.readouterr().out
    assert ":2: error: images[0] (a): image" in out and "a.jpg does not exist" in out
    assert ":5: error: images[1] (b): b.jpg is 30 x 10" in out and "says 20 x 10" in out
    (data / "images" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert check(data) == 1
    assert "cannot read image" in capsys.readouterr().out
    assert check(data, "--no-images") == 0


def test_the_report_holds_the_same(data, tmp_path):
    report = tmp_path / "out" / "report.json"
    assert check(data, "--max-length", "1", "--json-report", str(report)) == 0
    content = json.loads(report.read_text(encoding="utf-8"))
    assert [f["kind"] for f in content["findings"]] == ["text_too_long", "unknown_character", "text_too_long"]
    assert content["findings"][1]["line"] == 4 and content["statistics"]["words"] == 3


def test_every_schema_problem_is_an_error(data, capsys):
    path = data / "annotations.json"
    path.write_text(path.read_text().replace('"width": 20', '"width": "20"').replace('"ab"', "7"))
    assert check(data) == 1
    out = capsys.readouterr().out
    assert "images[0]: width: expected pixels" in out and "images[0].words[0]: text: expected a string" in out
    assert "3 x error: schema" in out
    path.write_text("[]")
    assert check(data) == 1
    assert "dld-text/1" in capsys.readouterr().out


def test_a_prepared_data_set_by_its_name(data, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(data))
    (data / "ctw1500_test").mkdir()
    (data / "annotations.json").rename(data / "ctw1500_test" / "annotations.json")
    (data / "images").rename(data / "ctw1500_test" / "images")
    assert main(["ctw1500_test"]) == 0
    assert main(["ctw1500_train"]) == 2
    assert "prepare_dataset.py ctw1500_train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either the NAME of a prepared data set, or both"),
        (["--json", "a.json"], "either the NAME"),
        (["totaltext"], "unknown data set 'totaltext'"),
        (["--json", "no.json", "--images", "."], "no.json does not exist"),
        (["synthtext_train"], "too large to check again"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
