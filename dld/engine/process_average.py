"""Puts losses of several processes together as those of one process with the whole batch.

Gradients are averaged over the processes, which suits a loss that is a mean over images: every process has as many. A loss
that is a mean over words, over their characters or over sampled proposals must be weighted by how many of them a process
has: with n of N in all W processes, n W / N. The mean over the processes is then the mean over all N.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from detectron2.utils import comm

from dld.modeling.meta_arch.step_losses import UNITS, StepLosses

__all__ = ["averaged_over_processes", "process_weights"]


def averaged_over_processes(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weight the losses of this process so that their mean over the processes is that of the whole batch.

    Every process must call this in every step: it waits for the others. Losses stay as they are in a single process, and
    where the model does not say what they are means over (a plain dict).
    """
    if not isinstance(losses, StepLosses) or comm.get_world_size() == 1:
        return losses
    device = next(iter(losses.values())).device
    counts = [losses.counts.get(unit) for unit in UNITS]
    own = torch.tensor([-1.0 if n is None else float(n) for n in counts], dtype=torch.float64, device=device)
    total = own.clone()
    dist.all_reduce(total)
    weights = dict(zip(UNITS, process_weights(own, total, comm.get_world_size()), strict=True))
    return {name: value * weights[losses.units[name]] if name in losses.units else value for name, value in losses.items()}


def process_weights(own: torch.Tensor, total: torch.Tensor, world: int) -> torch.Tensor:
    """Return n W / N, float32, for counts n of this process and N of all; 1 where a count is negative (not counted)."""
    return torch.where(own < 0, 1.0, own * world / total.clamp(min=1)).float()
