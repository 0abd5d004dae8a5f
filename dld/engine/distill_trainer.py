"""Training loop of DLD: asks the frozen teacher, hands its targets to the model, anneals, logs the chosen scales."""

from __future__ import annotations

import logging

import torch
from detectron2.engine import HookBase
from torch import nn

from dld.engine.checkpoint import WholeSpotterCheckpointer, names_of_own
from dld.engine.preflight import teacher_weights
from dld.engine.train_step import StepTrainer
from dld.engine.trainer import SpotterTrainer
from dld.weights import load_weights_file

__all__ = ["DistillStep", "DistillTrainer", "ScaleHistogram", "SelectorSchedule"]

logger = logging.getLogger(__name__)


class DistillStep(StepTrainer):
    """One step: the teacher's targets of the batch first (beams, character logits, features), then the model."""

    def losses(self, data: list[dict]) -> dict[str, torch.Tensor]:
        model = self.unwrapped_model
        batch = model.annotate(data)
        return self.model(batch, model.ask_teacher(batch))


class SelectorSchedule(HookBase):
    """Tells the selector how much of training is done; a temperature that follows from it is logged.

    It follows from the iteration, so a resumed run has the temperature of the unbroken one.
    """

    def before_step(self) -> None:
        progress = self.trainer.iter / max(self.trainer.max_iter, 1)
        value = self.trainer.unwrapped_model.selector.anneal(progress)
        if value is not None:
            self.trainer.storage.put_scalar("selector/temperature", value, smoothing_hint=False)


class ScaleHistogram(HookBase):
    """Shares of the training scales since the last log, as scalars and as one line."""

    def __init__(self, scales: tuple[float, ...], period: int = 100) -> None:
        self.scales, self.period = scales, period
        self.counts = dict.fromkeys(scales, 0)

    def after_step(self) -> None:
        for scale in self.trainer.last_scales or ():
            self.counts[scale] = self.counts.get(scale, 0) + 1
        if (self.trainer.iter + 1) % self.period:
            return
        total = max(sum(self.counts.values()), 1)
        for scale, count in self.counts.items():
            self.trainer.storage.put_scalar(f"scale/{scale:g}", count / total, smoothing_hint=False)
        mean = sum(s * c for s, c in self.counts.items()) / total
        shares = "  ".join(f"{s:g}: {c / total:.0%}" for s, c in sorted(self.counts.items()))
        logger.info("training scales: mean %.3f  %s", mean, shares)
        self.counts = dict.fromkeys(self.counts, 0)


def start_as(student: nn.Module, teacher: nn.Module) -> None:
    """Give the student the teacher's weights of the same name and shape; the others stay as they are, with a warning.

    The warning names the two networks that find: of another one hardly any weight fits.
    """
    own, given = student.state_dict(), names_of_own(student, teacher.state_dict())
    shared = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    student.load_state_dict({**own, **shared})
    if len(shared) < len(own):
        logger.warning(
            "teacher and student differ: %d of the student's %d weights start as the teacher's, the others from random numbers "
            "(MODEL.BACKBONE: teacher %s, student %s)",
            len(shared),
            len(own),
            *(type(spotter.backbone.bottom_up).__name__ for spotter in (teacher, student)),
        )


class DistillTrainer(SpotterTrainer):
    """SpotterTrainer for :class:`~dld.modeling.meta_arch.distill.DistillMetaArch`.

    Raises:
        ValueError: MODEL.DISTILLATION.TEACHER_WEIGHTS is empty (the message says how to train a teacher), or the file
            lacks weights of this configuration's spotter.
        FileNotFoundError, KeyError: there are no such weights.
    """

    step_class = DistillStep
    start_without_weights = "the student starts from the teacher's weights, the selector undecided"

    def __init__(self, cfg) -> None:
        path = teacher_weights(cfg)
        super().__init__(cfg)
        model = self.unwrapped_model
        self._load_spotter(model.teacher, path, ctc_head=cfg.MODEL.DISTILLATION.BEAMS == "ctc")
        if model.cost_table.teacher != model.cost_table.student:
            stored = cfg.clone()
            stored.defrost()
            stored.MODEL.DISTILLATION.TEACHER_COST = model.cost_table.teacher.numbers()
            self.checkpointer.extra["config"] = stored.dump()

    @property
    def last_scales(self) -> list[float] | None:
        """Return the scales at which the images of the last step were read."""
        return self._trainer.last_scales

    def _load_spotter(self, model: nn.Module, path: str, ctc_head: bool = False) -> None:
        try:
            WholeSpotterCheckpointer(
                model,
                charset_transfer=self.cfg.MODEL.CHARSET_TRANSFER,
                trust_pickle=self.cfg.MODEL.TRUST_PICKLE,
                ctc_head=ctc_head,
            ).load(path)
        except ValueError as error:
            if path in str(error):
                raise
            raise ValueError(f"{path}: {error}") from error

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume or load as SpotterTrainer does; with nothing to resume and no MODEL.WEIGHTS the student starts as the teacher.

        MODEL.WEIGHTS may be a student with its selector, or a plain spotter for the student to start from.
        """
        super().resume_or_load(resume)
        path, model = self.cfg.MODEL.WEIGHTS, self.unwrapped_model
        if self.start_iter:
            return
        if not path:
            start_as(model.student, model.teacher)
        elif not any(name.startswith("student.") for name in load_weights_file(path, self.cfg.MODEL.TRUST_PICKLE)["model"]):
            logger.info("the student starts from the spotter %s", path)
            self._load_spotter(model.student, path)
        else:
            return
        if model.selector is not None:
            model.selector.start_from_spotter(self.cfg, model.student.backbone.bottom_up.state_dict())

    @classmethod
    def clip_groups(cls, model: nn.Module) -> list[list[nn.Parameter]]:
        """Return student and selector apart: straight-through gradients of the selector would shrink the student's."""
        groups = [model.student, *([model.selector] if model.selector is not None else [])]
        return [[p for p in group.parameters() if p.requires_grad] for group in groups]

    def clip_norms(self) -> list[float]:
        cfg = self.cfg
        norms = super().clip_norms()
        return norms if not cfg.MODEL.SELECTOR.ENABLED else [*norms, cfg.MODEL.SELECTOR.CLIP_VALUE]

    def build_hooks(self) -> list:
        """Build the hooks of SpotterTrainer, with temperature and scale histogram in front of the writers."""
        model = self.unwrapped_model
        ours = [*([SelectorSchedule()] if model.selects else []), ScaleHistogram(model.scales)]
        inherited = super().build_hooks()
        return [*inherited[:2], *ours, *inherited[2:]]
