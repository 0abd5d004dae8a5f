"""Encoders of strips that are copies of a spotter's own layers: its whole pyramid, or stem and first stage alone.

Both have features at every fourth pixel, of which a few bands of rows are kept side by side until a convolution has seen them:
what is above and below in a letter is what tells it. N strips, H rows and W columns of pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import build_backbone
from torch import nn

from dld.modeling.backbone.finest_fpn import FinestFPN
from dld.modeling.backbone.first_stages import drop_later_stages, stages_of
from dld.modeling.layers.parsimonious import without_parsimony
from dld.modeling.recognition.strip_encoder import ENCODER_WIDTH, STRIP_ENCODER_REGISTRY, StripEncoder

__all__ = ["BandHead", "PyramidEncoder", "StemEncoder"]

STRIDE = 4  # of the level that is read
BANDS = 4


class BandHead(nn.Module):
    """Features (N, C, h, w) -> (N, 384, 1, w): means of bands of rows, one convolution over all bands and three columns, 1x1.

    Args:
        in_channels: C.
        width: channels between the two convolutions.
        bands: bands of equal height into which the rows are divided.
    """

    def __init__(self, in_channels: int, width: int = 192, bands: int = BANDS) -> None:
        super().__init__()
        self.bands = bands
        self.across = nn.Conv2d(in_channels, width, (bands, 3), padding=(0, 1))
        self.out = nn.Conv2d(width, ENCODER_WIDTH, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # a constant matrix: exporters know adaptive pooling by whole factors only, and the rows of a graph are always the same
        share = torch.tensor(band_shares(int(x.shape[2]), self.bands), device=x.device, dtype=x.dtype)
        x = torch.matmul(x.transpose(2, 3), share).transpose(2, 3)
        return self.out(F.gelu(self.across(x)))


def band_shares(rows: int, bands: int) -> list[list[float]]:
    """Return adaptive average pooling of rows to bands as a matrix, (rows, bands)."""
    edges = [(rows * k // bands, -(-rows * (k + 1) // bands)) for k in range(bands)]
    return [[float(first <= row < last) / (last - first) for first, last in edges] for row in range(rows)]


class SpotterEncoder(StripEncoder):
    """A base: strips in the normalisation of a spotter's images, and its layers `trunk`, whose batch norm keeps its statistics.

    Args:
        trunk: layers of a spotter.
        pixel_mean, pixel_std: of the spotter's images, BGR.
    """

    def __init__(self, trunk: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        super().__init__()
        self.trunk = trunk
        mean, std = (torch.tensor(list(x), dtype=torch.float32).view(-1, 1, 1) for x in (pixel_mean, pixel_std))
        # from x / 127.5 - 1 to the values of the images
        self.register_buffer("gain", 127.5 / std, persistent=False)
        self.register_buffer("shift", (127.5 - mean) / std, persistent=False)

    def train(self, mode: bool = True) -> SpotterEncoder:
        """Set training mode, except for batch norm: a few strips are not a batch of images."""
        super().train(mode)
        for module in self.trunk.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def as_images(self, strips: torch.Tensor) -> torch.Tensor:
        """Return strips as the spotter's images are normalised."""
        return strips * self.gain + self.shift

    def _take(self, state: Mapping[str, torch.Tensor], prefix: str) -> None:
        """Copy the trunk's weights from those with this prefix."""
        own = self.trunk.state_dict()
        for name, value in own.items():
            given = state.get(f"{prefix}{name}")
            if given is None or given.shape != value.shape:
                said = "lack it" if given is None else f"have {tuple(given.shape)}"
                raise ValueError(
                    f"weights of another backbone than MODEL.BACKBONE.NAME: {prefix}{name} is {tuple(value.shape)}, they {said}"
                )
        self.trunk.load_state_dict({name: state[f"{prefix}{name}"] for name in own})


