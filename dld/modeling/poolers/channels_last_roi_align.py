"""RoIAlign on the CPU that reads channels-last features in their own memory layout."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from torch import nn
from torch.utils.flop_counter import register_flop_formula

__all__ = ["ChannelsLastRoIAlign", "float_level", "float_levels", "read_channels_last", "weighted_neighbours"]


class ChannelsLastRoIAlign(ROIAlign):
    """RoIAlign (He et al. 2017, half-pixel aligned), with torchvision's arguments and, except for rounding, its values.

    torchvision's kernel needs planes: it copies the whole map of channels-last features in every call, and on the CPU it
    then gathers single numbers. Here each cell of a crop is a weighted sum of 4 x samples^2 rows of C numbers, which is what
    an embedding bag computes. This class does so on the CPU for channels-last features with a fixed sampling ratio.
    Everything else (GPUs, tracing) goes to torchvision. `dld benchmark --only operators` measures the difference.
    """

    def forward(self, features: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Crop features (N, C, H, W) at rois (R, 5): image index, x0, y0, x1, y1; return (R, C, h, w), channels-last."""
        if not self._reads_rows(features):
            return super().forward(features, rois)
        N, C, H, W = features.shape
        R, (h, w), samples = len(rois), self.output_size, self.sampling_ratio
        corners = rois[:, 1:].to(features.dtype) * self.spatial_scale - 0.5
        rows, row_weights = weighted_neighbours(corners[:, 1], corners[:, 3], h, samples, H)
        columns, column_weights = weighted_neighbours(corners[:, 0], corners[:, 2], w, samples, W)
        rows = rows + rois[:, 0].long().view(R, 1, 1) * H
        cells = rows.view(R, h, 1, 2 * samples, 1) * W + columns.view(R, 1, w, 1, 2 * samples)
        weights = row_weights.view(R, h, 1, 2 * samples, 1) * column_weights.view(R, 1, w, 1, 2 * samples)
        neighbours = 4 * samples**2
        table = features.permute(0, 2, 3, 1).reshape(N * H * W, C)
        crops = F.embedding_bag(
            cells.view(R * h * w, neighbours),
            table,
            mode="sum",
            per_sample_weights=weights.reshape(R * h * w, neighbours) / samples**2,
        )
        return crops.view(R, h, w, C).permute(0, 3, 1, 2)

    def _reads_rows(self, features: torch.Tensor) -> bool:
        return (
            features.device.type == "cpu"
            and self.aligned
            and self.sampling_ratio > 0
            and features.dtype in (torch.float32, torch.float64)
            and features.is_contiguous(memory_format=torch.channels_last)
            and not torch.jit.is_tracing()
            and not torch.compiler.is_compiling()
        )


def float_level(level: torch.Tensor) -> torch.Tensor:
    """Convert features of any shape to float32, in which boxes must be pooled.

    RoIAlign reads boxes in the number format of the features: in bfloat16 x = 1003 would become 1004.
    """
    return level.float()


def float_levels(features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert every pyramid level with :func:`float_level`."""
    return {name: float_level(level) for name, level in features.items()}


def weighted_neighbours(
    start: torch.Tensor, end: torch.Tensor, bins: int, samples: int, extent: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute cells and weights of linear interpolation along one side of each window.

    Samples lie in the middle of equal parts of the window, `samples` per bin. A sample more than one cell outside the map
    counts as 0; a sample within that margin takes the value of the border cell.

    Args:
        start, end: float (R,), beginning and end of each window, in cells; cell 0 has its centre at 0.
        bins: cells of the crop along this side.
        extent: cells of the map along this side.

    Returns:
        cells int64 and weights float, each (R, bins, 2 samples): lower and upper neighbour of every sample.
    """
    place = (torch.arange(bins * samples, dtype=start.dtype, device=start.device) + 0.5) / (bins * samples)
    at = start[:, None] + (end - start)[:, None] * place  # (R, bins * samples)
    counts = (at >= -1) & (at <= extent)
    at = at.clamp(0, extent - 1)
    lower = at.long()
    upper = (lower + 1).clamp(max=extent - 1)
    share = at - lower
    cells = torch.stack([lower, upper], -1)
    weights = torch.stack([1 - share, share], -1) * counts.unsqueeze(-1)
    shape = (len(start), bins, 2 * samples)
    return cells.view(shape), weights.view(shape)


def read_channels_last(pooler: nn.Module | None) -> None:
    """Make detectron2's pooler over pyramid levels crop with :class:`ChannelsLastRoIAlign`; leave None and others unchanged."""
    if not isinstance(pooler, ROIPooler):
        return
    for i, level in enumerate(pooler.level_poolers):
        if type(level) is ROIAlign:
            pooler.level_poolers[i] = ChannelsLastRoIAlign(
                level.output_size, level.spatial_scale, level.sampling_ratio, level.aligned
            )


def _bag_flops(table, indices, *args, out_shape=None, **kwargs) -> int:
    # one multiply-accumulate for each number of every row read, as `dld.modeling.flops` counts torchvision's kernel
    return 2 * math.prod(indices) * table[-1]


# both kernels of embedding_bag, with and without a gradient
register_flop_formula([torch.ops.aten._embedding_bag, torch.ops.aten._embedding_bag_forward_only])(_bag_flops)
