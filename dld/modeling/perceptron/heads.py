"""Dense heads of the Text Perceptron: what each cell of the finest level belongs to, and where the ends of its word lie.

N images, C channels, h w rows and columns of the maps, which are those of the level.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

__all__ = ["KINDS", "LongTextBlock", "MapHeads", "Maps"]

# classes 1 to 4 of a cell; a later one hides an earlier one
KINDS = ("center", "head", "tail", "boundary")
# x and y to the two corners of the head, x and y to those of the tail, and to the outline: left, top, right, bottom
OFFSETS = 12


class Maps(NamedTuple):
    """What the heads say of N images."""

    logits: torch.Tensor  # (N, 4, h, w), one map for each of KINDS
    offsets: torch.Tensor  # (N, 12, h, w), (cell - target) / 32 pixels, see `dld.modeling.perceptron.map_targets`


def _conv(channels: int, kernel: int | tuple[int, int], groups: int) -> nn.Sequential:
    """Build convolution, group norm (none of 0 groups) and ReLU; the size stays."""
    padding = kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
    norm = [nn.GroupNorm(groups, channels)] if groups else []
    return nn.Sequential(nn.Conv2d(channels, channels, kernel, padding=padding, bias=not groups), *norm, nn.ReLU())


class LongTextBlock(nn.Module):
    """Sees along lines of text: 3x3, and 1x7 with and without it, added and mixed by another 3x3.

    Args:
        channels: of input and output.
        groups: of the norm behind each convolution; 0: none.
    """

    def __init__(self, channels: int, groups: int = 0) -> None:
        super().__init__()
        self.square, self.mix = _conv(channels, 3, groups), _conv(channels, 3, groups)
        self.along_square, self.along = _conv(channels, (1, 7), groups), _conv(channels, (1, 7), groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, h, w) to the same shape."""
        square = self.square(x)
        return self.mix(square + self.along_square(square) + self.along(x))


class MapHeads(nn.Module):
    """Long-text block, then a branch that segments and one that regresses, each a 3x3 and a 1x1 convolution.

    In the released code of the authors both branches share the first convolution; here each has its own.

    Args:
        channels: of the level, and of every layer but the last.
        groups: see :class:`LongTextBlock`.

    Raises:
        ValueError: the channels cannot be divided into these groups.
    """

    def __init__(self, channels: int, groups: int = 0) -> None:
        super().__init__()
        if groups < 0 or (groups and channels % groups):
            raise ValueError(f"MODEL.TEXT_PERCEPTRON.GROUPS must be 0 or divide the {channels} channels, got {groups}")
        self.block = LongTextBlock(channels, groups)
        self.segmentation, self.regression = _conv(channels, 3, groups), _conv(channels, 3, groups)
        self.classes, self.offsets = nn.Conv2d(channels, len(KINDS), 1), nn.Conv2d(channels, OFFSETS, 1)
        for last in (self.classes, self.offsets):
            nn.init.xavier_normal_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, level: torch.Tensor) -> Maps:
        """Compute the maps of a level (N, C, h, w), float32."""
        x = self.block(level)
        return Maps(self.classes(self.segmentation(x)).float(), self.offsets(self.regression(x)).float())
