"""Resolution selector, a small network that reads a reduced copy of the image and scores the candidate scales.

N images, S candidate scales, C channels, H W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from detectron2.config import configurable
from detectron2.structures import ImageList
from detectron2.utils.registry import Registry
from torch import nn

from dld.modeling.resolution.objective import ImageObjective
from dld.modeling.resolution.rescale import rescale_images
from dld.modeling.resolution.scale_comparison import ScaleComparison

__all__ = ["SELECTOR_REGISTRY", "ResolutionSelector", "ScaleSelector", "build_selector", "check_scales"]

SELECTOR_REGISTRY = Registry("SELECTOR")
SELECTOR_REGISTRY.__doc__ = "Resolution selectors; called as `cls(cfg)`."


def _halved(sizes: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sizes (N, 2) of the images after a stride of 2 over x (N, C, H, W), and the mask of their cells.

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
        """Convolve x (N, C, H, W); mask as in :class:`ResidualDownBlock`."""
        return torch.relu(self.conv(x)) * mask


class ResidualDownBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside a 1x1 convolution with stride 2.

    The block does not normalise: the mean over the image must show whether it has much small text or little.
    Normalising each image by itself would remove this difference.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the block on x (N, C, H, W) that is 0 on padding; mask (N, 1, ceil(H/2), ceil(W/2)) is that of the result."""
        inner = torch.relu(self.conv1(x)) * mask
        # every second cell, instead of a strided convolution, which is not safe with few channels in bfloat16 (see `MIN_WIDTH`
        # in dld/modeling/backbone/tiny_resnet.py)
        return torch.relu(self.conv2(inner) + self.shortcut(x[:, :, ::2, ::2])) * mask


def check_scales(scales: Sequence[float], input_scale: float) -> None:
    """Check that the candidates ascend within (0, 1] and that the reduction lies in it; else raise ValueError with the key."""
    if not scales or list(scales) != sorted(set(scales)) or not (0 < scales[0] and scales[-1] <= 1):
        raise ValueError(f"MODEL.SELECTOR.SCALES must ascend within (0, 1], got {list(scales)}")
    if not 0 < input_scale <= 1:
        raise ValueError(f"MODEL.SELECTOR.INPUT_SCALE must be in (0, 1], got {input_scale}")


