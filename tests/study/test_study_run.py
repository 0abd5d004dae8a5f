"""Facts about measuring: every image once, nothing twice, a choice reads what the fixed scale reads."""

import json

import cv2
import numpy as np
import pytest
import torch

from dld.inference.budget import Budget, ScaleScores, calibrate_mu
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.structures.words import SpottingResult, Word
from dld.study.measure import StudiedSpotter, spotter_config, word_heights
from dld.study.run import Study, crossed_choice
from dld.study.table import study_row


@pytest.fixture
def make_study(tiny_weights, small_set, tmp_path):
    """A study of the tiny teacher and student on four pictures; keyword arguments replace its own."""

    def make(**changes) -> Study:
        spotters = [StudiedSpotter.load(name, tiny_weights[name]) for name in ("teacher", "student")]
        given = {"dataset": small_set, "limit": 0, "scales": [0.4, 0.5], "cache": tmp_path / "cache", **changes}
        return Study(spotters, **given)

    return make


def count_runs(study):
    """Calls of every network and selector from here on."""
    calls = []
    for spotter in (study.teacher, *study.students):
        spotter.model.student.register_forward_hook(lambda *a: calls.append("spotter"))
        spotter.model.student.backbone.register_forward_hook(lambda *a: calls.append("backbone"))
        if spotter.model.selector is not None:
            spotter.model.selector.register_forward_hook(lambda *a: calls.append("selector"))
    return calls


def test_the_whole_story(make_study, tmp_path):
    study = make_study()
    study.plan_budgets(["0.7"])
    # 4 pictures: the teacher at 1 .5 .4, the student at 1 .8 .6 .5 .4, its own choice, its scores
    assert study.measure() == 4 * (3 + 5 + 1 + 1)
    points = study.points()
    assert [p.name for p in points] == [
        "teacher @ 1",
        "teacher @ 0.5",
        "teacher @ 0.4",
        "student @ 1",
        "student @ 0.8",
        "student @ 0.6",
        "student @ 0.5",
        "student @ 0.4",
        "student",
        "student, budget 0.7",
    ]
    assert all(len(p.readings) == 4 for p in points) and points[0].readings[0].heights
    rows = {p.name: study_row(p, points[0]) for p in points}
    assert rows["student"]["gamma"] == 0.1 and rows["student @ 0.4"]["scale_histogram"] == {"0.4": 4}
    assert rows["teacher @ 1"]["words"] == 8 and rows["teacher @ 0.5"]["teacher_share"] < 1
    assert rows["student, budget 0.7"]["calibration"].startswith("each half")
    json.dumps(list(rows.values()), allow_nan=False)

    again = make_study()
    again.plan_budgets(["0.7", "0.75"])
    calls = count_runs(again)
    assert again.measure() == 0 and not calls, "a cached study needs no network, another budget neither"
    assert [p.readings for p in again.points()[:-1]] == [p.readings for p in points]


def test_the_choice_reads_what_the_fixed_scale_reads(make_study):
    study = make_study()
    study.plan_budgets(["0.7"])
    study.measure()
    chosen = study.chosen["student"].readings(4)
    assert len({r.scale for r in chosen}) > 1, "the pictures were to differ in their scale"
    for index, reading in enumerate(chosen):
        fixed = study.fixed["student"][reading.scale].readings(4)[index]
        assert reading.counts == fixed.counts and reading.heights == fixed.heights
        assert reading.paper_gflops == fixed.paper_gflops
        assert reading.gflops == pytest.approx(fixed.gflops + study.scored["student"].cache[index]["selector_gflops"], rel=1e-9)


def test_more_images_and_scales_only_cost_what_is_new(make_study):
    assert make_study(limit=2).measure() == 2 * (3 + 3 + 1)
    assert make_study(limit=3, scales=[0.4, 0.5, 0.7]).measure() == 1 * 7 + 3 * 2


def test_other_weights_are_measured_anew(make_study, tiny_weights, small_set, tmp_path):
    make_study(limit=1).measure()
    loaded = torch.load(tiny_weights["teacher"], weights_only=True)
    name = next(n for n in loaded["model"] if n.endswith("decoder.output.bias"))
    loaded["model"][name] += 1
    torch.save(loaded, tiny_weights["teacher"])
    assert make_study(limit=1).measure() == 3


def test_the_teacher_at_scale_1_is_the_teacher(make_study, tiny_weights):
    study = make_study(limit=1)
    record = study.images.mapper(study.images.images[0])
    from dld.inference.predictor import TextSpotter

    with torch.inference_mode():
        plain = TextSpotter.from_checkpoint(tiny_weights["teacher"]).model([record])[0]["instances"]
        wrapped = study.teacher.model([record])[0]["instances"]
    assert plain.pred_texts == wrapped.pred_texts and torch.equal(plain.scores, wrapped.scores)


