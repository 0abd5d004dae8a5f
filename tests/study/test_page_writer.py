"""Facts about the gallery: it reads what the study read, once, and the marks add up to the study's counts."""

import pytest

from dld.study.measure import StudiedSpotter
from dld.study.page_writer import make_report
from dld.study.ranking import mistakes
from dld.study.run import Study
from dld.study.table import study_row


@pytest.fixture
def study(tiny_weights, small_set, tmp_path):
    spotters = [StudiedSpotter.load(name, tiny_weights[name]) for name in ("teacher", "student")]
    study = Study(spotters, small_set, 0, [], tmp_path / "cache", student_scales=[0.4])
    study.measure()
    return study


def rows_of(study):
    points = study.points()
    about = {"dataset": study.images.name, "short_side": 192, "threads": 1, "device": "cpu", "command": "command"}
    return [{**study_row(point, points[0]), **about} for point in points]


def test_the_marks_add_up_to_the_counts_of_the_study(study):
    report = make_report(study, rows_of(study), 3)
    assert [len(report.examples), report.facts["Gallery"]] == [3, "3 of 4 images"]
    compared = study.compared()
    for example in report.examples:
        assert [panel.name for panel in example.panels] == list(compared) == ["teacher @ 1", "student"]
        for panel, measurement in zip(example.panels, compared.values(), strict=True):
            reading = measurement.readings(4)[example.score.index]
            assert panel.scale == reading.scale and panel.gflops == pytest.approx(reading.gflops, rel=1e-9)
            missed, misread, false = mistakes(reading.counts)
            assert [panel.count("misread"), panel.count("missed"), panel.count("false")] == [misread, missed, false]
            assert panel.count("right", "misread", "false") == reading.counts["e2e"].detections
        assert example.panels[0].share == 1 and example.panels[1].share < 1
        assert (example.width, example.height, example.picture.width) == (128, 96, 640)


def test_a_report_made_again_runs_no_network(study):
    first = make_report(study, rows_of(study), 2)
    calls = []
    for spotter in (study.teacher, *study.students):
        spotter.model.student.backbone.register_forward_hook(lambda *a: calls.append(1))
    again = make_report(study, rows_of(study), 2)
    assert not calls
    for a, b in zip(first.examples, again.examples, strict=True):
        assert [m.label for p in a.panels for m in p.marks] == [m.label for p in b.panels for m in p.marks]
    make_report(study, rows_of(study), 3)
    assert len(calls) == 2


def test_a_student_without_selector_stands_at_the_scale_it_is_told(tiny_weights, small_set, tmp_path, study):
    told = StudiedSpotter.load("told", tiny_weights["student"], ["MODEL.SELECTOR.FIXED_SCALE", "0.6"])
    both = Study([study.teacher, told], small_set, 1, [1.0, 0.8, 0.6, 0.4], tmp_path / "cache")
    assert list(both.compared()) == ["teacher @ 1", "told @ 0.6"]
    other = Study([study.teacher, told], small_set, 1, [0.8, 0.4], tmp_path / "cache")
    assert list(other.compared()) == ["teacher @ 1", "told @ 0.8"]
