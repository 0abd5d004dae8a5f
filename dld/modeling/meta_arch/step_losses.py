"""The losses of a training step, with the unit that each is a mean over and the number of these units."""

from __future__ import annotations

from collections.abc import Mapping

import torch

__all__ = ["UNITS", "StepLosses"]

# What a loss may be a mean over, besides images: words that are read, their characters with the end symbols, proposals
# that the box head sampled, and those of these proposals that lie on words.
UNITS = ("word", "step", "proposal", "foreground")


class StepLosses(dict[str, torch.Tensor]):
    """Scalar losses by name, as detectron2's trainers take them.

    The losses of several groups of images (or processes) add up to the loss of all only if each is weighted by its share of
    the units that the loss is a mean over. This class names the units and their number.

    Args:
        losses: by name.
        units: unit of each loss, one of `UNITS`; a loss that is not named is a mean over images.
        counts: number of each unit that the losses were taken over. A unit that is not named was not counted, and its losses
            are weighted as means over images.
        scales: scale at which each image was read, if scales are chosen.
        shared: features that several losses come from, by the kind of losses ("finding", "reading"), if they are asked for.

    Raises:
        ValueError: an unknown unit.
    """

    def __init__(
        self,
        losses: Mapping[str, torch.Tensor],
        units: Mapping[str, str] | None = None,
        counts: Mapping[str, float | torch.Tensor] | None = None,
        scales: list[float] | None = None,
        shared: Mapping[str, list[torch.Tensor]] | None = None,
    ) -> None:
        super().__init__(losses)
        self.units, self.counts, self.scales, self.shared = dict(units or {}), dict(counts or {}), scales, shared
        unknown = ({*self.units.values()} | {*self.counts}) - {*UNITS}
        if unknown:
            raise ValueError(f"a loss is a mean over images or {', '.join(UNITS)}, not over {', '.join(sorted(unknown))}")
