"""Polygons of any length as one tensor, and their masks on the device without a loop over words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

__all__ = ["PaddedPolygons"]


class PaddedPolygons:
    """R polygons in one tensor; drop-in for detectron2's `PolygonMasks` where heads crop ground-truth masks.

    Short polygons repeat their last vertex: a repeated vertex adds an edge of length zero, which no ray crosses, so
    the even-odd rule gives the same mask.

    Args:
        points: float tensor (R, P, 2), x and y in pixels of the image.
    """

    def __init__(self, points: torch.Tensor) -> None:
        if points.dim() != 3 or points.shape[-1] != 2:
            raise ValueError(f"points must have shape (R, P, 2), got {tuple(points.shape)}")
        self.points = points

    @classmethod
    def from_list(cls, polygons: Sequence) -> PaddedPolygons:
        """Build from R arrays of shape (P_i, 2), P_i >= 3."""
        if not len(polygons):
            return cls(torch.zeros(0, 3, 2))
        longest = max(len(p) for p in polygons)
        points = torch.zeros(len(polygons), longest, 2)
        for row, polygon in zip(points, polygons, strict=True):
            # a copy: torch refuses reversed arrays
            polygon = torch.from_numpy(np.array(polygon, dtype=np.float32))
            row[: len(polygon)] = polygon
            row[len(polygon) :] = polygon[-1]
        return cls(points)

    @classmethod
    def cat(cls, items: Sequence[PaddedPolygons]) -> PaddedPolygons:
        """Concatenate over words."""
        longest = max(x.points.shape[1] for x in items)
        padded = []
        for x in items:
            missing = longest - x.points.shape[1]
            padded.append(torch.cat([x.points, x.points[:, -1:].expand(-1, missing, -1)], 1) if missing else x.points)
        return cls(torch.cat(padded))

    def __len__(self) -> int:
        return self.points.shape[0]

    def __getitem__(self, index) -> PaddedPolygons:
        if isinstance(index, int):
            index = [index]
        return PaddedPolygons(self.points[index])

    def to(self, *args, **kwargs) -> PaddedPolygons:
        return PaddedPolygons(self.points.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        return self.points.device

    def scale(self, scale_x: float, scale_y: float) -> PaddedPolygons:
        """Return the polygons of the image resized by these factors."""
        return PaddedPolygons(self.points * self.points.new_tensor([scale_x, scale_y]))

    def coverage(self, boxes: torch.Tensor, size: tuple[int, int], samples: int = 2) -> torch.Tensor:
        """Compute the share of each cell that lies inside the polygon (even-odd rule).

        Args:
            boxes: (R, 4) x0 y0 x1 y1, one window per polygon.
            size: rows and columns (H, W) of the grid laid over each window.
            samples: sample points per cell and direction.

        Returns:
            float (R, H, W) in [0, 1].
        """
        (H, W), R = size, len(self)
        if R == 0:
            return boxes.new_zeros((0, H, W))
        start = self.points  # (R, P, 2)
        end = torch.roll(start, -1, dims=1)
        steps_x = (torch.arange(W * samples, device=boxes.device) + 0.5) / (W * samples)
        steps_y = (torch.arange(H * samples, device=boxes.device) + 0.5) / (H * samples)
        x = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * steps_x  # (R, W')
        y = boxes[:, 1:2] + (boxes[:, 3:4] - boxes[:, 1:2]) * steps_y  # (R, H')
        # where each edge crosses each row; an edge that does not cross gets a crossing left of everything
        above = y[:, :, None] < start[:, None, :, 1]  # (R, H', P)
        crosses = above != (y[:, :, None] < end[:, None, :, 1])
        rise = end[..., 1] - start[..., 1]
        slope = (end[..., 0] - start[..., 0]) / torch.where(rise == 0, 1, rise)
        at = start[:, None, :, 0] + (y[:, :, None] - start[:, None, :, 1]) * slope[:, None, :]
        at = torch.where(crosses, at, -torch.inf)
        right = (at[:, :, None, :] > x[:, None, :, None]).sum(-1)  # (R, H', W')
        inside = (right % 2).to(torch.float32)
        return inside.view(R, H, samples, W, samples).mean((2, 4))

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Draw masks for detectron2's mask loss: bool (R, mask_size, mask_size), one over each box (R, 4)."""
        return self.coverage(boxes, (mask_size, mask_size)) >= 0.5
