"""The command `dld compare`: what it writes, and how it ends."""

import json
import sys

import pytest

from dld.cli import compare
from dld.evaluation.bootstrap import hmean_interval
from dld.structures.words import read_results


@pytest.fixture
def arguments(tiny_weights, small_set, tmp_path):
    return [
        "--dataset", small_set, "--limit", "2", "--dld", f"whole={tiny_weights['teacher']}",
        f"half={tiny_weights['teacher']}@0.5", "--others", "--threads", "1", "--short-side", "128", "--examples", "1",
        "--output", str(tmp_path / "out"),
    ]  # fmt: skip


def test_everything_is_written(arguments, tmp_path, capsys):
    assert compare.main(arguments) == 0
    output = tmp_path / "out"
    document = json.loads((output / "comparison.json").read_text())
    assert document["threads"] == 1 and document["cores"] >= 1 and document["machine"] and "torch" in document["versions"]
    assert document["command"].startswith("python projects/DLD/tools/compare_readers.py --dataset drawn_words --limit 2")
    assert [(row["dataset"], row["protocol"], row["name"]) for row in document["rows"]] == [
        ("drawn_words", "icdar2015", "whole"),
        ("drawn_words", "icdar2015", "half"),
    ]
    for row in document["rows"]:
        assert row["images"] == 2 and row["words"] == 4 and row["ms_median"] > 0 and row["about"]["short_side"] == 128
        counts = row["per_photo"]["counts"]
        for task in ("detection", "e2e", "word_spotting"):
            interval = hmean_interval(counts[task])  # as anyone can do again with what is in the file
            assert row[f"{task}_hmean"] == pytest.approx(interval.value)
            assert row[f"{task}_interval"] == [interval.low, interval.high]
        read = read_results(output / "words" / f"drawn_words_{row['name']}.json")
        assert [len(result.words) for result in read] == row["per_photo"]["words_found"]
        assert [result.image_id for result in read] == ["drawn_0", "drawn_1"]
    assert document["rows"][1]["mean_scale"] == 0.5
    drawn = {path.name for path in (output / "pictures").iterdir()}
    assert drawn == {"drawn_words_drawn_0_whole.jpg", "drawn_words_drawn_0_half.jpg"}
    printed = capsys.readouterr().out
    assert "| whole " in printed and "drawn_words: 2 photos, 4 words" in (output / "comparison.md").read_text()

    times = [row["per_photo"]["ms"] for row in document["rows"]]
    assert compare.main(arguments) == 0  # nothing is measured again
    again = json.loads((output / "comparison.json").read_text())
    assert [row["per_photo"]["ms"] for row in again["rows"]] == times


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--dataset", "nothing"], "unknown data set 'nothing'"),
        (["--dld", "missing.pth"], "weights missing.pth do not exist"),
        (["--dld", "dld_tiny@half"], "dld_tiny@half: after @ comes a scale"),
        (["--dld", "dld_tiny", "dld_tiny"], "two readers are called dld_tiny"),
        (["--threads", "4096"], "--threads must lie between 1 and"),
        (["--short-side", "-1"], "--short-side must not be negative"),
        (["--others", "rapidocr"], 'pip install "dld[readers]"'),
        (["--others", "tesseract", "--tesseract-psm", "0"], "page segmentation mode"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(arguments, capsys, monkeypatch, change, message):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert compare.main([*arguments, *change]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_reader_that_fails_ends_with_code_1(arguments, capsys, monkeypatch):
    def fail(self, pixels):
        raise ValueError("no idea")

    monkeypatch.setattr("dld.compare.readers.DldReader.__call__", fail)
    assert compare.main(arguments) == 1
    assert "whole failed on photo drawn_0: ValueError: no idea" in capsys.readouterr().err


def test_an_interruption_is_no_traceback(arguments, capsys, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run", interrupt)
    assert compare.main(arguments) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_own_photos_are_registered_by_the_command(tmp_path, capsys):
    arguments = ["--register", "signs", str(tmp_path / "signs.json"), str(tmp_path), "--dataset", "signs"]
    assert compare.main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert "signs.json" in capsys.readouterr().err
