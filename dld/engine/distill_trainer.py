"""Training loop of DLD: asks the frozen teacher, hands its targets to the model, anneals, searches among the teacher's layers,
measures and balances the losses' gradients, logs the chosen scales."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from detectron2.engine import HookBase
from detectron2.utils.events import get_event_storage
from torch import nn

from dld.engine.checkpoint import WholeSpotterCheckpointer, names_of_own
from dld.engine.fit_blocks import FitBlocks
from dld.engine.gradient_shares import ShareBalance, configured_balance, gradient_norms, gradient_shares
from dld.engine.preflight import teacher_weights
from dld.engine.train_step import StepTrainer
from dld.engine.trainer import SpotterTrainer
from dld.modeling.layers.parsimonious import ParsimoniousConv
from dld.modeling.meta_arch.layer_aggregation import LayerAggregation
from dld.weights import load_weights_file

__all__ = ["DistillStep", "DistillTrainer", "LayerShares", "ScaleHistogram", "SelectorSchedule"]

logger = logging.getLogger(__name__)


class DistillStep(StepTrainer):
    """One step: the teacher's targets of the batch first (beams, character logits, features), then the model.

    Where layers are aggregated every second step of the search is of beta alone.

    Attributes:
        shares_period: steps from one measurement of the losses' gradients to the next; 0: none.
        balance: scales losses by what was measured; None: they keep their weights.
    """

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.shares_period = 0
        self.balance: ShareBalance | None = None
        self.beta_optimizer: torch.optim.Optimizer | None = None

    def search_layers(self, rate: float) -> None:
        """Let beta of the model learn by Adam at this rate; it is a buffer, which the optimizer of the weights leaves alone."""
        aggregation = self.unwrapped_model.aggregation
        if aggregation is not None and aggregation.searched:
            self.beta_optimizer = torch.optim.Adam([aggregation.beta(name) for name in aggregation.searched], rate)

    def run_step(self) -> None:
        model = self.unwrapped_model
        if model.aggregation is not None:
            model.aggregation.begin_step(self.iter)
        model.keeps_shared = bool(self.shares_period) and self.iter % self.shares_period == 0
        super().run_step()

    @property
    def moves_beta(self) -> bool:
        """Whether this step is of beta, not of the weights."""
        aggregation = self.unwrapped_model.aggregation
        return aggregation is not None and aggregation.moves_beta

    def losses(self, data: list[dict]) -> dict[str, torch.Tensor]:
        model = self.unwrapped_model
        batch = model.annotate(data)
        targets = model.ask_teacher(batch)
        # past the distributed wrapper, which would wait for gradients of the weights
        return model.search_losses(batch, targets) if self.moves_beta else self.model(batch, targets)

    def weighted(
        self, losses: dict[str, torch.Tensor], shared: Mapping[str, list[torch.Tensor]] | None
    ) -> dict[str, torch.Tensor]:
        """Measure the shares of the gradient where it is time for it; scale the losses that have a wanted share."""
        factors = {} if self.balance is None or self.moves_beta else self.balance.factors
        if shared is not None:
            reading, scale = self.unwrapped_model.reading_losses, self.grad_scaler.get_scale()
            norms = gradient_norms(losses, shared, reading, scale)
            if self.balance is not None:
                self.balance.update(norms)
            scaled = {kind: {k: v * factors.get(k, 1.0) for k, v in found.items()} for kind, found in norms.items()}
            for name, share in gradient_shares(scaled).items():
                get_event_storage().put_scalar(f"gradient_share/{name.removeprefix('loss_')}", share, smoothing_hint=False)
            for name, factor in factors.items():
                get_event_storage().put_scalar(f"balance/{name.removeprefix('loss_')}", factor, smoothing_hint=False)
        return {name: factors[name] * value if name in factors else value for name, value in losses.items()}

    def update(self, total: torch.Tensor, loss_dict: dict[str, torch.Tensor], data: list[dict]) -> None:
        """Learn as always, or, in a step of beta, move beta alone: its gradient is the mean over the processes."""
        if not self.moves_beta:
            super().update(total, loss_dict, data)
            return
        aggregation = self.unwrapped_model.aggregation
        assert self.beta_optimizer is not None, "search_layers was called"
        self.learn_alone(aggregation.beta(aggregation.group), self.beta_optimizer, total, loss_dict, data)

    def state_dict(self) -> dict:
        ret = super().state_dict()
        if self.beta_optimizer is not None:
            ret["beta_optimizer"] = self.beta_optimizer.state_dict()
        if self.balance is not None:
            ret["balance"] = self.balance.state_dict()
        return ret

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if self.beta_optimizer is not None and "beta_optimizer" in state_dict:
            self.beta_optimizer.load_state_dict(state_dict["beta_optimizer"])
        if self.balance is not None:
            self.balance.load_state_dict(state_dict.get("balance", {}))


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


class LayerShares(HookBase):
    """Shares of the teacher's layers in the aggregates, the shallowest first, as scalars and as one line a group and scale.

    They are logged every `period` steps of the search and at its end; where nothing is searched, before the first step.
    """

    def __init__(self, aggregation: LayerAggregation, period: int = 100) -> None:
        self.aggregation, self.period = aggregation, period

    def before_train(self) -> None:
        if self.trainer.start_iter >= self.aggregation.search_steps:
            self.log()

    def after_step(self) -> None:
        done, steps = self.trainer.iter + 1, self.aggregation.search_steps
        if done <= steps and (done % self.period == 0 or done == steps):
            self.log()

    def log(self) -> None:
        """Write the present shares."""
        scales = [f"{scale:g}" for scale in self.aggregation.scales] or [""]
        for group in self.aggregation.groups:
            for scale, shares in zip(scales, self.aggregation.shares(group).tolist(), strict=True):
                for i, share in enumerate(shares, 1):
                    name = "/".join(part for part in ("layers", group, scale, str(i)) if part)
                    self.trainer.storage.put_scalar(name, share, smoothing_hint=False)
                where = f" at scale {scale}" if scale else ""
                logger.info("layers of the %s%s: %s", group, where, "  ".join(f"{share:.1%}" for share in shares))


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
            *(type(spotter.bottom_up).__name__ for spotter in (teacher, student)),
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
        path, balance = teacher_weights(cfg), configured_balance(cfg)
        super().__init__(cfg)
        model, node = self.unwrapped_model, cfg.MODEL.DISTILLATION
        self._trainer.shares_period, self._trainer.balance = node.GRADIENT_SHARES_PERIOD, balance
        self._trainer.search_layers(node.AGGREGATION.BETA_LR)
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

        MODEL.WEIGHTS may be a student with its selector, or a plain spotter for the student to start from. Parsimonious blocks
        that none of them holds are fitted to the teacher's convolutions before the first step.
        """
        super().resume_or_load(resume)
        path, model = self.cfg.MODEL.WEIGHTS, self.unwrapped_model
        if self.start_iter:
            return
        if not path:
            start_as(model.student, model.teacher)
        else:
            given = load_weights_file(path, self.cfg.MODEL.TRUST_PICKLE)["model"]
            whole = any(name.startswith("student.") for name in given)
            if not whole:
                logger.info("the student starts from the spotter %s", path)
                self._load_spotter(model.student, path)
            blocks = [name for name, part in model.student.named_modules() if isinstance(part, ParsimoniousConv)]
            self._fit.names = [name for name in blocks if whole and f"student.{name}.pointwise.weight" not in given]
            if whole:
                return
        if model.selector is not None:
            # of a student with fewer channels the stages do not fit
            whole = model.teacher if self.cfg.MODEL.PRUNED_WIDTHS else model.student
            model.selector.start_from_spotter(self.cfg, whole.bottom_up.state_dict())

    @classmethod
    def clip_groups(cls, model: nn.Module) -> list[list[nn.Parameter]]:
        """Return student and selector apart: straight-through gradients of the selector would shrink the student's."""
        groups = [model.student, *([model.selector] if model.selector is not None else [])]
        trained = [[p for p in group.parameters() if p.requires_grad] for group in groups]
        if model.aggregation is not None:
            trained[0] += model.aggregation.parameters()
        return trained

    def clip_norms(self) -> list[float]:
        cfg = self.cfg
        norms = super().clip_norms()
        return norms if not cfg.MODEL.SELECTOR.ENABLED else [*norms, cfg.MODEL.SELECTOR.CLIP_VALUE]

    def build_hooks(self) -> list:
        """Build the hooks of SpotterTrainer, with the fit of new blocks before all else, and temperature and scale histogram in
        front of the writers."""
        model = self.unwrapped_model
        ours = [*([SelectorSchedule()] if model.selects else []), ScaleHistogram(model.scales)]
        if model.aggregation is not None:
            ours.append(LayerShares(model.aggregation))
        inherited = super().build_hooks()
        self._fit = FitBlocks(self.cfg.MODEL.PARSIMONIOUS.FIT_BATCHES)
        return [self._fit, *inherited[:2], *ours, *inherited[2:]]
