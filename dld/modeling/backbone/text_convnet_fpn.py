"""The backbone of PP-OCRv6's small detector under a pyramid: it has seen far more text than a laptop can train on.

The bottom-up network gives 48, 96, 192 and 384 channels at strides 4 to 32. Lateral convolutions and depth-wise output
convolutions have the shapes of the detector's neck, so that its weights fit (`dld.modeling.backbone.ppocr_detector`); a 1x1
convolution then gives each level the channels that the heads read.
"""

from __future__ import annotations

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import nn

from dld.modeling.backbone.finest_fpn import FinestFPN
from dld.modeling.layers.parsimonious import Parsimony
from dld.modeling.text_convnet import SqueezeExcitation, TextConvNet

__all__ = ["TextConvNetFPN", "TextConvNetStages", "build_text_convnet_fpn_backbone"]

STEM = 24
WIDTHS = (48, 48, 48, 96, 96, 96, 192, 192, 192, 192, 192, 384, 384, 384)
SQUEEZED = (0, 3, 6, 8, 11)
HALVED = (2, 5, 10)
# the blocks after which a level is complete
STAGE_ENDS = (1, 4, 9, 12)
NECK = 96
"""Channels of the pyramid before its output convolutions, those of PP-OCRv6's neck."""


class TextConvNetStages(Backbone):
    """:class:`TextConvNet` in four stages, `res2` to `res5`, strides 4 to 32."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TextConvNet(STEM, WIDTHS, SQUEEZED, HALVED, (2, 2))
        self._out_features = [f"res{i + 2}" for i in range(len(STAGE_ENDS))]
        self._out_feature_channels = {n: WIDTHS[e + 1] for n, e in zip(self._out_features, STAGE_ENDS, strict=True)}
        self._out_feature_strides = {n: 4 * 2**i for i, n in enumerate(self._out_features)}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute `res2` .. `res5` of normalised images (N, 3, H, W), H and W multiples of 32."""
        x = self.net.stem_features(x)
        levels = {}
        for i, block in enumerate(self.net.blocks):
            x = block(x)
            if i in STAGE_ENDS:
                levels[self._out_features[len(levels)]] = x
        return levels


class SqueezedLateral(nn.Module):
    """1x1 convolution, and its result weighted by squeeze-excitation added to it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.project, self.squeeze = nn.Conv2d(in_channels, out_channels, 1), SqueezeExcitation(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.project(x)
        return x + self.squeeze(x)


class SeparableOutput(nn.Sequential):
    """Depth-wise 7x7, then 1x1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 7, padding=3, groups=in_channels), nn.Conv2d(in_channels, out_channels, 1)
        )


class TextConvNetFPN(FinestFPN):
    """A :class:`FinestFPN` whose lateral and output convolutions are those of PP-OCRv6's neck, levels P2..P6.

    Args:
        bottom_up: gives the levels.
        out_channels: channels of each level of the pyramid.
    """

    def __init__(self, bottom_up: Backbone, out_channels: int) -> None:
        shapes = bottom_up.output_shape()
        super().__init__(bottom_up, list(shapes), out_channels, top_block=LastLevelMaxPool())
        self.lateral_convs = [self._put("lateral", s, SqueezedLateral(s.channels, NECK)) for s in shapes.values()][::-1]
        self.output_convs = [self._put("output", s, SeparableOutput(NECK, out_channels)) for s in shapes.values()][::-1]

    def _put(self, kind: str, shape: ShapeSpec, module: nn.Module) -> nn.Module:
        setattr(self, f"fpn_{kind}{shape.stride.bit_length() - 1}", module)
        return module


@BACKBONE_REGISTRY.register()
def build_text_convnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> TextConvNetFPN:
    """Build :class:`TextConvNetStages` under a :class:`TextConvNetFPN` of MODEL.FPN.OUT_CHANNELS channels.

    Raises:
        ValueError: images that do not have three channels.
    """
    if input_shape.channels != 3:
        raise ValueError(f"build_text_convnet_fpn_backbone takes images of 3 channels, got {input_shape.channels}")
    fpn, parsimony = TextConvNetFPN(TextConvNetStages(), cfg.MODEL.FPN.OUT_CHANNELS), Parsimony.of(cfg)
    if "fpn" in parsimony.where:
        # these are no 3x3 convolutions, but the block is cheaper than they are
        fpn.change_outputs(lambda _: parsimony.conv(NECK, cfg.MODEL.FPN.OUT_CHANNELS))
    return fpn
