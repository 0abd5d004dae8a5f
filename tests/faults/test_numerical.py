"""Numbers that are not finite stop a run with all that is known about them; improbable words do not make them."""

import json
import math
import os
import shutil

import pytest
import torch
from distilling import as_distiller

from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.distill_trainer import DistillTrainer
from dld.engine.train_step import NonFiniteLossError
from dld.engine.trainer import SpotterTrainer
from dld.modeling.losses.feature_distillation import character_kl
from dld.modeling.losses.recognition import attention_loss, ctc_loss
from dld.modeling.losses.sequence_distillation import sequence_distillation_loss, sequence_log_probabilities

END, PAD, CLASSES, LENGTH = 0, 97, 97, 32


def improbable(probability, *shape):
    """Logits under which class 1 has this probability and the others share the rest."""
    logits = torch.zeros(*shape, CLASSES, dtype=torch.float64)
    logits[..., 1] = math.log(probability) - math.log((1 - probability) / (CLASSES - 1))
    return logits.float().requires_grad_()


@pytest.fixture
def word():
    """One word of 32 characters, all of class 1, without an end."""
    return torch.ones(1, LENGTH, dtype=torch.int64)


@pytest.mark.parametrize("probability", [1e-30, 1e-30 ** (1 / LENGTH)], ids=["of a character", "of the word"])
def test_losses_of_improbable_words_are_what_they_are_in_log_space(word, probability):
    each = -math.log(probability)
    logits = improbable(probability, 1, LENGTH)
    assert attention_loss(logits, word, PAD).item() == pytest.approx(each, rel=1e-4)
    assert sequence_log_probabilities(logits, word, PAD).item() == pytest.approx(-each * LENGTH, rel=1e-4)
    beams = improbable(probability, 1, 3, LENGTH)
    ids, scores = word[:, None].expand(1, 3, -1), torch.tensor([[-1.0, -5.0, -1000.0]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    for form, expected in (("weighted", each), ("paper", each * LENGTH - math.log(3))):
        loss = sequence_distillation_loss(beams, ids, scores, valid, PAD, form=form)
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        (gradient,) = torch.autograd.grad(loss, beams)
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_ctc_and_kl_of_improbable_words_are_finite(word):
    logits = improbable(1e-30, 1, 80)
    loss = ctc_loss(logits, word, PAD, END)
    loss.backward()
    assert loss.item() > 60 and torch.isfinite(logits.grad).all()
    # the teacher is sure of what the student takes for impossible: KL = -log 1e-30
    sure = improbable(1 - 1e-7, 1, LENGTH).detach()
    kl = character_kl(improbable(1e-30, 1, LENGTH), sure, torch.ones(1, LENGTH, dtype=torch.bool))
    assert kl.item() == pytest.approx(-math.log(1e-30), rel=1e-3)


@pytest.fixture
def cfg(tiny_cfg, small_set):
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    return tiny_cfg


@pytest.fixture
def distill_cfg(cfg, tmp_path):
    teacher = SpotterTrainer.build_model(cfg)
    SpotterCheckpointer(teacher, str(tmp_path)).save("teacher")
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / "teacher.pth")
    return as_distiller(cfg)


def report_of(trainer):
    names = [name for name in os.listdir(trainer.cfg.OUTPUT_DIR) if name.startswith("non_finite")]
    assert len(names) == 1, names
    with open(os.path.join(trainer.cfg.OUTPUT_DIR, names[0])) as f:
        return json.load(f)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_injected_loss_stops_the_distiller_with_scales_and_images(distill_cfg, value):
    trainer = DistillTrainer(distill_cfg)
    trainer.resume_or_load(False)
    compute = trainer._trainer.losses

    def with_another(data):
        losses = compute(data)
        losses["loss_injected"] = torch.tensor(value)
        return losses

    trainer._trainer.losses = with_another
    before = {k: v.clone() for k, v in trainer.unwrapped_model.state_dict().items()}
    with pytest.raises(NonFiniteLossError, match="loss is not finite"):
        trainer.train()
    report = report_of(trainer)
    assert report["iteration"] == 0 and report["what"] == "loss" and len(report["images"]) == 2
    assert len(report["scales"]) == 2 and set(report["scales"]) <= {0.4, 0.7, 1.0}
    assert not math.isfinite(report["losses"]["loss_injected"]) and math.isfinite(report["losses"]["loss_rec"])
    assert all(torch.equal(v, before[k]) for k, v in trainer.unwrapped_model.state_dict().items()), "nothing was updated"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_injected_gradient_stops_too(cfg, value):
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(False)
    trainer.model.roi_heads.recognizer.decoder.output.bias.register_hook(lambda g: g * value)
    with pytest.raises(NonFiniteLossError, match="gradient is not finite"):
        trainer.train()
    report = report_of(trainer)
    assert report["what"] == "gradient" and all(map(math.isfinite, report["losses"].values())) and len(report["images"]) == 2


def test_proposals_that_are_not_finite_leave_a_report(cfg):
    # detectron2 raises inside the forward pass, before there is any loss
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(False)
    trainer.model.proposal_generator.rpn_head.anchor_deltas.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="Training has diverged"):
        trainer.train()
    report = report_of(trainer)
    assert report["iteration"] == 0 and len(report["images"]) == 2


def test_the_report_is_not_lost_with_its_folder(cfg):
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(False)
    shutil.rmtree(cfg.OUTPUT_DIR)
    trainer._trainer.losses = lambda data: {"loss": torch.tensor(float("nan"), requires_grad=True)}
    with pytest.raises(NonFiniteLossError, match=r"(?s)not written to .*drawn_\d.png"):
        trainer.train()


def test_bfloat16_training_stays_finite(cfg):
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR = True, 12, 0.005
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(False)
    trainer.train()
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    assert len(losses) == 12 and all(map(math.isfinite, losses))
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
