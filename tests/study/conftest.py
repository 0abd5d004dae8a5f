"""A study without networks: rows and a gallery that were made up, with texts that try to be html."""

import numpy as np
import pytest

from dld.evaluation.matching import Counts
from dld.study.page import Example, Panel, Report
from dld.study.page_marks import Mark, encode_picture
from dld.study.ranking import rank_images
from dld.study.table import Reading, StudyPoint, study_row

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\x00\ud800'


def made_up_readings(scales, gflops, lost):
    """Four images of 5 words each, of which all but lost[i] are read; every word is found, one detection is false."""
    return [
        Reading(
            s,
            g,
            g / 2,
            10 * g,
            (10.0 + i,),
            {t: Counts(m, 6, 5) for t, m in zip(("detection", "e2e", "word_spotting"), (5, 5 - k, 5 - k), strict=True)},
        )
        for i, (s, g, k) in enumerate(zip(scales, gflops, lost, strict=True))
    ]


@pytest.fixture
def study_points():
    """The teacher at 1 and 0.5, and a student with a hostile name at 0.4 and 0.8, at its choice and under a budget."""
    student = f"s{HOSTILE}"
    return [
        StudyPoint("teacher @ 1", "teacher", "fixed", made_up_readings([1.0] * 4, [20, 21, 22, 23], [0, 0, 1, 0])),
        StudyPoint("teacher @ 0.5", "teacher", "fixed", made_up_readings([0.5] * 4, [6, 6, 7, 7], [1, 2, 3, 4])),
        StudyPoint(f"{student} @ 0.4", student, "fixed", made_up_readings([0.4] * 4, [4, 4, 5, 5], [1, 3, 3, 3])),
        StudyPoint(f"{student} @ 0.8", student, "fixed", made_up_readings([0.8] * 4, [13, 13, 14, 15], [1, 1, 1, 1])),
        StudyPoint(student, student, "chosen", made_up_readings([0.4, 0.8, 0.4, 0.8], [4, 13, 5, 15], [0, 1, 3, 1])),
        StudyPoint(f"{student}, budget 0.3", student, "budget", made_up_readings([0.4] * 4, [4, 4, 5, 5], [1, 3, 3, 3])),
    ]


@pytest.fixture
def study_rows(study_points):
    return [study_row(point, study_points[0]) for point in study_points]


@pytest.fixture
def made_up_report(study_points, study_rows):
    """A page of two images; names, texts, facts and the command are hostile."""
    polygon = np.array([[10, 10], [60, 10], [60, 30], [10, 30]])
    marks = [
        Mark(polygon, HOSTILE, "misread", HOSTILE),
        Mark(polygon + 20, "right", "right"),
        Mark(polygon, HOSTILE, "missed"),
    ]
    compared = {point.name: point.readings for point in (study_points[0], study_points[4])}
    picture = encode_picture(np.full((96, 128, 3), 200, np.uint8))
    examples = [
        Example(score, f"{score.index} {HOSTILE}", 128, 96, picture, [Panel(name, 0.5, 5.0, 0.25, marks) for name in compared])
        for score in rank_images(compared)[:2]
    ]
    rows = [{**row, "dataset": HOSTILE} for row in study_rows]
    return Report(rows, {"Device": HOSTILE}, f"python {HOSTILE}", {study_points[4].model: (0.4, 0.6, 0.8)}, examples)
