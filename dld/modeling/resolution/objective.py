"""The objective of a selector that scores whole images: the loss of reading at a scale, weighed against its cost.

N images, S candidate scales.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from dld.modeling.resolution.scale_comparison import ScaleComparison
from dld.modeling.resolution.selector_losses import (
    draw_scales,
    gumbel_selector_loss,
    gumbel_straight_through,
    risk_regression_loss,
    soft_target_loss,
    soft_targets,
    temperature_at,
)

__all__ = ["FORMS", "ImageObjective"]

FORMS = ("risk", "soft_target", "gumbel")


@dataclass
class ImageObjective:
    """Computes losses of the scores of whole images, and the scales at which the student is trained.

    Args:
        form: "risk", the scores regress the negative risk; "soft_target", cross entropy to its softmax; or "gumbel", the
            paper's straight-through choice.
        target_temperature: tau, unit of the scores in nats; of the first two forms.
        temperature, decay, epochs: of the Gumbel noise, see :func:`~dld.modeling.resolution.selector_losses.temperature_at`.

    Raises:
        ValueError: an unknown form.
    """

    form: str = "risk"
    target_temperature: float = 0.1
    temperature: float = 5.0
    decay: float = 0.965
    epochs: float = 50.0
    gumbel_temperature: float = field(init=False)  # current value

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"FORM of a selector must be one of {', '.join(FORMS)}, got {self.form!r}")
        self.gumbel_temperature = self.temperature

    @classmethod
    def of(cls, node) -> ImageObjective:
        """Make an objective from a selector's node in a configuration."""
        return cls(node.FORM, node.TARGET_TEMPERATURE, node.TEMPERATURE, node.DECAY, node.EPOCHS)

    def anneal(self, progress: float) -> float | None:
        """Set and return the Gumbel temperature after this share of training; None for the other forms, which have none."""
        self.gumbel_temperature = temperature_at(progress, self.temperature, self.decay, self.epochs)
        return self.gumbel_temperature if self.form == "gumbel" else None

    def risk(self, comparison: ScaleComparison, gamma: float) -> torch.Tensor:
        """Return what the choice should minimise, (N, S): KL + gamma x cost, or the cost alone where no word was compared."""
        lost = torch.where(comparison.counted[:, None], comparison.kl, torch.zeros_like(comparison.kl))
        return lost.float() + gamma * comparison.cost

    def learn(
        self,
        logits: torch.Tensor,
        comparison: ScaleComparison,
        gamma: float,
        uniform_share: float,
        generators: list[torch.Generator] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a selector's logits (N, S), and the index of each image's training scale, int64 (N,)."""
        if self.form == "gumbel":
            onehot = gumbel_straight_through(logits, self.gumbel_temperature, generators)
            loss = gumbel_selector_loss(onehot, comparison.kl, comparison.cost, gamma, comparison.counted)
            return loss, draw_scales(logits, generators, uniform_share, onehot)
        known = (comparison.kl, comparison.cost, gamma, self.target_temperature, comparison.counted)
        if self.form == "risk":
            loss = risk_regression_loss(logits, *known)
        else:
            loss = soft_target_loss(logits, soft_targets(*known))
        return loss, draw_scales(logits, generators, uniform_share)
