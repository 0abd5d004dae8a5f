"""Fits a student's parsimonious convolutions to the convolutions of its teacher in whose place they stand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from dld.modeling.layers.parsimonious import ParsimoniousConv
from dld.modeling.meta_arch.spotter import lacks

__all__ = ["FitBlocks", "FittedBlock", "block_pairs", "fit_blocks", "run_teacher"]

logger = logging.getLogger(__name__)

RATE = 0.02
LOG_PERIOD = 20


class FittedBlock(NamedTuple):
    """A block and what it stands for."""

    block: ParsimoniousConv
    conv: nn.Module


class Misfit:
    """Squared error of a block and variance of what it should give, over all calls."""

    def __init__(self) -> None:
        self.error = self.variance = self.given = 0.0
        self.count = 0

    def add(self, given: torch.Tensor, wanted: torch.Tensor) -> None:
        """Add a call's outputs (N, C, H, W)."""
        self.error += float((given - wanted).square().sum())
        self.variance += float((wanted - wanted.mean((0, 2, 3), keepdim=True)).square().sum())
        self.given += float((given - given.mean((0, 2, 3), keepdim=True)).square().sum())
        self.count += wanted.numel()

    @property
    def share(self) -> float:
        """The error as a share of the variance about the mean of each channel."""
        return self.error / max(self.variance, 1e-12)

    @property
    def gain(self) -> float:
        """What makes the block's outputs vary as they should."""
        return (self.variance / self.given) ** 0.5 if self.given > 0 and self.variance > 0 else 1.0

    @property
    def scale(self) -> float:
        """Variance of a value."""
        return max(self.variance / max(self.count, 1), 1e-8)


def block_pairs(student: nn.Module, teacher: nn.Module, names: Sequence[str] | None = None) -> dict[str, FittedBlock]:
    """Return the blocks of the student and the teacher's modules of the same names, without blocks that the teacher has, too.

    Args:
        names: only these.

    Raises:
        ValueError: the teacher has no such module, or one of other widths; the message says what to do.
    """
    others, pairs = dict(teacher.named_modules()), {}
    for name, block in student.named_modules():
        if not isinstance(block, ParsimoniousConv) or (names is not None and name not in names):
            continue
        other = others.get(name)
        if isinstance(other, ParsimoniousConv):
            continue
        widths = (block.in_channels, block.out_channels)
        found = None if other is None else _widths(other)
        if found != widths:
            said = "has no such module" if found is None else f"has one of {found[0]} -> {found[1]} channels"
            raise ValueError(
                f"the student's block {name} ({widths[0]} -> {widths[1]} channels) cannot be fitted: the teacher {said}. "
                "MODEL.PARSIMONIOUS.FIT_BATCHES 0 starts blocks from random weights"
            )
        pairs[name] = FittedBlock(block, other)
    return pairs


def _widths(module: nn.Module) -> tuple[int, int] | None:
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return (convs[0].in_channels, convs[-1].out_channels) if convs else None


def fit_blocks(
    pairs: dict[str, FittedBlock],
    batches: Iterator[Any],
    run: Callable[[Any], object],
    count: int,
    rate: float = RATE,
) -> dict[str, tuple[float, float]]:
    """Fit all blocks at once, each on the inputs of its convolution; blocks that never run stay as they are.

    Every call of a convolution weighs the same, with the error as a share of the variance of its outputs. The rate of Adam
    falls linearly to 0. Norms inside the blocks learn their statistics; a block's last norm keeps those that it has.

    Args:
        pairs: see :func:`block_pairs`.
        batches: of which `count` and one more are taken: on the first the errors are measured.
        run: runs the teacher on a batch.
        count: number of batches.

    Returns:
        error as a share of the variance before and after, by name.
    """
    first = next(batches)
    before = _measure(pairs, first, run)
    for name, pair in pairs.items():
        # blocks begin with outputs that vary as much as those of the convolutions
        _scale_outputs(pair.block, before[name].gain)
    modes = [(m, m.training) for pair in pairs.values() for m in pair.block.modules()]
    weights = [p for pair in pairs.values() for p in pair.block.parameters()]
    frozen = [p for p in weights if not p.requires_grad]
    for p in frozen:
        p.requires_grad_(True)
    optimizer = torch.optim.Adam(weights, rate)
    for pair in pairs.values():
        pair.block.train()
        if pair.block.norm is not None:
            pair.block.norm.eval()
    for step in range(count):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / count)
        optimizer.zero_grad()
        losses: dict[str, list[float]] = {}

        def learn(name: str, x: torch.Tensor, wanted: torch.Tensor, losses=losses) -> None:
            with torch.enable_grad():
                loss = (pairs[name].block(x) - wanted).square().mean() / before[name].scale
            loss.backward()
            losses.setdefault(name, []).append(float(loss.detach()))

        with _watched(pairs, learn):
            run(next(batches))
        _average([p.grad if p.grad is not None else _zero_gradient(p) for p in weights])
        optimizer.step()
        if (step + 1) % LOG_PERIOD == 0 or step + 1 == count:
            mean = sum(sum(x) / len(x) for x in losses.values()) / max(len(losses), 1)
            logger.info("fitting %d blocks: batch %d of %d, mean error %.3f of the variance", len(pairs), step + 1, count, mean)
    optimizer.zero_grad(set_to_none=True)
    _average([b for pair in pairs.values() for b in pair.block.buffers() if b.is_floating_point()])
    for p in frozen:
        p.requires_grad_(False)
    for module, mode in modes:
        module.training = mode
    after = _measure(pairs, first, run)
    return {name: (before[name].share, after[name].share) for name in pairs}


