"""The grid of MANGO: G x G cells laid over each image, whatever its size and however much it is padded.

N images, C channels, h w cells of the finest level, `stride` pixels each, G rows and columns of the grid. A cell of the grid is
a share of the image, so the same cell holds the same part of the picture at any scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["GRID_POOLING", "GridPooling", "coordinates", "grid_coordinates", "level_size", "pooling_weights"]

GRID_POOLING = ("area", "bilinear")


def level_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return the rows and columns of the level that hold a part of an image of `size` (H, W)."""
    return -(-size[0] // stride), -(-size[1] // stride)


def pooling_weights(length: float, cells: int, grid: int, how: str, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return how much each cell of the level counts in each cell of the grid along one side, float32 (G, cells).

    Args:
        length: of the image, in cells of the level; the others are padding and count 0.
        cells: of the level along this side.
        how: "area": by how much of the grid's cell it covers; "bilinear": as what is sampled at the middle of the grid's cell.
    """
    at = torch.arange(cells, device=device, dtype=torch.float64)
    own = torch.arange(grid, device=device, dtype=torch.float64)[:, None] * (length / grid)
    if how == "area":
        covered = torch.minimum(own + length / grid, at + 1) - torch.maximum(own, at)
        return (covered.clamp(min=0) * (grid / length)).float()
    last = -(-length // 1) - 1
    middle = (own + length / grid / 2 - 0.5).clamp(0, last)
    return (1 - (at - middle).abs()).clamp(min=0).float()


class GridPooling(nn.Module):
    """Makes a level G x G, each image by its own size.

    Args:
        grid: G.
        how: see :func:`pooling_weights`. The published network samples: where the grid is coarse a cell then sees 4 of the many
            places in it.
        stride: pixels per cell of the level.

    Raises:
        ValueError: a value out of its range; the message names the key.
    """

    def __init__(self, grid: int, how: str = "area", stride: int = 4) -> None:
        super().__init__()
        if grid < 1:
            raise ValueError(f"MODEL.MANGO.GRID must be at least 1, got {grid}")
        if how not in GRID_POOLING:
            raise ValueError(f"MODEL.MANGO.GRID_POOLING must be one of {', '.join(GRID_POOLING)}, got {how!r}")
        self.grid, self.how, self.stride = grid, how, stride

    def forward(self, level: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Pool a level (N, C, h, w) of images of `sizes` (H, W) without padding; float32 (N, C, G, G)."""
        (h, w), device = level.shape[-2:], level.device
        rows, columns = (
            torch.stack([pooling_weights(size[k] / self.stride, n, self.grid, self.how, device) for size in sizes])
            for k, n in enumerate((h, w))
        )
        with torch.autocast(device.type, enabled=False):
            return rows[:, None] @ level.float() @ columns[:, None].transpose(2, 3)


def coordinates(level: torch.Tensor, sizes: Sequence[tuple[int, int]], stride: int) -> torch.Tensor:
    """Return x and y of the cells of a level, -1 to 1 over each image of `sizes` (H, W) without padding, (N, 2, h, w)."""
    (h, w), own = level.shape[-2:], torch.tensor(sizes, device=level.device, dtype=level.dtype)
    y, x = (((torch.arange(n, device=level.device) + 0.5) * (2 * stride)).to(level) for n in (h, w))
    x, y = x / own[:, 1:] - 1, y / own[:, :1] - 1
    return torch.stack([x[:, None].expand(-1, h, -1), y[:, :, None].expand(-1, -1, w)], 1)


def grid_coordinates(grid: torch.Tensor) -> torch.Tensor:
    """Return x and y of the cells of a grid (N, C, G, G), -1 to 1, (N, 2, G, G)."""
    side = grid.shape[-1]
    return coordinates(grid, [(side, side)] * len(grid), 1)
