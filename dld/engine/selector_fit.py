"""Fit the resolution selector of a trained student: every scale is compared once per image, and learned from many times.

During distillation the selector sees every image once, while the student that it judges still changes. Comparing the
scales is the costly part and the selector's own pass the cheap one, so with the student frozen a few hundred comparisons
carry many epochs, for any gamma and without training the student again.

N images, S candidate scales.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterable
from typing import NamedTuple

import torch
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage
from tqdm import tqdm

from dld.modeling.meta_arch.distill import DistillMetaArch
from dld.modeling.resolution.scale_comparison import ScaleComparison

__all__ = ["ComparedImages", "FitReport", "compare_images", "fit_selector"]

logger = logging.getLogger(__name__)

LOG_PERIOD = 25


class ComparedImages(NamedTuple):
    """Images and what every scale loses on them. The images wait as uint8: 1.2 MB each at 640 x 640."""

    images: list[torch.Tensor]  # N uint8 (3, H_i, W_i) at the teacher's resolution
    comparison: ScaleComparison


class FitReport(NamedTuple):
    """Mean risk (`ScaleSelector.risk`: loss + gamma c) on the held-out images, for several ways to choose."""

    chosen: float  # the selector's argmax
    best_constant: float  # the one scale that is best for all of them
    oracle: float  # each image's own best scale
    images: int
    histogram: list[int]  # how often each scale was chosen


@torch.no_grad()
def compare_images(
    model: DistillMetaArch, batches: Iterable[list[dict]], total: int | None = None, dtype: torch.dtype | None = None
) -> ComparedImages:
    """Compare the candidate scales on batches as the training mapper makes them.

    Args:
        model: with trained teacher and student, in training mode (the selector itself is not asked).
        total: number of batches, for the progress bar.
        dtype: number format under autocast; None: float32.
    """
    images, found = [], []
    device = model.device.type
    context = torch.autocast(device, dtype) if dtype is not None else contextlib.nullcontext()
    with context:
        for batch in tqdm(batches, total=total, desc="comparing scales", unit="batch", disable=None):
            annotated = model.annotate(batch)
            comparison = model.compare_scales(annotated, model.ask_teacher(annotated))
            found.append(comparison.to(torch.device("cpu")))
            images += [x["image"].round().clamp(0, 255).to(torch.uint8) for x in batch]
            if len(found) % LOG_PERIOD == 0:
                # the bar is for terminals
                logger.info("compared the scales on %d batches%s", len(found), f" of {total}" if total else "")
    if not images:
        raise ValueError("there are no images to compare the scales on")
    return ComparedImages(images, ScaleComparison.cat(found))


def fit_selector(
    model: DistillMetaArch,
    compared: ComparedImages,
    *,
    epochs: int = 8,
    batch: int = 8,
    learning_rate: float = 1e-3,
    held_out: float = 0.15,
    seed: int = 0,
) -> FitReport:
    """Train `model.selector` in place by the model's own selector loss (its form, gamma and temperature).

    AdamW with a rate that falls along a cosine. The first share `held_out` of the images teaches nothing: these images tell
    after which epoch the choices were best, and that epoch's weights are kept (the selector soon learns images by heart).

    Returns:
        the report of that epoch; being the best of `epochs`, it is a little better than other images would say.

    Raises:
        ValueError: no selector, no epochs, or too few images to hold any out.
    """
    if not model.selects:
        raise ValueError("the student has no resolution selector to fit")
    N = len(compared.images)
    aside = int(N * held_out)
    if epochs < 1 or aside < 1 or N - aside < batch:
        raise ValueError(f"{N} images are too few for batches of {batch} beside a held-out share of {held_out}, or no epochs")
    trained = [p for p in model.selector.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=1e-4)
    steps = epochs * ((N - aside) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model.selector.train()
    best, kept = None, {}
    with EventStorage(0), tqdm(total=steps, desc="fitting the selector", unit="step", disable=None) as bar:
        for epoch in range(epochs):
            order = (torch.randperm(N - aside, generator=generator) + aside).tolist()
            for first in range(0, len(order) - batch + 1, batch):
                index = order[first : first + batch]
                model.selector.anneal(bar.n / steps)
                images = model.normalize([{"image": compared.images[i].float()} for i in index])
                padded = ImageList.from_tensors(images, model.student.size_divisibility)
                loss, _ = model.train_selector(padded, compared.comparison.rows(index).to(model.device))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 5.0)
                optimizer.step()
                schedule.step()
                bar.update()
            report = held_out_report(model, compared, aside)
            logger.info("epoch %d of %d: %s", epoch + 1, epochs, report)
            if best is None or report.chosen < best.chosen:
                best, kept = report, copy.deepcopy(model.selector.state_dict())
    model.selector.load_state_dict(kept)
    return best


@torch.no_grad()
def held_out_report(model: DistillMetaArch, compared: ComparedImages, count: int) -> FitReport:
    """Measure the risk of the selector's choice on the first `count` images."""
    was_training = model.selector.training
    model.selector.eval()
    index = list(range(count))
    scores = torch.cat([_scores(model, compared, index[i : i + 8]) for i in range(0, count, 8)]).cpu()
    model.selector.train(was_training)
    comparison = compared.comparison.rows(index)
    risk = model.selector.risk(comparison)
    choice = (scores - float(model.mu) * comparison.cost).argmax(1)
    return FitReport(
        float(risk.gather(1, choice[:, None]).mean()),
        float(risk.mean(0).min()),
        float(risk.min(1).values.mean()),
        count,
        torch.bincount(choice, minlength=len(model.scales)).tolist(),
    )


def _scores(model: DistillMetaArch, compared: ComparedImages, index: list[int]) -> torch.Tensor:
    return model.score_scales(model.normalize([{"image": compared.images[i].float()} for i in index]))
