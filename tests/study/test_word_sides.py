"""How far sides lie from annotated ones, and the table of it."""

import json

import numpy as np
import pytest

from dld.cli import analyze
from dld.study.word_sides import MeasuredWord, cut_at_ends, side_gap, sides_rows, sides_table


def level(x0, y0, x1, y1, n=7):
    x = np.linspace(x0, x1, n)
    return np.stack([np.stack([x, np.full(n, float(y))], 1) for y in (y0, y1)])


def test_the_gap_is_a_distance_in_heights_whichever_way_sides_run_and_however_many_points_they_have():
    word = level(10, 20, 110, 60)
    for n in (2, 7, 17):
        assert side_gap(level(10, 20, 110, 60, n), word) == pytest.approx(0, abs=1e-9)
    # each point 10 of 40 pixels lower
    lower = level(10, 30, 110, 70, 17)
    assert side_gap(lower, word) == pytest.approx(0.25) and side_gap(lower[::-1, ::-1], word) == pytest.approx(0.25)
    # one end 20 pixels too far: 0, 20 / 6, ... 20 along the side
    assert side_gap(level(10, 20, 130, 60), word) == pytest.approx(10 / 40)


def test_sides_are_cut_at_annotated_ends_and_stay_where_they_were_across():
    word = level(10, 20, 110, 60)
    # 8 pixels too high and 10 % too tall, with 15 pixels too few at the beginning and 30 too many at the end
    found = level(25, 10, 140, 54, 17)
    for given in (found, found[::-1, ::-1]):
        cut = cut_at_ends(given, word)
        assert cut.shape == (2, 17, 2) and np.abs(cut - level(10, 10, 110, 54, 17)).max() < 0.5
    # an arc: a quarter of it is missing at the end, and the rest goes on straight
    turn = np.linspace(-2.2, -1.0, 17)
    arc = np.stack([np.stack([200 + r * np.cos(turn), 200 + r * np.sin(turn)], 1) for r in (120, 80)])
    cut = cut_at_ends(arc[:, :13], arc)
    assert np.linalg.norm(cut.mean(0)[0] - arc.mean(0)[0]) < 1 and np.linalg.norm(cut.mean(0)[-1] - arc.mean(0)[-1]) < 8
    assert cut_at_ends(found, level(300, 20, 400, 60)) is None


def test_rows_are_of_all_straight_and_bent_words():
    words = [
        MeasuredWord(0.0, 0.1, False, True, True, True),
        MeasuredWord(0.1, 0.3, False, True, True, False),
        MeasuredWord(0.5, 0.2, True, False, False, False),
    ]
    rows = sides_rows("mask", words, 5)
    assert [(row["kind"], row["words"], row["annotated"]) for row in rows] == [
        ("all", 3, 5),
        ("straight", 2, 5),
        ("bent", 1, 5),
    ]
    assert rows[0]["gap_median"] == pytest.approx(0.2) and rows[0]["gap_mean"] == pytest.approx(0.2)
    assert (rows[1]["read_annotated"], rows[1]["read_predicted"], rows[2]["learned"]) == (1.0, 0.5, 1.0)
    assert [row["read_ends"] for row in rows] == [pytest.approx(2 / 3), 1.0, 0.0]
    assert [row["kind"] for row in sides_rows("mask", words[:2], 5)] == ["all", "straight"]
    assert "| mask | bent | 1 | 100.0 | 0.200 | 0.200 | 0.200 | 0.0 | 0.0 | 0.0 |" in sides_table(rows).splitlines()


def test_the_command_measures_a_spotter_that_reads_strips(small_set, tiny_weights, tmp_path, capsys):
    common = ["--dataset", small_set, "--limit", "2", "--sides", "--threads", "1", "--output", str(tmp_path / "sides")]
    assert (
        analyze.main(["--teacher", "teacher_tiny", *common, "--opts", "MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "320"]) == 0
    )
    rows = json.loads((tmp_path / "sides" / "sides.json").read_text())
    assert rows[0]["kind"] == "all" and rows[0]["annotated"] == 4 and rows[0]["words"] >= 3 and rows[0]["images"] == 2
    assert rows[0]["gap_median"] < 0.3 and rows[0]["read_annotated"] >= 0.75
    assert (tmp_path / "sides" / "sides.md").read_text() in capsys.readouterr().out
    assert analyze.main(["--teacher", tiny_weights["teacher"], *common]) == 2
    assert "this TextSpottingRCNN reads no strips" in capsys.readouterr().err
