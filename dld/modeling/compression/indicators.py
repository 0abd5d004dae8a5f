"""Indicators of channels, relaxed to (0, 1), and the gates that they are.

Data-driven sparse structure selection by annealed indicators: DAIS (Guan, Liu, Zhao, Gao, Chen; arXiv 2011.02166; IEEE TNNLS
2023). Its equations are named by their numbers; values that the paper's public text does not give are ours and said to be.
N images or R words, C channels of one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from dld.modeling.compression.prunable import Prunable, rounded_width

__all__ = ["Indicators", "cost_penalty", "temperature", "tolerance_of"]

START = 2.0
"""alpha before the search: indicators of 0.88 nearly keep what the network computes."""
SETTLING = 0.8
"""Share of the search after which indicators only settle."""


class Indicators:
    """I = sigmoid(alpha / T) of every channel (Eq 7). Channels whose outputs are added share one, the hard form of Eq 11.

    While they are attached, outputs of the gated modules are multiplied by them. Where a ReLU is a part of such a module the
    gate stands behind it, which is the same: I relu(x) = relu(I x).

    Args:
        channels: by name, see :func:`~dld.modeling.compression.prunable.prunable_channels`.
        device: of alpha.

    Attributes:
        alpha: float32 (sum of all C,), which learns.
        temperature: T.
    """

    def __init__(self, channels: Mapping[str, Prunable], device: torch.device | str = "cpu") -> None:
        self.channels = dict(channels)
        self._counts = [c.channels for c in self.channels.values()]
        self.alpha = torch.full((sum(self._counts),), START, device=device, requires_grad=True)
        self.temperature = 1.0
        self._handles: list[RemovableHandle] = []
        self.refresh()

    def refresh(self, learning: bool = False) -> None:
        """Compute the values of the gates from alpha and T.

        Args:
            learning: gradients flow to alpha; else the gates are constants.
        """
        values = torch.sigmoid((self.alpha if learning else self.alpha.detach()) / self.temperature)
        self.all_values = values
        self.values: dict[str, torch.Tensor] = dict(zip(self.channels, values.split(self._counts), strict=True))

    def attach(self, spotter: nn.Module) -> None:
        """Put the gates into a spotter with these channels."""
        for name, kind in self.channels.items():
            for gated in kind.gated:
                self._handles.append(spotter.get_submodule(gated).register_forward_hook(self._gate(name)))

    def detach(self) -> None:
        """Take the gates out."""
        while self._handles:
            self._handles.pop().remove()

    def _gate(self, name: str) -> Callable:
        def gate(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
            return output * self.values[name].to(output.dtype).view(1, -1, *[1] * (output.dim() - 2))

        return gate

    def shares(self) -> dict[str, torch.Tensor]:
        """Return the mean of each kind's indicators: the expected share of its channels."""
        return {name: values.mean() for name, values in self.values.items()}

    def price(self, share: torch.Tensor, rho: float, tolerance: float, cost_weight: float, mean_weight: float) -> torch.Tensor:
        """Return what alpha learns beside the losses: the weighted penalty of the cost and the mean of all indicators (Eq 8).

        Args:
            share: expected cost as a share of that of all channels.
            rho, tolerance: see :func:`cost_penalty`.
        """
        return cost_weight * cost_penalty(share, rho, tolerance) + mean_weight * self.all_values.mean()

    @torch.no_grad()
    def kept(self) -> dict[str, torch.Tensor]:
        """Return the channels that stay, indices int64 (C',) in their order, by name.

        Those of I > 0.5, their number rounded to a multiple of 8, at least 16 (:func:`rounded_width`): the surest ones. Kinds
        of which all stay are left out.
        """
        chosen = {}
        for name, alpha in zip(self.channels, self.alpha.split(self._counts), strict=True):
            width = rounded_width(int((alpha > 0).sum()), len(alpha))
            if width < len(alpha):
                chosen[name] = alpha.argsort(descending=True, stable=True)[:width].sort().values
        return chosen


def temperature(progress: float, last: float) -> float:
    """Return T at a share of the search, from 1 to `last` in equal ratios: last^progress.

    Early indicators follow small gradients, late ones are as good as 0 or 1. (A re-implementation divides 1 by 1 + 49 progress:
    after a tenth of the search channels of alpha 2 would have no gradient left.)
    """
    return last ** min(max(progress, 0.0), 1.0)


def tolerance_of(progress: float, tolerance: float) -> float:
    """Return the tolerance of :func:`cost_penalty` at a share of the search: in its last fifth nothing is too cheap any more.

    Else what is missing to the target would be held by many indicators of a few hundredths, which the cut takes away.
    """
    return tolerance if progress < SETTLING else 1.0


def cost_penalty(cost: torch.Tensor, target: float, tolerance: float) -> torch.Tensor:
    """Return |log(E / F)| of the expected cost E outside of [(1 - tolerance) F, F], 0 inside (Eq 10).

    Args:
        cost: E, a scalar.
        target: F, in the same unit.
    """
    outside = (cost > target) | (cost < (1 - tolerance) * target)
    return (cost / target).log().abs() * outside
