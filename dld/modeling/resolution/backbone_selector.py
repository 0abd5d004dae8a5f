"""A selector with the first stages of the teacher's backbone, which know text before the first training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from torch import nn

from dld.modeling.backbone.first_stages import drop_later_stages
from dld.modeling.resolution.objective import ImageObjective
from dld.modeling.resolution.rescale import rescale_images
from dld.modeling.resolution.selector import SELECTOR_REGISTRY, ScaleSelector

__all__ = ["BackboneSelector", "early_stages"]


def early_stages(cfg, name: str, levels: int) -> tuple[nn.Module, tuple[str, ...]]:
    """Build a bottom-up network up to level `name`, untrained, and name its last `levels` levels.

    It is that of MODEL.SELECTOR.STAGES_OF, by default the spotter's.

    Raises:
        ValueError: there is no such level, there are fewer levels up to it, or the network has no stages that stand alone.
    """
    backbone = cfg.MODEL.SELECTOR.STAGES_OF or cfg.MODEL.BACKBONE.NAME
    body = BACKBONE_REGISTRY.get(backbone)(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))).bottom_up
    if not hasattr(body, "stage_names"):
        raise ValueError(f"{cfg.MODEL.SELECTOR.NAME} needs a ResNet, not {backbone}: MODEL.SELECTOR.STAGES_OF names one")
    known = list(body.stage_names)
    if name not in known[levels - 1 :]:
        raise ValueError(f"LEVEL of the selector must be one of {known[levels - 1 :]}, got {name!r}")
    return body, drop_later_stages(body, name, levels)


@SELECTOR_REGISTRY.register()
class BackboneSelector(ScaleSelector):
    """Scores of the candidate scales from early backbone features of a reduced copy of the image.

    It consists of stem and first stages of the spotter's own bottom-up network, mean and maximum over the image, and two
    linear layers. Its batch norm keeps the teacher's statistics, so scores do not depend on the batch. The images of one
    pass must have one size, since padding would change the scores (:meth:`forward` runs each size separately).

    Args:
        body: bottom-up network with one output level.
        level: name of that level.
        hidden: width of the layer between pooling and scores.
        common: see :class:`~dld.modeling.resolution.selector.ScaleSelector`.
    """

    @configurable
    def __init__(self, *, body: nn.Module, level: str, hidden: int = 64, **common) -> None:
        super().__init__(**common)
        self.body, self.level = body, level
        # number format of the convolutions at test, like the spotter's; None: float32, as always in training
        self.inference_dtype: torch.dtype | None = None
        channels = body.output_shape()[level].channels
        self.head = nn.Sequential(nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, len(self.scales)))
        # every scale is equally likely at the start
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    @classmethod
    def from_config(cls, cfg) -> dict:
        node = cfg.MODEL.SELECTOR.BACKBONE
        body, (level,) = early_stages(cfg, node.LEVEL, 1)
        return {**cls.common_arguments(cfg), "body": body, "level": level, "objective": ImageObjective.of(node)}

    def train(self, mode: bool = True) -> BackboneSelector:
        """Set training mode, except for batch norm."""
        super().train(mode)
        for m in self.body.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.eval()
        return self

    @staticmethod
    def starts_from_spotter(cfg) -> bool:
        """Tell whether the stages are those of the spotter's own backbone, so that :meth:`start_from` fits."""
        return cfg.MODEL.SELECTOR.STAGES_OF in ("", cfg.MODEL.BACKBONE.NAME)

    def start_from_spotter(self, cfg, bottom_up: Mapping[str, torch.Tensor]) -> None:
        """Do :meth:`start_from` where it fits."""
        if self.starts_from_spotter(cfg):
            self.start_from(bottom_up)

    def scores_of_reduced(self, reduced: torch.Tensor) -> torch.Tensor:
        """Compute logits (N, S) of reduced images; see :meth:`ScaleSelector.scores_of_reduced`."""
        return self.scores_of(self.body(reduced))

    def start_from(self, bottom_up: Mapping[str, torch.Tensor]) -> None:
        """Copy the weights of its stages from a spotter's bottom-up network.

        Raises:
            KeyError: that network lacks one of the stages.
        """
        own = self.body.state_dict()
        missing = [name for name in own if name not in bottom_up]
        if missing:
            raise KeyError(
                f"the teacher's backbone lacks {missing[0]} and {len(missing) - 1} more of the selector's "
                "(MODEL.SELECTOR.NAME ResolutionSelector starts from nothing)"
            )
        self.body.load_state_dict({name: bottom_up[name] for name in own})

    def forward(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return logits float32 (N, S); arguments as in :class:`~dld.modeling.resolution.selector.ScaleSelector`."""
        logits: list[torch.Tensor | None] = [None] * len(image_sizes)
        reduced = self.inference_dtype is not None and not self.training
        with torch.autocast(images.device.type, self.inference_dtype, enabled=reduced):
            for members, pixels in self.by_size(images, image_sizes):
                scores = self.scores_of(self.body(rescale_images(pixels, self.input_scale, 1).tensor))
                for i, row in zip(members, scores, strict=True):
                    logits[i] = row
        return torch.stack(logits)

    def scores_of(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute logits (N, S) from the features of images of one size."""
        x = features[self.level].float()
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    @staticmethod
    def by_size(images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]):
        """Yield the positions of the images of each size, and their unpadded pixels."""
        for size in dict.fromkeys(image_sizes):
            members = [i for i, other in enumerate(image_sizes) if other == size]
            yield members, [images[i, :, : size[0], : size[1]] for i in members]
