"""Facts about the charts: round ticks around the data, points where the numbers say, columns as high as their counts."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dld.study.page_charts import accuracy_cost_chart, model_classes, scale_chart, ticks


@given(st.floats(0, 1e5), st.floats(0, 1e5))
@example(0.0, 0.0)
@example(33.3, 33.3)
@example(0.0, 6.0)
def test_ticks_enclose_the_values_at_even_steps(low, span):
    found = ticks(low, low + span)
    assert found[0] <= low + 1e-6 * max(low, 1) and found[-1] >= low + span - 1e-6 * max(low + span, 1)
    assert 2 <= len(found) <= 7
    steps = [b - a for a, b in zip(found, found[1:], strict=False)]
    assert min(steps) > 0 and max(steps) == pytest.approx(min(steps), rel=1e-3)


def test_ticks_are_round():
    assert ticks(0, 24.75) == [0, 5, 10, 15, 20, 25]
    assert ticks(13.5, 39.2) == [10, 20, 30, 40]


def positions(chart):
    root = ET.fromstring(chart)
    found = {}
    for link in root.iter("a"):
        place = link.find("g").get("transform")
        found[link.get("href")] = tuple(map(float, re.findall(r"[\d.]+", place)))
    return found


@pytest.mark.parametrize("task", ["detection", "e2e", "word_spotting"])
def test_every_row_is_a_point_at_its_cost_and_score(study_rows, task):
    places = positions(accuracy_cost_chart(study_rows, task))
    assert list(places) and set(places) == {f"#row-{i}" for i in range(len(study_rows))}
    at = [places[f"#row-{i}"] for i in range(len(study_rows))]
    for a, (x, y) in zip(study_rows, at, strict=True):
        for b, (u, v) in zip(study_rows, at, strict=True):
            assert (x - u) * (a["total_gflops"] - b["total_gflops"]) >= -0.1
            assert (y - v) * (a[f"{task}_hmean"] - b[f"{task}_hmean"]) <= 0.1
            assert 64 <= x <= 700 and 16 <= y <= 336


def test_the_teacher_has_the_first_colour_and_the_seventh_student_the_first_students(study_rows):
    rows = [{"model": name} for name in ("teacher", "a", "a", "b", "c", "d", "e", "f", "g")]
    assert list(model_classes(rows).values()) == ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m1"]


def test_columns_are_as_high_as_their_counts(study_rows):
    row = {**study_rows[0], "scale_histogram": {"0.3": 6, "0.8": 3}}
    root = ET.fromstring(scale_chart(row, [0.3, 0.5, 0.8], "m1"))
    heights = [float(rect.get("height")) for rect in root.iter("rect")]
    assert heights[0] == pytest.approx(2 * heights[2]) and heights[1] == 0
    assert [t.text for t in root.iter("text") if t.get("class") == "share"] == ["67%", "0%", "33%"]
    assert "0.3: 6, 0.5: 0, 0.8: 3" in root.get("aria-label")
