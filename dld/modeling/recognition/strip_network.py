"""The network that reads strips: a convolutional body, a mixer of columns, and a linear head for CTC.

It has the layers of PP-OCRv6's "small" recogniser (PaddleOCR, Apache-2.0) in the same order, so that those weights fit
(`dld.modeling.recognition.ppocr_weights`). Batch norm is folded into the convolutions. N strips, H rows and W columns of
pixels, L = W / 8 columns of features, C = 120 channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from torch import nn

from dld.modeling.recognition.strip_encoder import ENCODER_WIDTH, STRIP_ENCODER_REGISTRY, StripEncoder
from dld.modeling.text_convnet import TextConvNet

__all__ = ["BODY_WIDTHS", "COLUMN_WIDTH", "ColumnMixer", "StripBody"]

COLUMN_WIDTH = 120
# input channels of each block, and which blocks see the whole strip; the width grows where the rows are halved
BODY_WIDTHS = (96, 96, 96, 96, 192, 192, 192, 192, 192, 192, 192, 384, 384, ENCODER_WIDTH)
_SQUEEZED = (0, 4, 6, 8, 11)
_HALVED = (3, 10)


@STRIP_ENCODER_REGISTRY.register()
class StripBody(TextConvNet, StripEncoder):
    """Normalised strips (N, 3, H, W) -> features (N, 384, H / 16, W / 4)."""

    @configurable
    def __init__(self) -> None:
        super().__init__(48, BODY_WIDTHS, _SQUEEZED, _HALVED, (2, 1))

        self.last_layer_group = (sum(width == ENCODER_WIDTH for width in BODY_WIDTHS[1:]), ENCODER_WIDTH)

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {}


class ColumnAttention(nn.Module):
    """A transformer block with eight heads (norm first, SiLU) over the columns of one strip."""

    def __init__(self, width: int = COLUMN_WIDTH, heads: int = 8) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        N, L, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(N, L, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        # written out, so that exporters and FLOP counters see its two products; strips are short
        weights = (torch.matmul(q, k.transpose(2, 3)) * (C // self.heads) ** -0.5).softmax(-1)
        x = x + self.out(torch.matmul(weights, v).transpose(1, 2).reshape(N, L, C))
        return x + self.narrow(F.silu(self.widen(self.norm2(x))))


class ColumnMixer(nn.Module):
    """Mixes features of one row (N, in_channels, 1, L) into columns (N, L, 120) that depend on the word around them.

    Attributes:
        layer_group: number and channels of :meth:`layers`.
    """

    def __init__(self, in_channels: int = BODY_WIDTHS[-1], width: int = COLUMN_WIDTH) -> None:
        super().__init__()
        self.shortcut, self.inward = nn.Conv2d(in_channels, width, 1), nn.Conv2d(in_channels, width, 1)
        self.local = nn.Conv2d(width, width, (1, 7), padding=(0, 3), groups=width)
        self.blocks, self.norm = nn.Sequential(ColumnAttention(), ColumnAttention()), nn.LayerNorm(width, eps=1e-6)
        self.layer_group = (1 + len(self.blocks), width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)[-1]

    def layers(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the columns (N, L, 120) after the convolutions, after each block but the last, and mixed."""
        short = F.silu(self.shortcut(x)).squeeze(2).transpose(1, 2)
        z = F.silu(self.inward(x))
        z = z + F.silu(self.local(z))
        columns = [z.squeeze(2).transpose(1, 2)]
        for block in self.blocks:
            columns.append(block(columns[-1]))
        columns[-1] = self.norm(columns[-1]) + short
        return tuple(columns)
