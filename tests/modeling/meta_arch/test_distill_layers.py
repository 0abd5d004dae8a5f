"""Aggregates of the teacher's layers as targets, of crops and of strips."""

import numpy as np
import pytest
import torch
from distilling import AGGREGATED, DETECTION, DISTILLATION, READING, SCENES, STRIPS, WORDS, awaken, build, parts

from dld.data.dataset_mapper import TextDatasetMapper
from dld.modeling.losses.feature_aggregation import normalised_distance
from dld.modeling.meta_arch.annotated_batch import read_annotated

NODE = "MODEL.DISTILLATION.AGGREGATION"
ON = [f"{NODE}.ENABLED", True, "MODEL.SELECTOR.ENABLED", False]
KINDS = {
    "crops": [],
    "strips": STRIPS,
}


@pytest.fixture(params=KINDS)
def kind(request, cfg):
    cfg.merge_from_list(KINDS[request.param])
    return request.param


@pytest.fixture
def make_batch(cfg, make_record):
    def batch(*images):
        mapper, rng = TextDatasetMapper(cfg, True), np.random.default_rng(0)
        return [mapper(make_record(words, ignore=ignore, seed=i), rng) for i, (words, ignore) in enumerate(images)]

    return batch


def test_layers_are_kept_on_request_alone_and_change_nothing(cfg, kind, make_batch):
    model = build(cfg, *ON)
    batch = model.annotate(make_batch(WORDS, ((), ()), WORDS))
    plain = read_annotated(model.teacher, batch, 1.0).features
    with model.teacher.keeping_layers():
        kept = read_annotated(model.teacher, batch, 1.0).features
    assert plain.layers is None and torch.equal(plain.roi, kept.roi) and torch.equal(plain.context, kept.context)
    assert torch.equal(kept.layers["columns"][-1], kept.context)
    for name, (count, channels) in model.teacher.layer_groups.items():
        shapes = {tuple(x.shape) for x in kept.layers[name]}
        assert len(shapes) == 1 and len(kept.layers[name]) == count == {"columns": 3}.get(name, 4 if kind == "crops" else 3)
        assert shapes.pop()[1 if name == "crops" else 2] == channels
    if kind == "strips":
        assert torch.equal(kept.layers["crops"][-1], kept.roi)
    # the losses from the last layer are those of the features
    texts = batch.texts
    usual = model.teacher.roi_heads.recognizer.losses(kept, texts)
    for name in ("crops", "columns"):
        # shorter strips have repeated columns at their end, which the mixer sees only here
        error = 1e-2 if (kind, name) == ("strips", "crops") else 1e-5
        for loss, value in model.teacher.losses_from(name, kept.layers[name][-1], texts).items():
            torch.testing.assert_close(value, usual[loss], atol=1e-5, rtol=error)


def test_each_stage_has_its_losses_and_every_weight_a_gradient(cfg, kind, make_batch, storage):
    model = build(cfg, *ON, f"{NODE}.SEARCH_STEPS", 4)
    for scene in ("one image without words", "every word ignored"):
        batch = make_batch(*SCENES[scene])
        for step, expected in ((0, {"loss_kd_st", "loss_kd_sequence"}), (4, AGGREGATED)):
            model.aggregation.begin_step(step)
            model.zero_grad()
            losses = model(batch)
            found = {name for name in losses if not name.startswith("loss_kd_ts_")}
            assert found == DETECTION | READING | expected and ("loss_kd_ts_rec" in losses) == (step == 0)
            sum(losses.values()).backward()
            without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert not without, "distributed training waits for ever for a weight without gradient"
            assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
            assert all(model.aggregation.beta(name).grad is None for name in model.aggregation.groups)


@pytest.mark.parametrize("group", ["crops", "columns"])
def test_a_step_of_beta_has_a_gradient_to_the_beta_of_its_group(cfg, kind, make_batch, storage, group):
    model = awaken(build(cfg, *ON, f"{NODE}.SEARCH_STEPS", 4))
    batch, targets = parts(model, make_batch(WORDS, WORDS))
    model.aggregation.begin_step(1 if group == "crops" else 3)
    losses = model.search_losses(batch, targets)
    assert {"loss_kd_st", "loss_kd_ts_rec"} <= set(losses) and all(n.startswith("loss_kd_") for n in losses)
    sum(losses.values()).backward()
    betas = {name: model.aggregation.beta(name) for name in model.aggregation.groups}
    assert betas[group].grad.abs().max() > 0 and sum(x.grad is not None for x in betas.values()) == 1
    # softmax: adding one number to all of beta changes nothing
    assert betas[group].grad.sum().item() == pytest.approx(0, abs=1e-5)
    assert all(p.grad is None for p in model.student.backbone.parameters()), "the student's features are fixed"


def test_the_last_layers_are_compared_word_by_word_where_they_have_all_the_weight(cfg, make_batch, storage):
    model = awaken(build(cfg, *ON, f"{NODE}.BETA", [[0, 0, 0, 1], [0, 0, 1]], "MODEL.DISTILLATION.CONTEXT_WEIGHT", 2.0))
    batch, targets = parts(model, make_batch(WORDS, WORDS))
    losses = model.train_student(batch, [0.4, 0.4], targets)
    read = read_annotated(model.student, batch, 0.4).features
    assert losses["loss_kd_columns"].item() == pytest.approx(
        2 * normalised_distance(read.context, targets.context).item(), rel=1e-4
    )
    model.student.load_state_dict(model.teacher.state_dict())
    for name in ("loss_kd_crops", "loss_kd_columns"):
        assert model.train_student(batch, [1.0, 1.0], targets)[name].item() == pytest.approx(0, abs=1e-6)


def test_nothing_is_kept_where_it_is_off(cfg, make_batch, storage):
    model = build(cfg, "MODEL.SELECTOR.ENABLED", False)
    batch, targets = parts(model, make_batch(WORDS))
    assert model.aggregation is None and targets.layers is None
    losses = model.train_student(batch, [0.7], targets)
    assert losses.shared is None and set(losses) == DETECTION | READING | DISTILLATION
    model.keeps_shared = True
    again = model.train_student(batch, [0.7], targets)
    assert {kind: len(x) for kind, x in again.shared.items()} == {"finding": 5, "reading": 1}
    assert all(torch.equal(again[name], value) for name, value in losses.items() if name not in ("loss_rpn_cls",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([f"{NODE}.BETA", [[1, 1], [1]]], r"BETA must be lists of weights >= 0, 4 of crops, 3 of columns, got"),
        ([f"{NODE}.BETA_LR", 0.0], "AGGREGATION.BETA_LR must be positive"),
        ([f"{NODE}.GAMMA_ST", 0.0, f"{NODE}.GAMMA_TS", 0.0], "GAMMA_ST or GAMMA_TS must be positive"),
        ([f"{NODE}.SEARCH_STEPS", -1], "SEARCH_STEPS must be at least 0, got -1"),
        (["MODEL.DISTILLATION.ROI_WEIGHT", 0.0, "MODEL.DISTILLATION.CONTEXT_WEIGHT", 0.0], "ROI_WEIGHT or CONTEXT_WEIGHT"),
    ],
)
def test_what_cannot_be_aggregated_is_one_line(cfg, options, message):
    with pytest.raises(ValueError, match=message) as error:
        build(cfg, *ON, *options)
    assert "\n" not in str(error.value)
