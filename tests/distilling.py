"""The distiller of the suite: how it is built, what it is fed, what its steps hand to each other."""

from __future__ import annotations

import torch
from detectron2.modeling import build_model

import dld.modeling  # noqa: F401  only registration
from dld.modeling.meta_arch.annotated_batch import AnnotatedBatch
from dld.modeling.meta_arch.distill import DistillMetaArch
from dld.modeling.recognition.teacher_targets import TeacherTargets

SCALES = [0.4, 0.7, 1.0]
# pairs of the words of a picture and the positions of those that are ignored
WORDS = (("stone", "river"), ())
SCENES = {
    "words": [WORDS, WORDS],
    "one image without words": [WORDS, ((), ())],
    "no words in the batch": [((), ()), ((), ())],
    "every word ignored": [(("stone", "river"), (0, 1)), (("exit",), (0,))],
}
# a spotter that is trained with a reader of strips
STRIPS = [
    "MODEL.RECOGNITION.NAME",
    "StripRecognizer",
    "INPUT.SIDE_POINTS",
    5,
    "MODEL.STRIPS.TRAINING.DECODER_WIDTH",
    16,
    "MODEL.STRIPS.TRAINING.ROWS",
    [16, 24],
    "MODEL.STRIPS.WEIGHTS",
    "",
]
DETECTION = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
READING = {"loss_rec", "loss_ctc"}
DISTILLATION = {"loss_kd_roi", "loss_kd_context", "loss_kd_sequence"}
# where the teacher's layers are aggregated
AGGREGATED = {"loss_kd_crops", "loss_kd_columns", "loss_kd_sequence"}


def as_distiller(cfg):
    """Turn the configuration of a spotter into that of a distiller of three scales with a small selector, in place."""
    cfg.MODEL.META_ARCHITECTURE = "DistillMetaArch"
    cfg.MODEL.SELECTOR.SCALES, cfg.MODEL.SELECTOR.RESOLUTION.CHANNELS = SCALES, [8, 16]
    return cfg


def build(cfg, *opts) -> DistillMetaArch:
    cfg.merge_from_list(list(opts))
    torch.manual_seed(0)
    return build_model(cfg).train()


def ask(model: DistillMetaArch, batch: list[dict]) -> TeacherTargets | None:
    return model.ask_teacher(model.annotate(batch))


def parts(model: DistillMetaArch, batch: list[dict]) -> tuple[AnnotatedBatch, TeacherTargets]:
    """What the steps of `forward` hand to each other."""
    annotated = model.annotate(batch)
    return annotated, model.ask_teacher(annotated)


def awaken(model: DistillMetaArch) -> DistillMetaArch:
    """Untrained recognisers tell all words apart but little: larger weights make what they see count."""
    with torch.no_grad():
        for spotter in (model.teacher, model.student):
            for name, weight in spotter.named_parameters():
                if weight.dim() > 1 and name.startswith(("roi_heads.recognizer", "backbone")):
                    weight *= 2
    return model


def read_right(targets: TeacherTargets, *correct: bool) -> TeacherTargets:
    """As if the teacher, untrained here, read these words right."""
    return targets._replace(correct=torch.tensor(correct))


def statistics(module) -> dict:
    """Of batch norm."""
    return {k: v.clone() for k, v in module.state_dict().items() if "running_" in k or "num_batches" in k}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def check_losses_and_gradients(model: DistillMetaArch, batch: list[dict]):
    """The losses of a step; all are finite, and every weight gets a finite gradient."""
    model.zero_grad()
    losses = model(batch)
    assert all(v.dim() == 0 and torch.isfinite(v) for v in losses.values()), losses
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, "distributed training waits for ever for a weight without gradient"
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    return losses
