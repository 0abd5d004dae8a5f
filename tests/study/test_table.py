"""Facts about the rows of a study, on three images worked by hand."""

import json
from dataclasses import replace

import pytest

from dld.evaluation.matching import Counts
from dld.study.plot import plot_accuracy_cost, plot_scales
from dld.study.table import Reading, StudyPoint, add_gains, read_at, study_row, study_table


def reading(scale, matched, heights=(), gflops=10.0, ms=5.0):
    counts = {"detection": Counts(4, 4, 4), "e2e": Counts(matched, 4, 4), "word_spotting": Counts(matched, 4, 2)}
    return Reading(scale, gflops, gflops / 2, ms, tuple(heights), counts)


TEACHER = StudyPoint("teacher @ 1", "teacher", "fixed", [reading(1, 4, [10, 12]), reading(1, 4, [40]), reading(1, 4)])
STUDENT = StudyPoint(
    "dld",
    "dld",
    "chosen",
    [reading(0.8, 3, gflops=6, ms=9), reading(0.3, 1, gflops=2, ms=1), reading(0.3, 2, gflops=1, ms=2)],
    {"gamma": 0.1},
)


def test_a_row_by_hand():
    row = study_row(STUDENT, TEACHER)
    assert row["e2e_hmean"] == row["e2e_precision"] == row["e2e_recall"] == 6 / 12
    assert row["word_spotting_recall"] == 1 and row["detection_hmean"] == 1
    assert row["counts"]["word_spotting"] == [6, 12, 6] and row["words"] == 12 and row["images"] == 3
    assert row["total_gflops"] == 3 and row["paper_gflops"] == 1.5 and row["teacher_share"] == pytest.approx(0.3)
    assert row["mean_scale"] == pytest.approx(1.4 / 3) and row["ms_per_image"] == 2
    assert row["scale_histogram"] == {"0.3": 2, "0.8": 1}
    # the image without words is left out; of the other two the one with small words got the larger scale
    assert row["spearman"] == -1 and row["spearman_images"] == 2
    assert row["e2e_difference"]["value"] == -0.5 and row["e2e_difference"]["high"] < 0
    low, high = row["e2e_interval"]
    assert 0.25 <= low < 0.5 < high <= 0.75
    assert row["gamma"] == 0.1 and row["name"] == row["model"] == "dld" and row["choice"] == "chosen"
    json.dumps(row, allow_nan=False)


def test_the_teacher_differs_from_itself_by_nothing():
    row = study_row(TEACHER, TEACHER)
    assert row["e2e_difference"] == {"value": 0, "low": 0, "high": 0} and row["teacher_share"] == 1
    assert row["gamma"] is None and row["spearman"] is None


def test_a_choice_is_composed_of_fixed_scales_and_the_selector():
    small, large = reading(0.3, 1, gflops=2, ms=1), reading(0.8, 3, gflops=6, ms=9)
    chosen = read_at({0.3: [small, small], 0.8: [large, large]}, [0.8, 0.3], [0.5, 0.25], [1, 2])
    assert chosen == [replace(large, gflops=6.5, ms=10), replace(small, gflops=2.25, ms=3)]


def test_readings_survive_json():
    one = reading(0.3, 1, [9.5])
    assert Reading.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_the_table_is_markdown_in_per_cent():
    lines = study_table([study_row(p, TEACHER) for p in (TEACHER, STUDENT)]).splitlines()
    assert len(lines) == 4 and lines[1].startswith("|:--")
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert cells[:6] == ["dld", "0.1", "0.47", "3.00", "30%", "1.50"]
    assert cells[7].startswith("50.0 [") and cells[8].startswith("-50.0 [")
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]][1] == ""


def test_pictures_are_written_even_where_a_curve_has_one_point(tmp_path):
    rows = [study_row(p, TEACHER) for p in (TEACHER, STUDENT)]
    plot_accuracy_cost(rows, tmp_path / "new" / "cost.png")
    plot_scales(rows, tmp_path / "scales.png")
    for path in (tmp_path / "new" / "cost.png", tmp_path / "scales.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_gains_over_a_baseline_stand_in_rows_and_table():
    """The baseline matches 2 of 5 and 4 of 5 words for 4 and 8 GFLOPs; 3 of 5 for 5 GFLOPs is 0.2 x 3/4 above its line."""
    points = [
        TEACHER,
        StudyPoint("old @ 0.5", "old", "fixed", [reading(0.5, 2, gflops=4.0)] * 3),
        StudyPoint("old @ 0.8", "old", "fixed", [reading(0.8, 4, gflops=8.0)] * 3),
        StudyPoint("ours", "ours", "chosen", [reading(0.6, 3, gflops=5.0)] * 3),
        StudyPoint("ours, dear", "ours", "budget", [reading(0.8, 4, gflops=9.0)] * 3),
    ]
    rows = [study_row(point, TEACHER) for point in points]
    line = rows[1]["e2e_hmean"] + (rows[2]["e2e_hmean"] - rows[1]["e2e_hmean"]) / 4
    add_gains(rows, points, "old")
    assert rows[3]["e2e_over_baseline"]["baseline"] == "old"
    assert rows[3]["e2e_over_baseline"]["value"] == pytest.approx(rows[3]["e2e_hmean"] - line)
    assert rows[4]["e2e_over_baseline"] is None and all("e2e_over_baseline" not in row for row in rows[:3])
    header, _, *lines = study_table(rows).splitlines()
    assert "over old at equal cost" in header
    gain = 100 * rows[3]["e2e_over_baseline"]["value"]
    assert f"{gain:+.1f} [" in lines[3] and lines[4].rstrip("| ").endswith("5")  # 5 ms
    with pytest.raises(ValueError, match="two fixed scales"):
        add_gains(rows, points, "ours")
