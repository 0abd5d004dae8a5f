"""Feature pyramid that can stop at its finest level, which is all that recognition reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from torch import nn

from dld.modeling.layers.parsimonious import make_parsimonious

__all__ = ["FinestFPN", "build_text_resnet_fpn_backbone", "parsimonious_outputs"]


class FinestFPN(FPN):
    """detectron2's FPN plus :meth:`finest`; weights and names are the same."""

    def change_outputs(self, change: Callable[[nn.Module], nn.Module]) -> None:
        """Put `change(module)` in the place of every output convolution."""
        changed = {module: change(module) for module in self.output_convs}
        for name, module in list(self.named_children()):
            if module in changed:
                setattr(self, name, changed[module])
        self.output_convs = [changed[module] for module in self.output_convs]

    def finest(self, images: torch.Tensor) -> torch.Tensor:
        """Compute only the finest level (N, C, H/4, W/4): bottom-up, lateral and top-down path, one output convolution.

        The result equals `forward(images)["p2"]`; the other output convolutions are not computed.
        """
        levels = self.bottom_up(images)
        previous = None
        for name, lateral in zip(reversed(self.in_features), self.lateral_convs, strict=True):
            level = lateral(levels[name])
            if previous is not None:
                level = level + F.interpolate(previous, scale_factor=2.0, mode="nearest")
                if self._fuse_type == "avg":
                    level = level / 2
            previous = level
        return self.output_convs[-1](previous)


@BACKBONE_REGISTRY.register()
def build_text_resnet_fpn_backbone(cfg, input_shape):
    """Build detectron2's ResNet under a :class:`FinestFPN`, levels P2..P6; checkpoints of its Mask R-CNN fit by name."""
    fpn = FinestFPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
    return parsimonious_outputs(cfg, fpn)


def parsimonious_outputs(cfg, fpn: FinestFPN) -> FinestFPN:
    """Put blocks in the place of the 3x3 output convolutions where MODEL.PARSIMONIOUS.WHERE has "fpn"; return the pyramid."""
    fpn.change_outputs(lambda conv: make_parsimonious(cfg, "fpn", conv, cfg.MODEL.FPN.NORM))
    return fpn
