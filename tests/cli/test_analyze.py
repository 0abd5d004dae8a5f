"""The command `dld analyze`: what it writes, and how it ends."""

import argparse
import json

import pytest

from dld.cli import analyze

FIELDS = {
    "name", "gamma", "mean_scale", "total_gflops", "paper_gflops", "detection_hmean", "e2e_hmean", "e2e_interval",
    "ms_per_image", "dataset", "command", "word_spotting_hmean", "images", "words", "threads", "counts", "spearman",
    "scale_histogram", "e2e_difference",
}  # fmt: skip


def parsed(*argv):
    parser = argparse.ArgumentParser()
    analyze.add_arguments(parser)
    return parser.parse_args(argv)


@pytest.fixture
def arguments(tiny_weights, small_set, tmp_path):
    return [
        "--teacher", tiny_weights["teacher"], "--student", f"dld={tiny_weights['student']}", "--dataset", small_set,
        "--limit", "2", "--scales", "0.5", "--threads", "1", "--output", str(tmp_path / "study"),
    ]  # fmt: skip


def test_everything_is_written(arguments, tmp_path, capsys):
    html = tmp_path / "pages" / "report.html"
    assert analyze.main([*arguments, "--budgets", "0.7", "--html", str(html), "--html-images", "1"]) == 0
    output = tmp_path / "study"
    rows = json.loads((output / "results.json").read_text())
    assert [row["name"] for row in rows] == [
        "teacher @ 1",
        "teacher @ 0.5",
        "dld @ 1",
        "dld @ 0.8",
        "dld @ 0.6",
        "dld @ 0.5",
        "dld @ 0.4",
        "dld",
        "dld, budget 0.7",
    ]
    for row in rows:
        assert FIELDS <= set(row), row["name"]
        assert row["images"] == 2 and row["threads"] == 1 and row["ms_per_image"] > 0 and row["dataset"] == "drawn_words"
        assert row["command"].startswith("python projects/DLD/tools/analyze_model.py --teacher")
    assert (output / "table.md").read_text().count("\n") == 2 + len(rows)
    assert {p.name for p in output.glob("*.png")} == {"accuracy_cost.png", "scales.png"}
    assert list((output / "examples").glob("scale_*_dld_*.jpg"))
    printed = capsys.readouterr().out
    assert "| teacher @ 1 " in printed and "dld chose" in printed and str(html) in printed
    page = html.read_text(encoding="utf-8")
    assert page.count("<article") == 1 and "analyze_model.py --teacher" in page and "2 images, 4 words" in page


def test_words_are_scored_by_another_protocol(arguments, tmp_path):
    rows = analyze.run(parsed(*arguments, "--protocol", "mango"))
    assert {row["protocol"] for row in rows} == {"mango"}
    (file, *_) = (tmp_path / "study" / "cache").glob("teacher_read_1_*.jsonl")
    assert json.loads(file.read_text().splitlines()[0])["key"]["protocol"] == "mango"


def test_words_are_scored_without_punctuation(arguments, tmp_path):
    rows = analyze.run(parsed(*arguments, "--punctuation", "none"))
    assert {row["punctuation"] for row in rows} == {"none"}
    (file, *_) = (tmp_path / "study" / "cache").glob("teacher_read_1_*.jsonl")
    assert json.loads(file.read_text().splitlines()[0])["key"]["protocol"].endswith(", punctuation none")
    assert "punctuation" not in analyze.run(parsed(*arguments))[0]
    assert len(list((tmp_path / "study" / "cache").glob("teacher_read_1_*.jsonl"))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--student", "nameless.pth"], "--student nameless.pth: expected LABEL=WEIGHTS"),
        (["--student", "dld=x.pth"], "the name 'dld' is taken"),
        (["--student", "b=missing.pth"], "weights missing.pth do not exist"),
        (["--dataset", "nothing"], "unknown data set 'nothing'"),
        (["--budgets", "much"], "budget 'much' is neither"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--html", "."], "--html . is a folder"),
        (["--html", "report.html", "--html-images", "-1"], "--html-images must be at least 0"),
        (["--opts", "MODEL.NOTHING", "1"], "override"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(arguments, capsys, change, message):
    assert analyze.main([*arguments, *change]) == 2
    assert message in capsys.readouterr().err


def test_an_interruption_is_no_traceback(arguments, capsys, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(analyze, "run", interrupt)
    assert analyze.main(arguments) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_times_come_from_a_quiet_run(arguments, tmp_path, capsys):
    quiet = [*arguments[:-1], str(tmp_path / "quiet"), "--limit", "1", "--examples", "0"]
    assert analyze.main(quiet) == 0
    file = tmp_path / "quiet" / "results.json"
    assert analyze.main([*arguments, "--examples", "0", "--times", str(file)]) == 0
    rows = json.loads((tmp_path / "study" / "results.json").read_text())
    for row, timed in zip(rows, json.loads(file.read_text()), strict=True):
        assert row["ms_per_image"] == timed["ms_per_image"] and row["ms_images"] == 1 and row["images"] == 2
        assert "--limit 1" in row["ms_command"]
    file.write_text(json.dumps(json.loads(file.read_text())[1:]))
    assert analyze.main([*arguments, "--examples", "0", "--times", str(file)]) == 2
    assert "has no row 'teacher @ 1'" in capsys.readouterr().err
