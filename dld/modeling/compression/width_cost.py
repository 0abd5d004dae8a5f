"""What a spotter costs with fewer channels, in closed form.

A layer's multiply-accumulates are proportional to its inputs and to its outputs (Eq 9 of DAIS, arXiv 2011.02166), a depth-wise
one's to its channels. So each layer is counted once, at full width, and any widths cost

    E = E_full - sum over layers of e (1 - r_in r_out),

where e are the FLOPs of a layer and r the shares of its inputs and outputs that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from dld.modeling.compression.prunable import Prunable
from dld.modeling.flops import DECODER_STEPS, evaluating, flops_by_module

__all__ = ["WidthCost", "network_flops"]

Number = TypeVar("Number", float, torch.Tensor)


@dataclass(frozen=True)
class WidthCost:
    """FLOPs, 2 per multiply-accumulate, of one image with its words.

    What reads strips at test is no part of the spotter's network and is left out.
    """

    full: int
    layers: dict[str, tuple[int, str, str]]  # FLOPs at full width, names of the channels that it makes and reads, or ""

    @classmethod
    def measure(
        cls, spotter: nn.Module, channels: Mapping[str, Prunable], image_size: tuple[int, int], words: int
    ) -> WidthCost:
        """Count a spotter at full width.

        Args:
            spotter: a `Spotter` whose parts can be run one by one; its mode and statistics stay as they are.
            channels: of :func:`~dld.modeling.compression.prunable.prunable_channels`.
            image_size: padded (H, W).
            words: found in it.
        """
        made = {layer: name for name, kind in channels.items() for layer in kind.made}
        read = {layer: name for name, kind in channels.items() for layer in kind.read}
        total, own = network_flops(spotter, image_size, words, [*dict.fromkeys((*made, *read))])
        return cls(total, {layer: (own[layer], made.get(layer, ""), read.get(layer, "")) for layer in own if own[layer]})

    def expected(self, shares: Mapping[str, Number]) -> Number:
        """Return E where these shares of the channels stay; channels that are not named all stay.

        Args:
            shares: by name, floats or scalar tensors in [0, 1].
        """
        saved: Any = 0.0
        for flops, made, read in self.layers.values():
            saved = saved + flops * (1 - shares.get(made, 1.0) * shares.get(read, 1.0))
        return self.full - saved

    def share_of(self, widths: Mapping[str, int], channels: Mapping[str, Prunable]) -> float:
        """Return the share of the full cost that so many of these channels cost."""
        return self.expected({name: width / channels[name].channels for name, width in widths.items()}) / self.full

    def among(self, names: Collection[str]) -> WidthCost:
        """Return the cost law in which no channels but these change."""
        layers = {
            n: (e, made if made in names else "", read if read in names else "") for n, (e, made, read) in self.layers.items()
        }
        return WidthCost(self.full, layers)

    @property
    def counted(self) -> set[str]:
        """Names of the channels that cost something; a recogniser of crops that does not read at test costs nothing."""
        return {name for _, made, read in self.layers.values() for name in (made, read) if name}


def network_flops(spotter: nn.Module, image_size: tuple[int, int], words: int, layers: list[str]) -> tuple[int, dict[str, int]]:
    """Count the FLOPs of a spotter as :class:`WidthCost` does: of all, and of each of these layers."""

    def run(part: str, call: Callable[[], Any]) -> Any:
        return None if part == "recognition" and spotter.reader is not None else call()

    modules = {name: spotter.get_submodule(name) for name in layers}
    with evaluating(spotter):
        return flops_by_module(lambda: spotter.run_parts(image_size, words, DECODER_STEPS, run), modules)