class ScaleSelector(nn.Module):
    """Scores the candidate scales of each image, and computes the loss that trains it.

    Args:
        scales: candidate scales s_i in (0, 1], ascending, of the teacher's resolution.
        input_scale: reduction of the image that the selector reads, in (0, 1].
        gamma: weight of cost against accuracy in training.
        uniform_share: share of the training scales that are drawn uniformly.
        objective: what the scores of whole images learn; a selector that learns otherwise overrides `learn`, `risk`, `anneal`.

    Attributes:
        word_loss: what it must be told of each word, see `dld.modeling.meta_arch.scale_trial.try_scales`; None: nothing.
        mu: how much a unit of cost lowers a score after this training, where the scores do not hold the cost; None: they do.
        words_per_score: words lost by which a score falls by 1, where the scores are of words; None: they are not.

    Raises:
        ValueError: scales or input_scale out of range.
    """

    word_loss: str | None = None
    mu: float | None = None
    words_per_score: float | None = None

    def __init__(
        self,
        scales: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        input_scale: float = 0.375,
        gamma: float = 0.1,
        uniform_share: float = 0.15,
        objective: ImageObjective | None = None,
    ) -> None:
        super().__init__()
        check_scales(scales, input_scale)
        self.objective = objective if objective is not None else ImageObjective()
        self.scales, self.input_scale = tuple(float(s) for s in scales), input_scale
        self.gamma, self.uniform_share = gamma, uniform_share

    @staticmethod
    def common_arguments(cfg) -> dict:
        """Read the arguments that every selector has from a configuration."""
        node = cfg.MODEL.SELECTOR
        return {
            "scales": tuple(node.SCALES),
            "input_scale": node.INPUT_SCALE,
            "gamma": cfg.MODEL.DISTILLATION.GAMMA,
            "uniform_share": node.UNIFORM_SHARE,
        }

    def forward(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Compute logits, float32 (N, S).

        Args:
            images: normalised batch at the teacher's resolution (N, 3, H, W); what it holds on padding is not read.
            image_sizes: unpadded (H, W) of each image.
        """
        raise NotImplementedError

    def scores_of_reduced(self, reduced: torch.Tensor) -> torch.Tensor:
        """Compute logits (N, S) of reduced images of one size (N, 3, h, w) without padding: what ONNX graphs hold.

        Raises:
            ValueError: a selector that has no such form.
        """
        raise ValueError(f"a selector of class {type(self).__name__} cannot be exported")

    def start_from_spotter(self, cfg, bottom_up: Mapping[str, torch.Tensor]) -> None:
        """Take what it can use of the weights of the spotter's bottom-up network; most selectors use nothing.

        Args:
            cfg: the configuration of selector and spotter.
            bottom_up: the state of that network.
        """

    def learn(
        self, batch: ImageList, comparison: ScaleComparison, generators: list[torch.Generator] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what training makes smaller, a scalar, and the index of the scale each image is trained at, int64 (N,).

        Args:
            batch: N normalised images at the teacher's resolution, padded.
            comparison: what every scale loses on them.
            generators: of the draw for each image; None: the running stream.
        """
        logits = self(batch.tensor, batch.image_sizes).float()
        return self.objective.learn(logits, comparison, self.gamma, self.uniform_share, generators)

    def risk(self, comparison: ScaleComparison) -> torch.Tensor:
        """Return what the choice should minimise, (N, S): the loss of each scale + gamma x its cost."""
        return self.objective.risk(comparison, self.gamma)

    def anneal(self, progress: float) -> float | None:
        """Take the share of training done, before each step, and return the temperature for it; None if there is none."""
        return self.objective.anneal(progress)


@SELECTOR_REGISTRY.register()
class ResolutionSelector(ScaleSelector):
    """Scores of the candidate scales for each image.

    It consists of a stem and residual blocks, each of stride 2, mean and maximum over the image, and one linear layer. The
    mean shows how much of the image is small text, the maximum whether there is any. Cells of padding are set to 0 after
    every convolution, like the convolution's own border, so the scores of an image do not depend on its batch. Nothing here
    depends on the batch: no batch norm, no dropout. The selector runs in float32 under autocast: it is a small part of the
    cost, and rounding must not decide between two scales.

    All scores are 0 at the start, so every scale is equally likely.

    Args:
        channels: output channels of the stem and of each block.
        common: see :class:`ScaleSelector`.
    """

    @configurable
    def __init__(self, *, channels: Sequence[int] = (16, 32, 64, 96), **common) -> None:
        super().__init__(**common)
        if not channels:
            raise ValueError("MODEL.SELECTOR.RESOLUTION.CHANNELS must name at least the stem's channels")
        self.stem = DownStem(3, channels[0])
        self.blocks = nn.ModuleList(ResidualDownBlock(a, b) for a, b in zip(channels[:-1], channels[1:], strict=True))
        self.head = nn.Linear(2 * channels[-1], len(self.scales))
        self._initialize()

    @classmethod
    def from_config(cls, cfg) -> dict:
        node = cfg.MODEL.SELECTOR.RESOLUTION
        return {**cls.common_arguments(cfg), "channels": tuple(node.CHANNELS), "objective": ImageObjective.of(node)}

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks:
            # two paths are added, so each has half the variance
            for conv in (block.conv2, block.shortcut):
                conv.weight.data.mul_(math.sqrt(0.5))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def scores_of_reduced(self, reduced: torch.Tensor) -> torch.Tensor:
        """Compute logits (N, S) of reduced images; see :meth:`ScaleSelector.scores_of_reduced`."""
        x = reduced
        for layer in (self.stem, *self.blocks):
            # images of one size have no padding to mask; ceil(n / 2) cells remain of n
            x = layer(x, torch.ones_like(x[:, :1, ::2, ::2]))
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    def reduce(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> ImageList:
        """Make the reduced copies that the selector reads; arguments as in :meth:`forward`."""
        return rescale_images(ImageList(images, list(image_sizes)), self.input_scale, divisibility=1)

    def forward(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return logits float32 (N, S); arguments as in :class:`ScaleSelector`."""
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


def build_selector(cfg) -> ScaleSelector:
    """Build `cfg.MODEL.SELECTOR.NAME`."""
    return SELECTOR_REGISTRY.get(cfg.MODEL.SELECTOR.NAME)(cfg)
