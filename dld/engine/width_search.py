"""The search of widths in a training: indicators learn beside the weights, and at its end the spotter is cut.

As in DAIS (arXiv 2011.02166) the two alternate, first order: every step moves the weights by a training batch and then the
indicators by a batch that taught no weights.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dld.engine.process_average import averaged_over_processes
from dld.engine.search_options import KEY, SearchOptions, validation_config
from dld.modeling.compression.indicators import Indicators, temperature, tolerance_of
from dld.modeling.compression.prunable import Prunable, cut
from dld.modeling.compression.thinning import uniform_widths
from dld.modeling.compression.width_cost import WidthCost, network_flops
from dld.modeling.compression.widths import cut_config
from dld.modeling.meta_arch.spotter import Spotter
from dld.structures.image_sizes import padded_size, photo_size

__all__ = ["CutWidths", "SearchWidths", "checked_share", "renew_norms", "searched_channels", "spotter_of"]

logger = logging.getLogger(__name__)

LOG_PERIOD = 50
# batches of the validation data begin here: no training gets so far
FAR_AWAY = 10**9
# of Adam: gradients of the indicators change with the temperature, so their size is remembered for 100 steps, not 1,000
BETAS = (0.9, 0.99)
# indicators between these are undecided
UNDECIDED = (0.02, 0.98)
LAW_TOLERANCE = 0.01


def spotter_of(model: nn.Module) -> Spotter:
    """Return the spotter of a model that is trained: a student, or the model itself."""
    return getattr(model, "student", model)


def reference_image(cfg: CfgNode, spotter: Spotter) -> tuple[tuple[int, int], int]:
    """Return the padded size and the number of words of the picture that widths are priced on: 4:3, at the size of test."""
    size = photo_size(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    return padded_size(size, spotter.size_divisibility), round(cfg.MODEL.SELECTOR.EXPECTED_WORDS)


def searched_channels(cfg: CfgNode, spotter: Spotter, where: tuple[str, ...]) -> tuple[dict[str, Prunable], WidthCost]:
    """Return the channels that are searched, those that cost something, and their cost.

    Raises:
        ValueError: there are none in one of the places.
    """
    channels = spotter.prunable_channels()
    cost = WidthCost.measure(spotter, channels, *reference_image(cfg, spotter))
    chosen = {name: kind for name, kind in channels.items() if name in cost.counted and (not where or kind.place in where)}
    for place in where or ("",):
        if not any(place in ("", kind.place) for kind in chosen.values()):
            raise ValueError(f"{KEY}.WHERE {place or '[]'}: this spotter has no channels there that can go and cost something")
    return chosen, cost.among(chosen)


class SearchWidths(HookBase):
    """Puts gates into a spotter and moves them after each step of the weights; checkpoints hold their state.

    Args:
        cfg, options: of the training.
        model: which has the spotter.

    Raises:
        ValueError: no widths of this spotter cost as little as MODEL.COMPRESSION.RHO.
    """

    def __init__(self, cfg: CfgNode, options: SearchOptions, model: nn.Module) -> None:
        self.cfg, self.options, spotter = cfg, options, spotter_of(model)
        self.channels, self.cost = searched_channels(cfg, spotter, options.where)
        try:
            uniform_widths(self.channels, self.cost, options.rho)
        except ValueError as error:
            raise ValueError(f"{KEY}.RHO: {error}") from error
        self.indicators = Indicators(self.channels, spotter.device)
        self.optimizer = torch.optim.Adam([self.indicators.alpha], options.rate, BETAS)
        self.batches: Iterator[list[dict]] = iter(())
        self.done = 0.0  # share of the search

    @property
    def counts(self) -> dict[str, int]:
        """Number of channels of each layer that is searched."""
        return {name: kind.channels for name, kind in self.channels.items()}

    def state_dict(self) -> dict:
        alpha = self.indicators.alpha.detach().clone()
        return {"alpha": alpha, "channels": self.counts, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Go on with a search of the same channels; the rate of alpha is that of the configuration.

        Raises:
            ValueError: it searched other channels, or is of an earlier version, which did not say which.
        """
        if "channels" not in state:
            raise ValueError(f"the checkpoint is of a search of an earlier version, which cannot go on: begin it anew ({KEY})")
        if state["channels"] != self.counts:
            raise ValueError(
                f"{KEY}.WHERE must stay as it was to go on with a search: it searched {len(state['channels'])} layers, this "
                f"one searches {len(self.channels)}"
            )
        with torch.no_grad():
            self.indicators.alpha.copy_(state["alpha"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.optimizer.param_groups[0]["lr"] = self.options.rate

    def before_train(self) -> None:
        trainer = self.trainer
        self.indicators.attach(spotter_of(trainer.unwrapped_model))
        loader = trainer.build_train_loader(validation_config(self.cfg))
        loader.batch_sampler.start_iteration = FAR_AWAY + max(trainer.start_iter - self.options.first, 0)
        self.batches = iter(loader)
        total = sum(self.counts.values())
        logger.info(
            "searching the widths of %d layers, %d channels, for %.2f of %.2f GFLOPs; indicators learn from iteration %d on, "
            "at a rate of %.2g",
            len(self.channels),
            total,
            self.options.rho * self.cost.full / 1e9,
            self.cost.full / 1e9,
            self.options.first,
            self.options.rate,
        )

    def before_step(self) -> None:
        self.done = (self.trainer.iter - self.options.first) / max(self.options.steps - 1, 1)
        self.indicators.temperature = temperature(self.done, self.options.last_temperature)
        self.indicators.refresh()

    def after_step(self) -> None:
        if self.trainer.iter >= self.options.first:
            self.learn(next(self.batches))
        self._log()

    def learn(self, data: list[dict]) -> None:
        """Move alpha by the losses of a batch, the penalty of the cost and the mean of all indicators."""
        step, options, indicators = self.trainer._trainer, self.options, self.indicators
        indicators.refresh(learning=True)
        # the weights get no gradients here, for which the wrapper would wait
        alone = step.model.no_sync() if isinstance(step.model, DistributedDataParallel) else nullcontext()
        with alone, step.precision():
            losses = step.weighted(averaged_over_processes(step.losses(data)), None)
        task = sum(losses.values())
        step.check(task, losses, data, "loss of the indicators")
        share = self.cost.expected(indicators.shares()) / self.cost.full
        tolerance = tolerance_of(self.done, options.tolerance)
        total = task + indicators.price(share, options.rho, tolerance, options.cost_weight, options.mean_weight)
        step.learn_alone(indicators.alpha, self.optimizer, total, losses, data)
        indicators.refresh()
        self.trainer.storage.put_scalar("widths/loss", float(task.detach()))

    def _log(self) -> None:
        values, storage = self.indicators.all_values, self.trainer.storage
        cost = float(self.cost.expected(self.indicators.shares()) / self.cost.full)
        undecided = float(((values > UNDECIDED[0]) & (values < UNDECIDED[1])).float().mean())
        kept = float((values > 0.5).float().mean())
        for name, value in (("cost", cost), ("kept", kept), ("undecided", undecided)):
            storage.put_scalar(f"widths/{name}", value, smoothing_hint=False)
        storage.put_scalar("widths/temperature", self.indicators.temperature, smoothing_hint=False)
        done = self.trainer.iter + 1
        if done % LOG_PERIOD == 0 or done == self.trainer.max_iter:
            logger.info(
                "widths: cost %.3f of all (wanted %.3f), %.1f %% of the channels stay, %.1f %% undecided, temperature %.3f",
                cost,
                self.options.rho,
                100 * kept,
                100 * undecided,
                self.indicators.temperature,
            )


class CutWidths(HookBase):
    """At the end of a search takes the gates out and writes `model_cut.pth`: the spotter without the channels that go.

    Stands behind all hooks that use the gated spotter.

    Args:
        search: whose channels they are.
        checkpointer: of the training; its configuration goes into the file with the new widths.
    """

    def __init__(self, search: SearchWidths, checkpointer) -> None:
        self.search, self.checkpointer = search, checkpointer

    def after_train(self) -> None:
        search, trainer = self.search, self.trainer
        search.indicators.detach()
        if trainer.iter + 1 < trainer.max_iter:
            return
        kept = search.indicators.kept()
        narrow = copy.deepcopy(trainer.unwrapped_model)
        spotter = spotter_of(narrow)
        cut(spotter, search.channels, kept)
        widths = {name: len(index) for name, index in kept.items()}
        share = checked_share(search.cfg, spotter, search.channels, search.cost, widths)
        count = renew_norms(narrow, search.batches, search.options.norm_batches, trainer._trainer.precision)
        if count:
            logger.info("%d batch norms have statistics of %d batches", count, search.options.norm_batches)
        for name, kind in search.channels.items():
            logger.info("%s: %d of %d channels stay", name, widths.get(name, kind.channels), kind.channels)
        if share > search.options.rho * 1.05:
            logger.warning(
                "the cut spotter costs %.3f of all, not %.3f: more steps (SOLVER.MAX_ITER), a larger %s.COST_WEIGHT "
                "or a higher %s.ALPHA_LR give the search more room",
                share,
                search.options.rho,
                KEY,
                KEY,
            )
        else:
            logger.info("the cut spotter costs %.3f of all", share)
        cfg = cut_config(search.cfg, kept, trainer.unwrapped_model)
        file = type(self.checkpointer)(narrow, self.checkpointer.save_dir, extra={"config": cfg.dump()})
        file.save("model_cut", is_last=False, iteration=trainer.max_iter - 1)


def checked_share(
    cfg: CfgNode, spotter: Spotter, channels: dict[str, Prunable], cost: WidthCost, widths: dict[str, int]
) -> float:
    """Return the counted cost of a cut spotter as a share of the full one.

    Raises:
        ValueError: it differs by more than 1 % from the closed form.
    """
    share = network_flops(spotter, *reference_image(cfg, spotter), [])[0] / cost.full
    law = cost.share_of(widths, channels)
    if abs(share - law) > LAW_TOLERANCE * share:
        raise ValueError(f"the cost of widths is not what was expected: {law:.4f} of all, counted {share:.4f}")
    return share


@torch.no_grad()
def renew_norms(model: nn.Module, batches: Iterator[list[dict]], count: int, precision=nullcontext) -> int:
    """Let batch norm in training mode learn its statistics anew: means over `count` batches.

    Args:
        model: in training mode; returns losses for a batch.
        precision: makes the context in which it runs.

    Returns:
        the number of such norms.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if not (norms and count):
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean of all batches
    for _ in range(count):
        with precision():
            model(next(batches))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return len(norms)
