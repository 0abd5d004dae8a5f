"""A small residual backbone for laptops: ResNet-18 at half width with a stem of two strided 3x3 convolutions."""

from __future__ import annotations

import torch
from detectron2.layers import CNNBlockBase, Conv2d, get_norm
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicBlock, ResNet
from torch import nn

from dld.modeling.backbone.finest_fpn import FinestFPN, parsimonious_outputs

__all__ = ["MIN_WIDTH", "TwoConvStem", "build_tiny_resnet_fpn_backbone"]

MIN_WIDTH = 16
"""Fewest channels of a strided 1x1 convolution that are safe in training with bfloat16.

With fewer, oneDNN (3.10.2, of torch 2.11) writes past its memory on a processor with AVX-512 but without AMX, from two
threads on. The process is then killed or, worse, runs on."""


class TwoConvStem(CNNBlockBase):
    """Two strided 3x3 convolutions: stride 4, like a 7x7 with pooling, but they see the strokes of thin letters twice."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__(in_channels, out_channels, stride=4)
        bias = not norm
        self.conv1 = Conv2d(
            in_channels,
            out_channels,
            3,
            stride=2,
            padding=1,
            bias=bias,
            norm=get_norm(norm, out_channels),
            activation=nn.ReLU(inplace=True),
        )
        self.conv2 = Conv2d(
            out_channels,
            out_channels,
            3,
            stride=2,
            padding=1,
            bias=bias,
            norm=get_norm(norm, out_channels),
            activation=nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x))


@BACKBONE_REGISTRY.register()
def build_tiny_resnet_fpn_backbone(cfg, input_shape):
    """Build basic blocks 2-2-2-2 of `MODEL.TINY_RESNET.WIDTHS` channels under a :class:`FinestFPN`, levels P2..P6.

    Raises:
        ValueError: two stages of equal width (detectron2's block then has no shortcut that could halve the size), or fewer than
            `MIN_WIDTH` channels.
    """
    node = cfg.MODEL.TINY_RESNET
    if any(a == b for a, b in zip(node.WIDTHS[:-1], node.WIDTHS[1:], strict=True)):
        raise ValueError(f"MODEL.TINY_RESNET.WIDTHS must differ from stage to stage, got {list(node.WIDTHS)}")
    if min(node.WIDTHS) < MIN_WIDTH:
        raise ValueError(f"MODEL.TINY_RESNET.WIDTHS must be at least {MIN_WIDTH}, got {list(node.WIDTHS)}")
    stem = TwoConvStem(input_shape.channels, node.WIDTHS[0], node.NORM)
    stages, channels = [], node.WIDTHS[0]
    for i, (blocks, width) in enumerate(zip(node.BLOCKS, node.WIDTHS, strict=True)):
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                blocks,
                stride_per_block=[1 if i == 0 else 2] + [1] * (blocks - 1),
                in_channels=channels,
                out_channels=width,
                norm=node.NORM,
            )
        )
        channels = width
    names = [f"res{i + 2}" for i in range(len(stages))]
    bottom_up = ResNet(stem, stages, out_features=names, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
    fpn = FinestFPN(bottom_up, names, cfg.MODEL.FPN.OUT_CHANNELS, norm=cfg.MODEL.FPN.NORM, top_block=LastLevelMaxPool())
    return parsimonious_outputs(cfg, fpn)
