"""Losses of several processes put together as those of one process with the whole batch.

Gradients are averaged over the processes, which suits a loss that is a mean over images: every process has as many. A loss
that is a mean over words, over their characters or over sampled proposals must be weighted by how many of them a process
has: with n of N in all W processes, n W / N. The mean over the processes is then the mean over all N.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from detectron2.utils import comm

__all__ = ["LossCounts", "averaged_over_processes", "count_for_losses", "process_weights"]


class LossCounts(NamedTuple):
    """How many things the losses of one process are means over; tensors or numbers."""

    words: float  # read words: loss_ctc, loss_kd_*
    steps: float  # their characters with the ends: loss_rec
    proposals: float | None = None  # sampled by the box head: loss_cls, loss_box_reg; None: means over images
    foreground: float | None = None  # those of them on words: loss_mask


_COUNTED_BY = {"loss_ctc": "words", "loss_rec": "steps", "loss_cls": "proposals", "loss_box_reg": "proposals"}
_COUNTED_BY["loss_mask"] = "foreground"


def count_for_losses(model: torch.nn.Module, data: list[dict]) -> LossCounts | None:
    """The counts of the batch that `model` has just computed its losses on.

    The distiller puts the losses of its groups of images together by their share of images, so its detection losses are
    means over images already.

    Args:
        model: a spotter or a distiller, without distributed wrapper.
        data: the batch; dicts with "instances" (`gt_readable`, `gt_text`).

    Returns:
        None for any other model.
    """
    charset = getattr(model, "charset", None)
    if charset is None or not all("instances" in x for x in data):
        return None
    words = [x["instances"].gt_text[x["instances"].gt_readable] for x in data]
    steps = sum(int((ids != charset.pad).sum()) for ids in words)
    proposals, foreground = getattr(getattr(model, "roi_heads", None), "sampled", (None, None))
    return LossCounts(sum(map(len, words)), steps, proposals, foreground)


def averaged_over_processes(
    losses: dict[str, torch.Tensor], counts: LossCounts | None
) -> dict[str, torch.Tensor]:
    """The losses of this process, weighted so that their mean over the processes is that of the whole batch.

    Every process must call this in every step: it waits for the others. One process alone changes nothing.
    """
    if counts is None or comm.get_world_size() == 1:
        return losses
    device = next(iter(losses.values())).device
    own = torch.tensor([-1.0 if n is None else float(n) for n in counts], dtype=torch.float64, device=device)
    total = own.clone()
    dist.all_reduce(total)
    weights = dict(zip(LossCounts._fields, process_weights(own, total, comm.get_world_size()), strict=True))
    return {name: value * weights[kind] if (kind := _kind(name)) else value for name, value in losses.items()}


def process_weights(own: torch.Tensor, total: torch.Tensor, world: int) -> torch.Tensor:
    """n W / N, float32, for counts n of this process and N of all; 1 where a count is negative (not counted)."""
    return torch.where(own < 0, 1.0, own * world / total.clamp(min=1)).float()


def _kind(name: str) -> str | None:
    return "words" if name.startswith("loss_kd") else _COUNTED_BY.get(name)
