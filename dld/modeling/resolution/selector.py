"""Resolution selector: a small network that reads a reduced copy of the image and scores the candidate scales.

N images, S candidate scales, C channels, H W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from detectron2.config import configurable
from detectron2.structures import ImageList
from detectron2.utils.registry import Registry
from torch import nn

from dld.modeling.resolution.rescale import rescale_images

__all__ = ["SELECTOR_REGISTRY", "MaskedGroupNorm", "ResolutionSelector", "build_selector", "check_scales"]

SELECTOR_REGISTRY = Registry("SELECTOR")
SELECTOR_REGISTRY.__doc__ = "Resolution selectors; called as `cls(cfg)`."

_CHANNELS_PER_GROUP = 8


class MaskedGroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018) whose statistics come from each image's own cells, never from padding.

    Args:
        channels: C, in groups of 8 (or one group where 8 does not divide it).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups = channels // _CHANNELS_PER_GROUP if channels % _CHANNELS_PER_GROUP == 0 else 1
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) and mask (N, 1, H, W), 1 on the image and 0 on padding -> (N, C, H, W)."""
        N, C, H, W = x.shape
        grouped = x.reshape(N, self.groups, C // self.groups, H, W)
        mask = mask.unsqueeze(1)  # (N, 1, 1, H, W)
        count = mask.sum((2, 3, 4), keepdim=True) * (C // self.groups)
        mean = (grouped * mask).sum((2, 3, 4), keepdim=True) / count
        centred = (grouped - mean) * mask
        variance = centred.square().sum((2, 3, 4), keepdim=True) / count
        x = (centred * torch.rsqrt(variance + self.eps)).reshape(N, C, H, W)
        return x * self.weight.view(1, C, 1, 1) + self.bias.view(1, C, 1, 1)


class _Unmodified(nn.Module):
    """No normalisation, called as one."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x


_NORMS = {"GN": MaskedGroupNorm, "": lambda channels: _Unmodified()}


def _halved(sizes: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sizes (N, 2) of the images after a stride of 2 over x (N, C, H, W), and the mask of their cells.

    ceil(n / 2) cells remain of n, in every layer here: as many as when the image runs alone.
    """
    sizes = (sizes + 1) // 2
    rows = torch.arange((x.shape[2] + 1) // 2, device=x.device) < sizes[:, :1]  # (N, H/2)
    columns = torch.arange((x.shape[3] + 1) // 2, device=x.device) < sizes[:, 1:]  # (N, W/2)
    return sizes, (rows[:, None, :, None] & columns[:, None, None, :]).to(x.dtype)


class DownStem(nn.Module):
    """3x3 convolution with stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x (N, C, H, W) and mask as in :class:`ResidualDownBlock`."""
        return torch.relu(self.conv(x)) * mask


class ResidualDownBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside a 1x1 convolution with stride 2.

    Normalised between the convolutions only. The sum is not: averaged over the image it must still tell much small
    text from little, which normalising each image by itself would take away.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=not norm)
        self.norm1 = _NORMS[norm](out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x (N, C, H, W) that is 0 on padding; mask (N, 1, ceil(H/2), ceil(W/2)) of the result."""
        inner = torch.relu(self.norm1(self.conv1(x), mask)) * mask
        # every second cell, where a strided convolution would do: that one is not safe with few channels in bfloat16 (see
        # `MIN_WIDTH` in dld/modeling/backbone/tiny_resnet.py)
        return torch.relu(self.conv2(inner) + self.shortcut(x[:, :, ::2, ::2])) * mask


def check_scales(scales: Sequence[float], input_scale: float) -> None:
    """Raises ValueError, naming the key, unless the candidates ascend within (0, 1] and the reduction lies in it."""
    if not scales or list(scales) != sorted(set(scales)) or not (0 < scales[0] and scales[-1] <= 1):
        raise ValueError(f"MODEL.SELECTOR.SCALES must ascend within (0, 1], got {list(scales)}")
    if not 0 < input_scale <= 1:
        raise ValueError(f"MODEL.SELECTOR.INPUT_SCALE must be in (0, 1], got {input_scale}")


@SELECTOR_REGISTRY.register()
class ResolutionSelector(nn.Module):
    """Scores of the candidate scales for each image.

    A stem and residual blocks, each of stride 2, then mean and maximum over the image, then one linear layer: the mean
    sees how much of the image is small text, the maximum whether there is any. Cells of padding are set to 0 after
    every convolution, as the convolution's own border is, so the scores of an image do not depend on the batch it
    comes in. Nothing here depends on the batch: no batch norm, no dropout. Runs in float32 under autocast: it is a
    small part of the cost, and rounding must not decide between two scales.

    All scores are 0 at the start: every scale is equally likely.

    Args:
        scales: candidate scales s_i in (0, 1], ascending, of the teacher's resolution.
        channels: output channels of the stem and of each block.
        norm: "" for none, or "GN" (:class:`MaskedGroupNorm`; doubles the time and learned later in a small trial).
        input_scale: reduction of the image the selector reads, in (0, 1].

    Raises:
        ValueError: scales or input_scale out of range, or an unknown norm.
    """

    @configurable
    def __init__(
        self,
        *,
        scales: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        channels: Sequence[int] = (16, 32, 64, 96),
        norm: str = "",
        input_scale: float = 0.375,
    ) -> None:
        super().__init__()
        check_scales(scales, input_scale)
        if not channels:
            raise ValueError("MODEL.SELECTOR.CHANNELS must name at least the stem's channels")
        if norm not in _NORMS:
            raise ValueError(f"MODEL.SELECTOR.NORM must be one of {sorted(_NORMS)}, got {norm!r}")
        self.scales = tuple(float(s) for s in scales)
        self.input_scale = input_scale
        self.stem = DownStem(3, channels[0])
        self.blocks = nn.ModuleList(
            ResidualDownBlock(a, b, norm) for a, b in zip(channels[:-1], channels[1:], strict=True)
        )
        self.head = nn.Linear(2 * channels[-1], len(self.scales))
        self._initialize()

    @classmethod
    def from_config(cls, cfg) -> dict:
        node = cfg.MODEL.SELECTOR
        return {
            "scales": tuple(node.SCALES),
            "channels": tuple(node.CHANNELS),
            "norm": node.NORM,
            "input_scale": node.INPUT_SCALE,
        }

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks:
            # two paths are added: half the variance each
            for conv in (block.conv2, block.shortcut):
                conv.weight.data.mul_(math.sqrt(0.5))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def reduce(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> ImageList:
        """The copies the selector reads; arguments as in :meth:`forward`."""
        return rescale_images(ImageList(images, list(image_sizes)), self.input_scale, divisibility=1)

    def forward(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Score the candidate scales.

        Args:
            images: normalised batch at the teacher's resolution (N, 3, H, W); what it holds on padding is not read.
            image_sizes: unpadded (H, W) of each image.

        Returns:
            logits float32 (N, S).
        """
        with torch.autocast(images.device.type, enabled=False):
            reduced = self.reduce(images, image_sizes)
            sizes = torch.tensor(reduced.image_sizes, device=images.device)  # (N, 2)
            x = reduced.tensor.float()
            for layer in (self.stem, *self.blocks):
                sizes, mask = _halved(sizes, x)
                x = layer(x, mask)
            mean = x.sum((2, 3)) / mask.sum((2, 3))
            # x is not negative, so a zero on padding is the maximum only where all of the image is zero
            return self.head(torch.cat([mean, x.amax((2, 3))], 1))


def build_selector(cfg) -> nn.Module:
    """Build `cfg.MODEL.SELECTOR.NAME`."""
    return SELECTOR_REGISTRY.get(cfg.MODEL.SELECTOR.NAME)(cfg)
