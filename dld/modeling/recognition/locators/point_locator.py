"""Locators that regress the points of the sides: with annotated sides, or through reading alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import nn

from dld.modeling.recognition.locators.locator import LOCATOR_REGISTRY, Locator, view_settings

__all__ = ["PointLocator", "STNLocator"]


@LOCATOR_REGISTRY.register()
class PointLocator(Locator):
    """Two convolutions and two linear layers that move the points of the box's sides to the word's.

    The last layer starts at zero: before training the sides are those of the box. Loss: smooth L1 to annotated sides.

    Args:
        channels: C of the views.
        size: S of the views.
        width: channels of the first convolution; the second has twice, the linear layer four times as many.
        beta: of smooth L1, in shares of the view.
        points, pooler, enlarge: see :class:`Locator`.
    """

    loss_units = {"loss_points": "word"}

    @configurable
    def __init__(
        self,
        *,
        channels: int,
        pooler: nn.Module,
        size: int = 16,
        width: int = 32,
        beta: float = 0.05,
        points: int = 7,
        enlarge: float = 0.1,
    ) -> None:
        super().__init__(points, pooler, enlarge)
        self.beta = beta
        self.network = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * (-(-size // 4)) ** 2, 4 * width),
            nn.ReLU(),
            nn.Linear(4 * width, 4 * points),
        )
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        node = cfg.MODEL.STRIPS.LOCATOR
        return {**view_settings(cfg, input_shape), "size": node.VIEW, "width": node.WIDTH, "beta": node.BETA}

    def sides_in_view(self, view: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        moved = self.network(view).float().view_as(box)
        sides = torch.sigmoid(torch.logit(box.clamp(0.005, 0.995)) + moved)
        return sides, torch.ones(len(box), dtype=torch.bool, device=box.device)

    def losses(self, view: torch.Tensor, box: torch.Tensor, sides: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `loss_points`, the mean over points of annotated words.

        Raises:
            ValueError: annotated sides have another number of points.
        """
        if sides.shape != box.shape:
            raise ValueError(
                f"INPUT.SIDE_POINTS must be MODEL.STRIPS.LOCATOR.POINTS, {self.points}; sides have {sides.shape[2]} points"
            )
        known = sides.isfinite().flatten(1).all(1)
        found = self.sides_in_view(view, box)[0]
        if not bool(known.any()):
            return {"loss_points": found.sum() * 0}
        return {"loss_points": F.smooth_l1_loss(found[known], sides[known], beta=self.beta)}


@LOCATOR_REGISTRY.register()
class STNLocator(PointLocator):
    """The same network, taught by reading alone (Alchemy, arXiv 1908.11834): the gradient comes through the strip's grid.

    Its own loss keeps it from folding a word or turning it round: a step along a side must go at least `least_step` of the view
    in the direction in which the box's side runs.

    Args:
        fold_weight: weight of this loss.
        least_step: see above, as a share of an even step along the box.
    """

    needs_sides, learns_by_reading = False, True
    loss_units = {"loss_fold": "word"}

    @configurable
    def __init__(self, *, fold_weight: float = 1.0, least_step: float = 0.2, **network) -> None:
        super().__init__(**network)
        self.fold_weight, self.least_step = fold_weight, least_step

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        return {**PointLocator.from_config(cfg, input_shape), "fold_weight": cfg.MODEL.STRIPS.LOCATOR.FOLD_WEIGHT}

    def losses(self, view: torch.Tensor, box: torch.Tensor, sides: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `loss_fold`; annotated sides are not looked at."""
        return {"loss_fold": self.fold_weight * self.fold_loss(self.sides_in_view(view, box)[0], box)}

    def fold_loss(self, found: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Compute by how much steps along the sides are too short, as a share of an even step, and the mean over steps."""
        along = box[:, :, -1:] - box[:, :, :1]
        even = along / (self.points - 1)
        step = ((found[:, :, 1:] - found[:, :, :-1]) * even).sum(-1) / even.square().sum(-1).clamp(min=1e-8)
        return F.relu(self.least_step - step).sum() / max(step.numel(), 1)
