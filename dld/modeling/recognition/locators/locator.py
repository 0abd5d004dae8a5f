"""What every locator offers, and the square view that learned ones look at.

R words, n points of a side, S cells of a view's side. A view is a square around a word's box, so both axes have one scale;
points in it are shares of its side, (0, 0) its upper left corner and (1, 1) its lower right one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

from dld.modeling.poolers.channels_last_roi_align import ChannelsLastRoIAlign, float_level

__all__ = [
    "LOCATOR_REGISTRY",
    "Located",
    "Locator",
    "MaskLocator",
    "box_sides",
    "build_locator",
    "from_view",
    "locator_class",
    "square_views",
    "to_view",
]

LOCATOR_REGISTRY = Registry("LOCATOR")
LOCATOR_REGISTRY.__doc__ = "Locators of words' sides; called as `cls(cfg, input_shape)`."


class Located(NamedTuple):
    """The sides of R words."""

    sides: torch.Tensor  # float32 (R, 2, n, 2), pixels; upper and lower side, each from the first letter to the last
    fell_back: torch.Tensor  # bool (R,): the locator found none, these are the sides that were handed in


class Locator(nn.Module, ABC):
    """Finds the sides of words whose boxes are known.

    Args:
        points: n of each side.
        pooler: crops views (R, C, S, S) from a pyramid level; None for a locator that looks at none.
        enlarge: by which share a view is larger than the longer side of its word's box.

    Attributes:
        needs_sides: it learns from annotated sides.
        learns_by_reading: it also learns from how strips between its sides are read: its spotter adds that loss.
        loss_units: for each loss by name, what it is a mean over (`dld.modeling.meta_arch.step_losses.UNITS`).

    Raises:
        ValueError: fewer than two points, or a view smaller than its box.
    """

    needs_sides: ClassVar[bool] = True
    learns_by_reading: ClassVar[bool] = False
    loss_units: ClassVar[Mapping[str, str]] = {}

    def __init__(self, points: int, pooler: nn.Module | None = None, enlarge: float = 0.1) -> None:
        super().__init__()
        if points < 2:
            raise ValueError(f"MODEL.STRIPS.LOCATOR.POINTS must be at least 2, got {points}")
        if enlarge < 0:
            raise ValueError(f"MODEL.STRIPS.LOCATOR.ENLARGE must be at least 0, got {enlarge}")
        self.points, self.pooler, self.enlarge = points, pooler, enlarge

    @property
    def learns(self) -> bool:
        """Whether it looks at features, and so must be trained."""
        return self.pooler is not None

    def view(self, level: torch.Tensor, boxes: list[torch.Tensor]) -> torch.Tensor:
        """Crop the square views of all words of a batch.

        Args:
            level: pyramid level (N, C, H/stride, W/stride).
            boxes: N tensors (R_i, 4), x0 y0 x1 y1 in pixels of the network's input; R = sum R_i.

        Returns:
            float32 (R, C, S, S).
        """
        if self.pooler is None:
            raise ValueError(f"{type(self).__name__} looks at no features")
        squares = square_views(torch.cat(boxes).float(), self.enlarge)
        index = torch.cat([b.new_full((len(b), 1), i, dtype=torch.float32) for i, b in enumerate(boxes)])
        return self.pooler(float_level(level), torch.cat([index, squares[:, :2], squares[:, :2] + squares[:, 2:]], 1))

    def forward(self, level: torch.Tensor, boxes: list[torch.Tensor], fallback: torch.Tensor | None = None) -> Located:
        """Find the sides of all words of a batch; where the locator fails, those of `fallback` stand.

        Args:
            level, boxes: as for :meth:`view`.
            fallback: sides (R, 2, n, 2) in pixels; None: those of the boxes, see :func:`box_sides`.
        """
        every = torch.cat(boxes)
        return self.located(self.view(level, boxes) if self.learns and len(every) else None, every, fallback)

    def located(self, view: torch.Tensor | None, boxes: torch.Tensor, fallback: torch.Tensor | None = None) -> Located:
        """Do as `forward` for words whose views are there.

        Args:
            view: of :meth:`view`; None of a locator that looks at none, or of no words.
            boxes: (R, 4), of those views.
        """
        boxes = boxes.float()
        R, n = len(boxes), self.points
        fallback = box_sides(boxes, n) if fallback is None else fallback.float()
        if fallback.shape != (R, 2, n, 2):
            raise ValueError(f"sides to fall back to must be {(R, 2, n, 2)}, got {tuple(fallback.shape)}")
        if view is None:
            return Located(fallback, torch.zeros(R, dtype=torch.bool, device=boxes.device))
        squares = square_views(boxes, self.enlarge)
        sides, found = self.sides_in_view(view, to_view(box_sides(boxes, n), squares))
        found = found & usable(sides.detach())
        return Located(torch.where(found[:, None, None, None], from_view(sides, squares), fallback), ~found)

    @abstractmethod
    def sides_in_view(self, view: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find sides (R, 2, n, 2) in views (R, C, S, S) of boxes with the sides `box`, and tell which were found, bool (R,)."""

    @abstractmethod
    def losses(self, view: torch.Tensor, box: torch.Tensor, sides: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute losses by name.

        Args:
            view: (R, C, S, S).
            box, sides: those of the boxes and the annotated ones in the views, (R, 2, n, 2); a word whose annotated sides
                are NaN has none, and counts in no loss that needs them.
        """


@LOCATOR_REGISTRY.register()
class MaskLocator(Locator):
    """Takes the sides that the shape of the predicted outline gives (`dld.strips.sides`): nothing learnt, no cost."""

    needs_sides = False

    @configurable
    def __init__(self, *, points: int = 7) -> None:
        super().__init__(points)

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        return {"points": cfg.MODEL.STRIPS.LOCATOR.POINTS}

    def sides_in_view(self, view: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return box, torch.zeros(len(box), dtype=torch.bool, device=box.device)

    def losses(self, view: torch.Tensor, box: torch.Tensor, sides: torch.Tensor) -> dict[str, torch.Tensor]:
        return {}


# names of MODEL.STRIPS.LOCATOR.NAME
NAMES = {"mask": "MaskLocator", "points": "PointLocator", "scrn": "ScRNLocator", "stn": "STNLocator"}


def locator_class(name: str) -> type[Locator]:
    """Return the locator that a value of MODEL.STRIPS.LOCATOR.NAME names.

    Raises:
        KeyError: no locator has this name.
    """
    name = NAMES.get(name, name)
    if name not in LOCATOR_REGISTRY:
        known = sorted(set(NAMES) | ({n for n, _ in LOCATOR_REGISTRY} - set(NAMES.values())))
        raise KeyError(f"MODEL.STRIPS.LOCATOR.NAME {name!r} is unknown; there are {', '.join(known)}")
    return LOCATOR_REGISTRY.get(name)


def build_locator(cfg, input_shape: ShapeSpec) -> Locator:
    """Build the locator that MODEL.STRIPS.LOCATOR.NAME names, for a pyramid level of this shape (channels, stride).

    Raises:
        KeyError: see :func:`locator_class`.
    """
    return locator_class(cfg.MODEL.STRIPS.LOCATOR.NAME)(cfg, input_shape)


def view_settings(cfg, input_shape: ShapeSpec) -> dict:
    """Read what every learned locator takes: its points, its pooler, how far a view reaches, channels in.

    Raises:
        ValueError: a view without cells, or convolutions without channels.
    """
    node = cfg.MODEL.STRIPS.LOCATOR
    for key in ("VIEW", "WIDTH"):
        if node[key] < 1:
            raise ValueError(f"MODEL.STRIPS.LOCATOR.{key} must be at least 1, got {node[key]}")
    pooler = ChannelsLastRoIAlign((node.VIEW, node.VIEW), 1.0 / input_shape.stride, 2, aligned=True)
    return {"points": node.POINTS, "pooler": pooler, "enlarge": node.ENLARGE, "channels": input_shape.channels}


def square_views(boxes: torch.Tensor, enlarge: float) -> torch.Tensor:
    """Compute the square around each box (R, 4): float32 (R, 3), its upper left corner and its side, at least 1 pixel."""
    boxes = boxes.float()
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True).clamp(min=1) * (1 + enlarge)
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2 - side / 2, side], 1)


def to_view(points: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Convert points (R, 2, n, 2) from pixels to shares of the views (R, 3)."""
    return (points - squares[:, None, None, :2]) / squares[:, None, None, 2:]


def from_view(points: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Convert points (R, 2, n, 2) from shares of the views (R, 3) to pixels."""
    return points * squares[:, None, None, 2:] + squares[:, None, None, :2]


def box_sides(boxes: torch.Tensor, n: int) -> torch.Tensor:
    """Return the upper and the lower edge of boxes (R, 4) as sides, float32 (R, 2, n, 2), rightwards."""
    x0, y0, x1, y1 = boxes.float().unbind(1)
    share = torch.linspace(0, 1, n, device=boxes.device)
    x = x0[:, None] + (x1 - x0)[:, None] * share
    return torch.stack([torch.stack([x, y[:, None].expand_as(x)], -1) for y in (y0, y1)], 1)


def usable(sides: torch.Tensor) -> torch.Tensor:
    """Tell which sides (R, 2, n, 2) a strip can be cut between: finite, not twisted; bool (R,).

    A word is twisted where, on the way from its start to its end, the lower side changes to the other hand of the upper one.
    """
    middle = sides.mean(1)
    step = middle[:, 1:] - middle[:, :-1]
    across = sides[:, 1] - sides[:, 0]
    across = (across[:, 1:] + across[:, :-1]) / 2
    hand = step[..., 0] * across[..., 1] - step[..., 1] * across[..., 0]
    return sides.isfinite().all(-1).all(-1).all(-1) & (hand > 0).all(1)
