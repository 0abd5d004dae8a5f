"""Uniform thinning by the magnitude of weights: what searched widths are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dld.modeling.compression.prunable import MULTIPLE, Prunable, rounded_width
from dld.modeling.compression.width_cost import WidthCost

__all__ = ["channel_strengths", "strongest", "uniform_widths"]


def uniform_widths(channels: Mapping[str, Prunable], cost: WidthCost, rho: float) -> dict[str, int]:
    """Return the widths of which all kinds keep the same share of channels, as many as cost at most `rho` of the full cost.

    What rounding to multiples of 8 leaves over goes to those that it took most from.

    Raises:
        ValueError: even the fewest channels cost more.
    """

    def widths(share: float) -> dict[str, int]:
        return {name: rounded_width(share * kind.channels, kind.channels) for name, kind in channels.items()}

    if cost.share_of(widths(0.0), channels) > rho:
        least = cost.share_of(widths(0.0), channels)
        raise ValueError(f"the fewest channels that this spotter may have cost {least:.3f} of all, more than {rho:g}")
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if cost.share_of(widths(middle), channels) <= rho else (low, middle)
    chosen = widths(low)
    for name in sorted(chosen, key=lambda n: chosen[n] / channels[n].channels):
        wider = {**chosen, name: min(chosen[name] + MULTIPLE, channels[name].channels)}
        if cost.share_of(wider, channels) <= rho:
            chosen = wider
    return chosen


@torch.no_grad()
def channel_strengths(spotter: nn.Module, kind: Prunable) -> torch.Tensor:
    """Return how strong each channel is by the magnitude of its weights, float32 (C,).

    It is the norm of the weights that make it, batch norm folded in, times the norm of those that read it.
    """
    made, read, gain = torch.zeros(kind.channels), torch.zeros(kind.channels), torch.ones(kind.channels)
    for name in kind.made:
        layer = spotter.get_submodule(name)
        if layer.weight is not None and layer.weight.dim() > 1:
            made += _squares(layer.weight, int(isinstance(layer, nn.ConvTranspose2d)))
        for norm in (layer, getattr(layer, "norm", None)):
            if hasattr(norm, "running_var"):
                scale = (norm.running_var + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight)
                gain *= scale.float().cpu().abs()
    for name in kind.read:
        layer = spotter.get_submodule(name)
        read += _squares(layer.weight, int(not isinstance(layer, nn.ConvTranspose2d)))
    return made.sqrt() * gain * read.sqrt()


def _squares(weight: torch.Tensor, dim: int) -> torch.Tensor:
    return weight.float().square().transpose(0, dim).flatten(1).sum(1).cpu()


def strongest(spotter: nn.Module, channels: Mapping[str, Prunable], widths: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Return the strongest channels of each kind, as many as `widths` says, indices int64 in their order, by name.

    Kinds of which all stay are left out.
    """
    return {
        name: channel_strengths(spotter, channels[name]).argsort(descending=True, stable=True)[:width].sort().values
        for name, width in widths.items()
        if width < channels[name].channels
    }
