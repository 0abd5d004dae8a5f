"""The losses of a training step, what each is a mean over, and of how many."""

from __future__ import annotations

from collections.abc import Mapping

import torch

__all__ = ["UNITS", "StepLosses"]

# What a loss may be a mean over, beside images: words that are read, their characters with the ends, proposals that the box
# head sampled, those of them on words.
UNITS = ("word", "step", "proposal", "foreground")


class StepLosses(dict[str, torch.Tensor]):
    """Scalar losses by name, as detectron2's trainers take them.

    Several groups of images (or several processes) give the loss of all of them only if each part is weighted by its share
    of what the loss is a mean over; this says what that is, and how many there were.

    Args:
        losses: by name.
        units: of each loss, one of `UNITS`; a loss that is not named is a mean over images.
        counts: how many of each unit the losses were taken over; a unit that is not named was not counted, and its losses are
            weighted as means over images.
        scales: at which each image was read, where that is chosen.

    Raises:
        ValueError: an unknown unit.
    """

    def __init__(
        self,
        losses: Mapping[str, torch.Tensor],
        units: Mapping[str, str] | None = None,
        counts: Mapping[str, float | torch.Tensor] | None = None,
        scales: list[float] | None = None,
    ) -> None:
        super().__init__(losses)
        self.units, self.counts, self.scales = dict(units or {}), dict(counts or {}), scales
        unknown = ({*self.units.values()} | {*self.counts}) - {*UNITS}
        if unknown:
            raise ValueError(f"a loss is a mean over images or {', '.join(UNITS)}, not over {', '.join(sorted(unknown))}")