@STRIP_ENCODER_REGISTRY.register()
class PyramidEncoder(SpotterEncoder):
    """The spotter's backbone with its pyramid, whose finest level (stride 4) a :class:`BandHead` reads.

    Strips are padded on the right and at the bottom with zeros, as the spotter pads images, to what the pyramid divides.

    Args:
        backbone: gives a level of stride 4.
        pixel_mean, pixel_std: see :class:`SpotterEncoder`.

    Raises:
        ValueError: it gives no such level.
    """

    @configurable
    def __init__(self, *, backbone: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        level = next((name for name, shape in backbone.output_shape().items() if shape.stride == STRIDE), None)
        if level is None:
            raise ValueError(f"MODEL.STRIPS.ENCODER.NAME pyramid: MODEL.BACKBONE.NAME gives no level of stride {STRIDE}")
        super().__init__(backbone, pixel_mean, pixel_std)
        self.column_multiple = max(backbone.size_divisibility, STRIDE)
        self.level, self.head = level, BandHead(backbone.output_shape()[level].channels)
        if isinstance(backbone, FinestFPN):
            _drop_coarse_outputs(backbone)

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {
            "backbone": build_backbone(without_parsimony(cfg)),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def start_from(self, spotter: Mapping[str, torch.Tensor]) -> None:
        """Copy backbone and pyramid; see :meth:`StripEncoder.start_from`."""
        self._take(spotter, "backbone.")

    def forward(self, strips: torch.Tensor) -> torch.Tensor:
        rows, columns = int(strips.shape[2]), strips.shape[3]
        x = F.pad(self.as_images(strips), (0, -columns % self.column_multiple, 0, -rows % self.column_multiple))
        x = self.trunk.finest(x) if isinstance(self.trunk, FinestFPN) else self.trunk(x)[self.level]
        return self.head(x[:, :, : rows // STRIDE, : columns // STRIDE])


def _drop_coarse_outputs(pyramid: FinestFPN) -> None:
    """Drop the output convolutions that the finest level does not need, in place."""
    *coarse, finest = pyramid.output_convs
    for name in [name for name, module in pyramid.named_children() if any(module is other for other in coarse)]:
        delattr(pyramid, name)
    pyramid.output_convs = [finest]


@STRIP_ENCODER_REGISTRY.register()
class StemEncoder(SpotterEncoder):
    """Stem and first stage of the spotter's backbone, two convolutions 3x3 of its own, and a :class:`BandHead`.

    Args:
        bottom_up: one whose stages can be cut off (`stages_of`); its first has stride 4.
        pixel_mean, pixel_std: see :class:`SpotterEncoder`.
        width: channels of the convolutions.

    Raises:
        ValueError: another kind of network.
    """

    @configurable
    def __init__(
        self, *, bottom_up: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float], width: int = 96
    ) -> None:
        stages = stages_of(bottom_up)
        if not stages:
            raise ValueError(
                f"MODEL.STRIPS.ENCODER.NAME stem: {type(bottom_up).__name__} of MODEL.BACKBONE.NAME has no stages to cut, "
                "a ResNet and TextConvNetStages have"
            )
        (level,) = drop_later_stages(bottom_up, stages[0])
        super().__init__(bottom_up, pixel_mean, pixel_std)
        self.level = level
        channels = bottom_up.output_shape()[self.level].channels
        self.own = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU()
        )
        self.head = BandHead(width)

    @classmethod
    def from_config(cls, cfg) -> dict:
        backbone = build_backbone(without_parsimony(cfg))
        bottom_up = getattr(backbone, "bottom_up", backbone)
        return {"bottom_up": bottom_up, "pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}

    def start_from(self, spotter: Mapping[str, torch.Tensor]) -> None:
        """Copy stem and first stage; see :meth:`StripEncoder.start_from`."""
        prefix = "backbone.bottom_up." if any(name.startswith("backbone.bottom_up.") for name in spotter) else "backbone."
        self._take(spotter, prefix)

    def forward(self, strips: torch.Tensor) -> torch.Tensor:
        return self.head(self.own(self.trunk(self.as_images(strips))[self.level]))
