"""Blocks fitted to a teacher's convolutions: by themselves, and before a distillation."""

import logging

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from distilling import as_distiller
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.distill_trainer import DistillTrainer
from dld.engine.fit_blocks import FittedBlock, block_pairs, fit_blocks, run_teacher
from dld.modeling.layers.parsimonious import PLACES, ParsimoniousConv

NAMES = [
    *(f"backbone.fpn_output{i}" for i in (2, 3, 4, 5)),
    "proposal_generator.rpn_head.conv",
    "roi_heads.mask_head.mask_fcn1",
    "roi_heads.recognizer.stem.0",
    *(f"roi_heads.recognizer.encoder.convs.{i}.0" for i in range(4)),
]


def smooth_inputs(count: int, channels: int):
    noise = torch.Generator().manual_seed(3)
    for _ in range(count):
        yield F.interpolate(torch.randn(2, channels, 4, 4, generator=noise), size=(24, 24), mode="bicubic")


@pytest.mark.parametrize("norm", ["", "BN"])
def test_a_random_convolution_is_fitted_on_smooth_inputs(norm):
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 32, 3, padding=1)
    block = ParsimoniousConv(32, 32, inner_norm=norm)
    errors = fit_blocks({"conv": FittedBlock(block, conv)}, smooth_inputs(201, 32), conv, 200)
    before, after = errors["conv"]
    assert before > 0.8 and after < 0.3
    assert not conv._forward_hooks and block.pointwise.weight.grad is None


@pytest.fixture
def cfg(tiny_cfg, small_set, tmp_path):
    """A distillation whose student has blocks everywhere, and the checkpoint of its plain teacher."""
    torch.manual_seed(1)
    SpotterCheckpointer(build_model(tiny_cfg), str(tmp_path), extra={"config": tiny_cfg.dump()}).save("teacher")
    as_distiller(tiny_cfg)
    tiny_cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / "teacher.pth")
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = list(PLACES)
    tiny_cfg.MODEL.PARSIMONIOUS.FIT_BATCHES = 2
    return tiny_cfg


def trainer_of(cfg, resume=False) -> DistillTrainer:
    torch.manual_seed(0)
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(resume)
    return trainer


def test_blocks_and_convolutions_are_paired_by_name(cfg):
    model = trainer_of(cfg).unwrapped_model
    pairs = block_pairs(model.student, model.teacher)
    assert sorted(pairs) == sorted(NAMES)
    assert all(isinstance(pair.conv, nn.Conv2d) and pair.conv.kernel_size == (3, 3) for pair in pairs.values())
    # with a teacher of the same blocks there is nothing to fit
    assert block_pairs(model.student, model.student) == {}
    model.teacher.proposal_generator.rpn_head.conv = nn.Conv2d(16, 8, 3)
    with pytest.raises(ValueError, match=r"rpn_head.conv .16 -> 16 channels. cannot be fitted: .* has one of 16 -> 8"):
        block_pairs(model.student, model.teacher)
    del model.teacher.proposal_generator.rpn_head.conv
    with pytest.raises(ValueError, match="has no such module. MODEL.PARSIMONIOUS.FIT_BATCHES 0 starts"):
        block_pairs(model.student, model.teacher)


def test_the_teacher_runs_every_convolution_and_stays(cfg, make_record):
    trainer = trainer_of(cfg)
    model = trainer.unwrapped_model
    kept = {name: value.clone() for name, value in model.teacher.state_dict().items()}
    others = {n: v.clone() for n, v in model.student.state_dict().items() if not n.startswith(tuple(f"{b}." for b in NAMES))}
    pairs = block_pairs(model.student, model.teacher)
    errors = fit_blocks(pairs, iter(trainer.build_train_loader(cfg)), lambda data: run_teacher(model, data), 12)
    assert sum(after < 0.8 * before for before, after in errors.values()) >= len(NAMES) - 1
    assert all(torch.equal(value, kept[name]) for name, value in model.teacher.state_dict().items())
    assert all(torch.equal(value, model.student.state_dict()[name]) for name, value in others.items())


def test_a_distillation_fits_first_takes_its_steps_and_goes_on_without(cfg, caplog):
    with caplog.at_level(logging.INFO):
        trainer = trainer_of(cfg)
        trainer.train()
    assert "fitting 11 blocks: batch 2 of 2" in caplog.text
    assert sum(line.startswith("fitted ") for line in caplog.messages) == 11
    assert trainer.iter == 2 and all(torch.isfinite(p).all() for p in trainer.unwrapped_model.student.parameters())
    # the teacher costs more, and the checkpoint says how much
    table = trainer.unwrapped_model.cost_table
    assert table.student.per_pixel < table.teacher.per_pixel
    caplog.clear()
    cfg.SOLVER.MAX_ITER = 3
    with caplog.at_level(logging.INFO):
        again = trainer_of(cfg, resume=True)
        again.train()
    assert again.start_iter == 2 and again.iter == 3 and "fitting" not in caplog.text


@pytest.mark.parametrize(
    ("name", "opts", "blocks"),
    [
        ("TextPerceptron", [], ["recognizer.stem.0", *(f"recognizer.encoder.convs.{i}.0" for i in range(4))]),
        ("Mango", ["MODEL.MANGO.GROUPS", 8, "MODEL.RECOGNITION.CTC_WEIGHT", 0.0, "INPUT.CHARACTERS", 10], []),
    ],
)
def test_a_teacher_without_proposals_runs_what_it_has(cfg, tmp_path, name, opts, blocks):
    """Levels that it never computes stay as they are."""
    where = ["fpn", "stem", "encoder"] if blocks else ["fpn"]
    cfg.merge_from_list(["MODEL.SPOTTER", name, "INPUT.SIDE_POINTS", 7, "MODEL.PARSIMONIOUS.WHERE", where, *opts])
    plain = cfg.clone()
    plain.MODEL.META_ARCHITECTURE, plain.MODEL.PARSIMONIOUS.WHERE = name, []
    SpotterCheckpointer(build_model(plain), str(tmp_path), extra={"config": plain.dump()}).save("teacher")
    trainer = trainer_of(cfg)
    model = trainer.unwrapped_model
    pairs = block_pairs(model.student, model.teacher)
    errors = fit_blocks(pairs, iter(trainer.build_train_loader(cfg)), lambda data: run_teacher(model, data), 12)
    fitted = ["backbone.fpn_output2", *blocks]
    assert sorted(errors) == sorted([*fitted, *(f"backbone.fpn_output{i}" for i in (3, 4, 5))])
    assert all(errors[block][1] < errors[block][0] for block in fitted)
    assert all(errors[f"backbone.fpn_output{i}"] == (0.0, 0.0) for i in (3, 4, 5))


def test_weights_that_hold_the_blocks_are_not_fitted_and_others_are(cfg, tmp_path, caplog):
    trainer = trainer_of(cfg)
    SpotterCheckpointer(trainer.unwrapped_model, str(tmp_path)).save("student")
    cfg.MODEL.WEIGHTS = str(tmp_path / "student.pth")
    assert trainer_of(cfg)._fit.names == []
    state = torch.load(cfg.MODEL.WEIGHTS, weights_only=True)
    block = "student.proposal_generator.rpn_head.conv."
    state["model"] = {name: value for name, value in state["model"].items() if not name.startswith(block)}
    torch.save(state, cfg.MODEL.WEIGHTS)
    assert trainer_of(cfg)._fit.names == ["proposal_generator.rpn_head.conv"]
