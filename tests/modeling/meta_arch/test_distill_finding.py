"""The student learns at small scales what the teacher's heads say of its proposals at full size."""

import pytest
import torch
from distilling import DETECTION, WORDS, awaken, build, check_losses_and_gradients

FINDING = {f"loss_kd_{name}" for name in ("class", "box", "mask", "feature")}
NO_READING = [option for name in ("ROI", "CONTEXT", "SEQUENCE") for option in (f"MODEL.DISTILLATION.{name}_WEIGHT", 0.0)]
ALL_FINDING = [
    option for name in ("CLASS", "BOX", "MASK", "FEATURE") for option in (f"MODEL.DISTILLATION.FINDING.{name}_WEIGHT", 1.0)
]
# untrained heads are sure of nothing
ALL_FINDING += ["MODEL.DISTILLATION.FINDING.SCORE_THRESH", 0.0, "MODEL.SELECTOR.ENABLED", False]
SIZES = ((96, 128), (128, 96))


def test_only_finding_is_distilled_where_reading_is_not(cfg, make_batch, storage):
    model, batch = build(cfg, *NO_READING, *ALL_FINDING), make_batch(WORDS, WORDS, sizes=SIZES)
    losses = check_losses_and_gradients(model, batch)
    assert FINDING | DETECTION <= set(losses) and not any(name.startswith("loss_kd") for name in set(losses) - FINDING)
    assert model.ask_teacher(model.annotate(batch)) is None


def test_nothing_is_asked_and_nothing_changes_where_it_is_off(cfg, make_batch, storage, monkeypatch):
    model, batch = build(cfg), make_batch(WORDS)
    assert model.ask_where(model.annotate(batch)) is None
    assert not FINDING & set(model(batch))


def test_a_weight_of_zero_takes_a_loss_away_and_two_doubles_it(cfg, make_batch, storage):
    node = "MODEL.DISTILLATION.FINDING"
    batch = make_batch(WORDS, WORDS)
    one = build(cfg.clone(), *NO_READING, *ALL_FINDING)
    other = build(cfg.clone(), *NO_READING, *ALL_FINDING, f"{node}.BOX_WEIGHT", 2.0, f"{node}.MASK_WEIGHT", 0.0)
    scales = [0.4, 0.7]
    losses, changed = (m.train_student(m.annotate(batch), scales, None, m.ask_where(m.annotate(batch))) for m in (one, other))
    assert "loss_kd_mask" not in changed and changed["loss_kd_box"].item() == pytest.approx(2 * losses["loss_kd_box"].item())


def test_at_full_size_the_teachers_weights_lose_nothing(cfg, make_batch, storage):
    model, batch = awaken(build(cfg, *NO_READING, *ALL_FINDING)), make_batch(WORDS, WORDS, sizes=SIZES)
    model.student.load_state_dict(model.teacher.state_dict())
    annotated = model.annotate(batch)
    where = model.ask_where(annotated)
    assert [t.image_size for t in where] == [(96, 128), (128, 96)] and all(len(t.finds) for t in where)
    same = model.train_student(annotated, [1.0, 1.0], None, where)
    smaller = model.train_student(annotated, [0.4, 0.4], None, where)
    for name in FINDING:
        assert abs(same[name].item()) < 1e-4 < smaller[name].item(), name


def test_losses_of_mixed_scales_are_means_over_images(cfg, make_batch, storage):
    model, batch = build(cfg, *NO_READING, *ALL_FINDING), make_batch(WORDS, WORDS, WORDS, sizes=SIZES)
    scales = [0.4, 1.0, 0.4]
    annotated = model.annotate(batch)
    together = model.train_student(annotated, scales, None, model.ask_where(annotated))
    alone = []
    for record, scale in zip(batch, scales, strict=True):
        image = model.annotate([record])
        alone.append(model.train_student(image, [scale], None, model.ask_where(image)))
    for name in FINDING:
        assert together[name].item() == pytest.approx(sum(x[name].item() for x in alone) / 3, rel=1e-3, abs=1e-6), name


def test_the_student_comes_closer_to_its_teacher(cfg, make_batch, storage):
    model, batch = awaken(build(cfg, *NO_READING, *ALL_FINDING)), make_batch(WORDS, WORDS)
    model.student.load_state_dict(model.teacher.state_dict())
    annotated = model.annotate(batch)
    where = model.ask_where(annotated)
    optimizer = torch.optim.Adam(model.student.parameters(), 2e-4)
    course = []
    for _ in range(15):
        losses = model.train_student(annotated, [0.4, 0.4], None, where)
        own = sum(losses[name] for name in FINDING)
        course.append(own.item())
        optimizer.zero_grad()
        own.backward()
        optimizer.step()
    assert course[-1] < 0.7 * course[0], course


def test_a_student_that_does_not_learn_to_find_is_refused(cfg, make_batch, storage):
    model = build(cfg, *NO_READING, *ALL_FINDING, "MODEL.RECOGNITION.ONLY", True)
    with pytest.raises(ValueError, match="MODEL.RECOGNITION.ONLY trains no finding"):
        model(make_batch(WORDS))
