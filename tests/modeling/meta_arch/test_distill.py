"""Every scene and every configuration of the distiller."""

from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import CfgNode
from distilling import (
    AGGREGATED,
    DETECTION,
    DISTILLATION,
    READING,
    SCALES,
    SCENES,
    WORDS,
    ask,
    build,
    check_losses_and_gradients,
    same,
    statistics,
)

ABLATIONS = sorted((Path(__file__).parents[3] / "configs" / "ablations").glob("*.yaml"))


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_gives_finite_losses_and_a_gradient_for_every_weight(cfg, make_batch, storage, scene):
    losses = check_losses_and_gradients(build(cfg), make_batch(*SCENES[scene]))
    assert set(losses) == DETECTION | READING | DISTILLATION | {"loss_selector"}
    if scene in ("no words in the batch", "every word ignored"):
        assert all(losses[name] == 0 for name in READING | DISTILLATION)


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_every_ablation_trains_all_that_it_says(cfg, make_batch, storage, path):
    cfg.merge_from_other_cfg(CfgNode({"MODEL": yaml.safe_load(path.read_text())["MODEL"]}))
    model = build(cfg)
    for scene in ("one image without words", "every word ignored"):
        losses = check_losses_and_gradients(model, make_batch(*SCENES[scene]))
    assert ("loss_selector" in losses) == (path.stem not in ("skd_only", "vanilla_multiscale"))
    distilled = AGGREGATED if path.stem.startswith("dfa") else DISTILLATION
    assert (set(losses) >= distilled) == (path.stem not in ("drs_only", "vanilla_multiscale"))
    assert set(losses) >= DETECTION | READING and set(losses.scales) <= set(SCALES)


def test_a_selector_of_backbone_stages_is_trained_like_any_other(cfg, make_batch, storage):
    model = build(cfg, "MODEL.SELECTOR.NAME", "BackboneSelector")
    batch = make_batch(*SCENES["one image without words"])
    before = statistics(model.selector)
    assert before and "loss_selector" in check_losses_and_gradients(model, batch)
    assert same(statistics(model.selector), before)


def test_bfloat16_is_close_to_float32(cfg, make_batch, storage):
    model, batch = build(cfg, "MODEL.SELECTOR.FIXED_SCALE", 0.7), make_batch(WORDS, WORDS)
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(batch)
    sum(half.values()).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    for name in ("loss_rec", "loss_kd_sequence", "loss_kd_roi", "loss_rpn_cls"):
        assert half[name].item() == pytest.approx(exact[name].item(), rel=0.1), name


def test_the_model_asks_the_teacher_itself_where_the_trainer_did_not(cfg, make_batch, storage):
    model, batch = build(cfg), make_batch(WORDS, WORDS)
    results = []
    for targets in (ask(model, batch), None):
        torch.manual_seed(3)
        results.append({k: v.item() for k, v in model(batch, targets).items()})
    assert results[0] == results[1]


def test_selector_and_student_are_trained_by_their_own_losses(cfg, make_batch, storage):
    model, batch = build(cfg), make_batch(WORDS, WORDS)
    torch.nn.init.normal_(model.selector.head.weight)
    loss = model(batch)["loss_selector"]
    loss.backward()
    assert all(p.grad is None for p in model.student.parameters())
    assert all(p.grad is not None for p in model.selector.parameters())
    model.zero_grad()
    losses = model(batch)
    sum(v for k, v in losses.items() if k != "loss_selector").backward()
    assert all(p.grad is None for p in model.selector.parameters())


@pytest.mark.parametrize(
    ("key", "value"),
    [("MODEL.SELECTOR.RESOLUTION.FORM", "argmax"), ("MODEL.DISTILLATION.SEQUENCE_TARGETS", "top1")],
)
def test_unknown_forms_are_named(cfg, key, value):
    with pytest.raises(ValueError, match=f"{key.rpartition('.')[2]} .*must be .* got '{value}'"):
        build(cfg, key, value)
