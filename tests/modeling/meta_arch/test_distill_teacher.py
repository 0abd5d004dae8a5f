"""The frozen teacher, and what a training step leaves untouched."""

import copy

import pytest
import torch
from distilling import WORDS, ask, build, parts, same, statistics


def test_the_teacher_is_no_part_of_the_model(cfg):
    model = build(cfg)
    teachers = {id(x) for x in (*model.teacher.parameters(), *model.teacher.buffers(), *model.teacher.modules())}
    assert not teachers & {id(x) for x in (*model.parameters(), *model.buffers(), *model.modules())}
    assert {name.split(".")[0] for name in model.state_dict()} == {"student", "selector", "mu"}
    assert len([n for n in model.state_dict() if n.startswith("student.")]) == len(model.teacher.state_dict())
    for mode in (True, False, True):
        model.train(mode)
        assert not any(m.training for m in model.teacher.modules())
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_the_teacher_follows_to_another_type_and_device(cfg):
    model = build(cfg)
    other = copy.deepcopy(model).double()
    assert other.teacher is not model.teacher
    assert {p.dtype for p in other.teacher.parameters()} == {torch.float64}
    assert {p.dtype for p in model.teacher.parameters()} == {torch.float32}
    other.to("meta")
    assert other.teacher.device == other.student.device == torch.device("meta")
    assert {p.device.type for p in other.teacher.parameters()} == {"meta"}


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen norm", "free norm"])
def test_what_training_steps_leave_untouched(cfg, make_batch, storage, freeze):
    model = build(cfg, "MODEL.DISTILLATION.FREEZE_NORM", freeze)
    batch = make_batch(WORDS, WORDS)
    teacher = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    before, weights = statistics(model.student), model.student.backbone.fpn_output2.weight.clone()
    modes = [m.training for m in model.modules()]
    model.compare_scales(*parts(model, batch))
    assert same(statistics(model.student), before), "passes without gradient touch no batch-norm statistics"
    assert [m.training for m in model.modules()] == modes
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        sum(model(batch, ask(model, batch)).values()).backward()
        optimizer.step()
    assert same(dict(model.teacher.state_dict()), teacher)
    assert all(p.grad is None for p in model.teacher.parameters())
    assert not torch.equal(model.student.backbone.fpn_output2.weight, weights)
    assert same(statistics(model.student), before) == freeze


def test_an_evaluation_between_two_steps_does_not_thaw_the_norms(cfg):
    model = build(cfg)
    model.eval()
    model.train()
    norms = [m for m in model.student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms) and model.training and model.student.training
