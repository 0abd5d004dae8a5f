"""What a resolution selector is trained for: the loss of reading at a scale, weighed against the scale's cost.

N images, S candidate scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dld.modeling.losses.word_maps import WordMaps, word_map_targets, word_maps_loss
from dld.modeling.resolution.scale_comparison import ScaleComparison
from dld.modeling.resolution.selector_losses import (
    draw_scales,
    gumbel_selector_loss,
    gumbel_straight_through,
    risk_regression_loss,
    soft_target_loss,
    soft_targets,
)

__all__ = ["SelectorObjective"]


@dataclass
class SelectorObjective:
    """Losses of a selector, and the scales that the student is trained at.

    Args:
        gamma: weight of cost against accuracy.
        form: "risk", "soft_target" or "gumbel" (the paper's); a selector that maps words has a loss of its own.
        target_temperature: tau of the soft targets and of the scores of the risk form.
        uniform_share: share of the training scales drawn uniformly.
        words_per_image: of a selector that maps words; None for one that scores whole images.

    Raises:
        ValueError: an unknown form.
    """

    gamma: float
    form: str = "soft_target"
    target_temperature: float = 0.1
    uniform_share: float = 0.15
    words_per_image: float | None = None

    def __post_init__(self) -> None:
        if self.form not in ("risk", "soft_target", "gumbel"):
            raise ValueError(f"MODEL.SELECTOR.FORM must be risk, soft_target or gumbel, got {self.form!r}")

    def risk(self, comparison: ScaleComparison) -> torch.Tensor:
        """What the selector should make small, (N, S): the loss of each scale + gamma x its cost."""
        if self.words_per_image is not None:
            lost = torch.stack([x.loss.sum(0) for x in comparison.words]) / self.words_per_image
        else:
            lost = torch.where(comparison.counted[:, None], comparison.kl, torch.zeros_like(comparison.kl))
        return lost.float() + self.gamma * comparison.cost

    def of_scores(
        self, logits: torch.Tensor, comparison: ScaleComparison, gumbel_temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of a selector's logits (N, S), and the index of the scale each image is trained at, int64 (N,)."""
        if self.form == "gumbel":
            onehot = gumbel_straight_through(logits, gumbel_temperature)
            loss = gumbel_selector_loss(onehot, comparison.kl, comparison.cost, self.gamma, comparison.counted)
            return loss, draw_scales(logits, uniform_share=self.uniform_share, onehot=onehot)
        known = (comparison.kl, comparison.cost, self.gamma, self.target_temperature, comparison.counted)
        if self.form == "risk":
            loss = risk_regression_loss(logits, *known)
        else:
            loss = soft_target_loss(logits, soft_targets(*known))
        return loss, draw_scales(logits, uniform_share=self.uniform_share)

    def of_maps(
        self, maps: Sequence[WordMaps], comparison: ScaleComparison, image_sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Loss of the maps of a selector of words; `image_sizes` (H, W) of the images they were made of."""
        targets = [
            word_map_targets(x.boxes, x.loss, size, tuple(m.density.shape))
            for x, m, size in zip(comparison.words, maps, image_sizes, strict=True)
        ]
        return word_maps_loss(maps, targets, self.words_per_image)