@torch.no_grad()
def _scale_outputs(block: ParsimoniousConv, gain: float) -> None:
    """Multiply the weights of the two layers whose results a block adds."""
    for layer in (block.spatial[-1], block.pointwise):
        layer.weight.mul_(gain)


def _measure(pairs: dict[str, FittedBlock], batch: Any, run: Callable[[Any], object]) -> dict[str, Misfit]:
    misfits = {name: Misfit() for name in pairs}
    modes = [(m, m.training) for pair in pairs.values() for m in pair.block.modules()]
    for pair in pairs.values():
        pair.block.eval()
    with torch.no_grad(), _watched(pairs, lambda name, x, wanted: misfits[name].add(pairs[name].block(x), wanted)):
        run(batch)
    for module, mode in modes:
        module.training = mode
    return misfits


@contextmanager
def _watched(pairs: dict[str, FittedBlock], seen: Callable[[str, torch.Tensor, torch.Tensor], None]) -> Iterator[None]:
    """Call `seen(name, input, output)`, inside, whenever one of the convolutions has run on something."""

    def hook_of(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            if len(output):
                with torch.autocast(output.device.type, enabled=False):
                    seen(name, inputs[0].detach().float(), output.detach().float())

        return hook

    with ExitStack() as hooks:
        for name, pair in pairs.items():
            hooks.callback(pair.conv.register_forward_hook(hook_of(name)).remove)
        yield


def _zero_gradient(parameter: nn.Parameter) -> torch.Tensor:
    parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _average(tensors: Sequence[torch.Tensor]) -> None:
    """Average tensors over the processes, in place."""
    world = comm.get_world_size()
    if world > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor.div_(world)


def run_teacher(model: nn.Module, data: list[dict]) -> None:
    """Run all convolutions of the teacher of a `DistillMetaArch` on a training batch at full resolution.

    A teacher without proposals spots.
    """
    batch, teacher = model.annotate(data), model.teacher
    images = batch.padded(teacher.size_divisibility)
    with torch.no_grad():
        if lacks(type(teacher), "finding_targets"):
            teacher.spot(images)
        else:
            teacher.finding_targets(images, *model.finding)
        if not teacher.reads_photos:
            teacher.recognize(images, batch.words)


class FitBlocks(HookBase):
    """Fits the student's blocks before the first step of a distillation; a resumed run goes on with what it has.

    Args:
        count: batches, drawn from a loader of their own: the order of the data of the training stays.
        names: blocks to fit; None: all.
    """

    def __init__(self, count: int, names: Sequence[str] | None = None) -> None:
        self.count, self.names = count, names

    def before_train(self) -> None:
        trainer = self.trainer
        model = trainer.unwrapped_model
        if trainer.start_iter or not self.count:
            return
        pairs = block_pairs(model.student, model.teacher, self.names)
        if not pairs:
            return
        logger.info("fitting %d parsimonious blocks to the teacher's convolutions on %d batches", len(pairs), self.count)
        loader = trainer.build_train_loader(trainer.cfg)
        with torch.random.fork_rng():
            torch.manual_seed(max(trainer.cfg.SEED, 0))
            errors = fit_blocks(pairs, iter(loader), lambda data: run_teacher(model, data), self.count)
        for name, (before, after) in errors.items():
            logger.info("fitted %s: error %.3f -> %.3f of the variance", name, before, after)
