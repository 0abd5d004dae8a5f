"""Heads of MANGO: where words are, which cells of the grid lie on their middles, and the maps of their characters.

N images, C channels, h w cells of the finest level, G rows and columns of the grid, K cells of words, L character positions.
"""

from __future__ import annotations

import torch
from torch import nn

from dld.modeling.mango.grid import coordinates, grid_coordinates, level_size
from dld.modeling.perceptron.heads import LongTextBlock

__all__ = ["CharacterAttention", "FindingHeads", "tower"]

# standard deviation of new weights
STD = 0.01
# layers of the branch that says which cells lie on words
CATEGORY_CONVS = 2


def tower(in_channels: int, channels: int, convs: int, groups: int) -> nn.Sequential:
    """Build 3x3 convolutions with group norm and ReLU; the size stays.

    Raises:
        ValueError: the channels cannot be divided into these groups, or there are no convolutions.
    """
    if groups < 1 or channels % groups:
        raise ValueError(f"MODEL.MANGO.GROUPS must divide the {channels} channels, got {groups}")
    if convs < 1:
        raise ValueError(f"MODEL.MANGO.CONVS must be at least 1, got {convs}")
    return nn.Sequential(*(_conv(in_channels if i == 0 else channels, channels, 3, groups) for i in range(convs)))


def _conv(in_channels: int, channels: int, kernel: int, groups: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
    nn.init.normal_(conv.weight, std=STD)
    return nn.Sequential(conv, nn.GroupNorm(groups, channels), nn.ReLU())


class FindingHeads(nn.Module):
    """Segmentation of words at the size of the level, and the category of the grid's cells.

    Args:
        channels: of the level, and of every layer but the last.
        groups: of the norms in the branch of the category.
        block_groups: of those in the branch of the segmentation, :class:`LongTextBlock`; 0: none, as published.
        prior: probability that untrained weights give a cell of the grid; 0: the last layer starts without bias, as published.

    Raises:
        ValueError: a value out of its range; the message names the key.
    """

    def __init__(self, channels: int, groups: int = 32, block_groups: int = 0, prior: float = 0.01) -> None:
        super().__init__()
        if not 0 <= prior < 1:
            raise ValueError(f"MODEL.MANGO.CATEGORY_PRIOR must be in [0, 1), got {prior}")
        if block_groups < 0 or (block_groups and channels % block_groups):
            raise ValueError(f"MODEL.MANGO.BLOCK_GROUPS must be 0 or divide the {channels} channels, got {block_groups}")
        self.block, self.segmentation = LongTextBlock(channels, block_groups), nn.Conv2d(channels, 1, 1)
        self.category_tower = tower(channels, channels, CATEGORY_CONVS, groups)
        self.category = nn.Conv2d(channels, 1, 3, padding=1)
        for last in (self.segmentation, self.category):
            nn.init.normal_(last.weight, std=STD)
            nn.init.zeros_(last.bias)
        if prior:
            nn.init.constant_(self.category.bias, float(torch.logit(torch.tensor(prior))))

    def segment(self, level: torch.Tensor) -> torch.Tensor:
        """Return the logits of words' middles, float32 (N, h, w), of a level (N, C, h, w)."""
        return self.segmentation(self.block(level))[:, 0].float()

    def categorize(self, grid: torch.Tensor) -> torch.Tensor:
        """Return the logits of cells that lie on words, float32 (N, G, G), of a level pooled to the grid, (N, C, G, G)."""
        return self.category(self.category_tower(grid))[:, 0].float()


class CharacterAttention(nn.Module):
    """Maps of the characters of words: each cell of the grid gives L kernels, which are laid over the features of the level
    (dynamic 1x1 convolution, as SOLOv2 has it for masks; Wang et al. 2020, arXiv 2003.10152).

    The kernels' last layer, C to L C channels, is the same for all cells of the grid. It is computed at the cells that are
    read, which changes no number.

    Args:
        channels: of the level, and of every layer.
        positions: L.
        convs: 3x3 convolutions of each tower.
        groups: of their norms.
        stride: pixels per cell of the level.
    """

    def __init__(self, channels: int, positions: int, convs: int = 4, groups: int = 32, stride: int = 4) -> None:
        super().__init__()
        self.kernel_tower = tower(channels + 2, channels, convs, groups)
        self.kernel = nn.Linear(channels, channels * positions)
        self.feature_tower = tower(channels + 2, channels, convs, groups)
        self.feature = _conv(channels, channels, 1, groups)
        self.positions, self.stride = positions, stride
        nn.init.normal_(self.kernel.weight, std=STD)
        nn.init.zeros_(self.kernel.bias)

    def kernel_features(self, grid: torch.Tensor) -> torch.Tensor:
        """Return what kernels are made of, (N, C, G, G), of a level pooled to the grid, (N, C, G, G)."""
        return self.kernel_tower(torch.cat([grid, grid_coordinates(grid)], 1))

    def kernels(self, kernel_features: torch.Tensor, image: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """Return the kernels of cells, float32 (K, L, C).

        Args:
            kernel_features: see :meth:`kernel_features`.
            image: int64 (K,).
            cell: row x G + column, int64 (K,).
        """
        at = kernel_features.flatten(2)[image, :, cell]
        return self.kernel(at).float().view(len(cell), self.positions, at.shape[1])

    def features(self, level: torch.Tensor, sizes: list[tuple[int, int]]) -> torch.Tensor:
        """Return what kernels are laid over, (N, C, h, w), of a level and its images' sizes without padding."""
        return self.feature(self.feature_tower(torch.cat([level, coordinates(level, sizes, self.stride)], 1)))

    def maps(self, features: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        """Return the maps of cells of one image, probabilities float32 (K, L, P) over its P cells of the level.

        Args:
            features: of the image alone, (C, P).
            kernels: (K, L, C).
        """
        with torch.autocast(features.device.type, enabled=False):
            return (kernels.float().flatten(0, 1) @ features.float()).sigmoid().view(*kernels.shape[:2], features.shape[1])

    def of_image(self, features: torch.Tensor, i: int, size: tuple[int, int]) -> torch.Tensor:
        """Return the features (C, P) of image i of (N, C, h, w) without its padding."""
        rows, columns = level_size(size, self.stride)
        return features[i, :, :rows, :columns].flatten(1)