def test_budgets_on_other_images(make_study, register_records, make_record):
    other = register_records("other_words", [make_record(("some", "more"), image_id=f"o{i}", seed=i) for i in range(3)])
    study = make_study()
    study.plan_budgets(["0.7", "9999G"], other, 2)
    study.measure()
    points = [p for p in study.points() if p.choice == "budget"]
    assert [p.about["budget"] for p in points] == ["0.7"], "what cannot be reached is left out"
    scores = study.calibration["student"].scores(2)
    assert points[0].about["mu"] == calibrate_mu(scores.log_probabilities, scores.costs, 0.7)
    assert points[0].about["calibration"] == "2 images of other_words"


def test_no_image_is_read_with_a_mu_calibrated_on_it():
    """Only image 0 ever prefers the large scale so much that mu must be large; image 1 has to pay for it."""
    scores = np.log([[0.99999, 0.00001], [0.4, 0.6]])[:, ::-1].copy()
    costs = np.array([[0.2, 0.8], [0.2, 0.8]])
    tables = ScaleScores(scores, costs, costs)
    choice, (even, odd) = crossed_choice(tables, Budget(0.2))
    assert even == calibrate_mu(scores[1:], costs[1:], 0.2) and odd == calibrate_mu(scores[:1], costs[:1], 0.2)
    assert choice.tolist() == [1, 0]
    with pytest.raises(ValueError, match="two images at least"):
        crossed_choice(ScaleScores(*(t[:1] for t in tables)), Budget(0.2))


def test_examples_are_drawn_once_and_again_for_other_weights(make_study, tmp_path):
    study = make_study(limit=2)
    study.measure()
    study.draw_examples(tmp_path / "examples", 3)
    scales = [r.scale for r in study.chosen["student"].readings(2)]
    names = sorted(f"scale_{s:g}_student_{i:05d}.jpg" for i, s in enumerate(scales))
    assert sorted(p.name for p in (tmp_path / "examples").glob("*.jpg")) == names
    assert cv2.imread(str(tmp_path / "examples" / names[0])).shape == (96, 128, 3)
    again = make_study(limit=2)
    calls = count_runs(again)
    again.draw_examples(tmp_path / "examples", 3)
    assert not calls
    study.students[0].model.mu.fill_(1e6)
    cheap = Study([study.teacher, *study.students], study.images.name, 2, [1.0], tmp_path / "cache")
    cheap.measure()
    cheap.draw_examples(tmp_path / "examples", 3)
    assert {p.name.split("_")[1] for p in (tmp_path / "examples").glob("*.jpg")} == {"0.4"}


def test_heights_are_the_short_sides_of_words_with_a_text():
    turned = cv2.boxPoints(((50, 50), (40, 10), 30))
    words = [Word("ab", [[0, 0], [40, 0], [40, 12], [0, 12]]), Word("", [[0, 0], [9, 0], [9, 9], [0, 9]]), Word("c", turned)]
    result = SpottingResult("x", None, 100, 200, words)
    assert word_heights(result, 300) == pytest.approx((18, 15), abs=0.02)


def test_what_cannot_be_studied_is_named(make_study, tiny_weights):
    with pytest.raises(KeyError, match="unknown data set 'nothing'"):
        make_study(dataset="nothing")
    with pytest.raises(ValueError, match=r"scales must lie in \(0, 1\]"):
        make_study(scales=[1.5])
    with pytest.raises(ValueError, match="-1 were asked for"):
        make_study(limit=-1)
    study = make_study()
    with pytest.raises(ValueError, match="is what is evaluated"):
        study.plan_budgets(["0.5"], study.images.name)
    with pytest.raises(ValueError, match="teacher has no resolution selector"):
        study.teacher.set_scale(None)
    with pytest.raises(ValueError, match="KEY VALUE"):
        spotter_config(tiny_weights["teacher"], ["MODEL.DEVICE"])
    with pytest.raises(KeyError, match="override"):
        spotter_config(tiny_weights["teacher"], ["MODEL.NOTHING", "1"])


def test_a_student_without_selector_has_fixed_scales_only(make_study, tiny_weights, small_set, tmp_path):
    student = StudiedSpotter.load("skd", tiny_weights["student"], ["MODEL.SELECTOR.FIXED_SCALE", "0.6"])
    assert isinstance(student.model, DynamicSpotter) and not student.selects
    study = Study([make_study().teacher, student], small_set, 1, [0.5], tmp_path / "cache")
    with pytest.raises(ValueError, match="needs a student with a resolution selector"):
        study.plan_budgets(["0.5"])
    study.measure()
    assert {p.choice for p in study.points()} == {"fixed"}
    assert all(p.about.get("gamma") is None for p in study.points())


def test_students_have_scales_of_their_own_or_only_their_choice(make_study):
    study = make_study(scales=[0.5], student_scales=[0.4])
    # 4 pictures: the teacher at 1 and .5, the student at .4 and at its choice
    assert study.measure() == 4 * (2 + 1 + 1)
    study = make_study(scales=[], only_chosen=["student"])
    study.plan_budgets(["0.7"])
    assert study.measure() == 0, "the teacher at 1 and the choice are known, no budget is asked of this student"
    assert [p.name for p in study.points()] == ["teacher @ 1", "student"]
    with pytest.raises(ValueError, match="no student with a resolution selector is named 'other'"):
        make_study(only_chosen=["other"])
