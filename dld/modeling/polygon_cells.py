"""Which cells of a map lie in which polygons: all words of a batch together, on the device.

N images, R polygons of P points, h w cells of the maps of one image, each `stride` x `stride` pixels, K pairs of a polygon and
a cell of its box, S samples of a cell. Nothing of the size R x h x w is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

__all__ = ["CellPairs", "cell_centers", "cell_pairs", "cell_samples", "image_cells", "joined_outlines", "near", "within"]

# numbers in one temporary tensor
_CHUNK = 1 << 22


class CellPairs(NamedTuple):
    """K pairs of words and cells."""

    word: torch.Tensor  # int64 (K,)
    row: torch.Tensor
    column: torch.Tensor


def cell_centers(row: torch.Tensor, column: torch.Tensor, stride: int) -> torch.Tensor:
    """Return the middles of cells in pixels, x and y, float32 (..., 2)."""
    return (torch.stack([column, row], -1).float() + 0.5) * stride


def image_cells(sizes: Sequence[tuple[int, int]], shape: tuple[int, int], stride: int, device: torch.device) -> torch.Tensor:
    """Return 1 for cells with a part of the image, else 0, float (N, h, w).

    Args:
        sizes: (H, W) of each image without padding.
        shape: (h, w) of the maps.
    """
    (h, w), own = shape, torch.tensor(sizes, device=device).view(-1, 2)
    rows = torch.arange(h, device=device) * stride < own[:, :1]
    columns = torch.arange(w, device=device) * stride < own[:, 1:]
    return (rows[:, :, None] & columns[:, None]).float()


def joined_outlines(outlines: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join the polygons of images, (R_i, P_i, 2) each, into one tensor (R, P, 2); shorter ones repeat their last point."""
    longest = max(x.shape[1] for x in outlines)
    return torch.cat([torch.cat([x, x[:, -1:].expand(-1, longest - x.shape[1], -1)], 1) for x in outlines])


def cell_pairs(
    polygons: torch.Tensor, shape: tuple[int, int], stride: int, numbers: int, margin: float = 0.0
) -> Iterator[CellPairs]:
    """Yield the pairs of polygons (R, P, 2) and the cells of their boxes, so many that `numbers` for each stay in memory.

    Args:
        margin: pixels by which boxes are larger.
    """
    if not len(polygons):
        return
    limit = torch.tensor([shape[1], shape[0]], device=polygons.device)
    first = ((polygons.amin(1) - margin) / stride).floor().long().clamp(min=0).minimum(limit)
    last = ((polygons.amax(1) + margin) / stride).ceil().long().clamp(min=0).minimum(limit)
    extent = (last - first).clamp(min=0)  # columns, rows
    counts = extent.prod(1)
    ends = counts.cumsum(0)
    place = torch.arange(int(ends[-1]), device=polygons.device)
    for part in place.split(max(_CHUNK // numbers, 1)):
        word = torch.searchsorted(ends, part, right=True)
        local = part - (ends - counts)[word]
        columns = extent[word, 0]
        yield CellPairs(word, first[word, 1] + local // columns, first[word, 0] + local % columns)


def cell_samples(pairs: CellPairs, stride: int, samples: int) -> torch.Tensor:
    """Return the points of each cell at which is looked, (K, samples^2, 2)."""
    steps = (torch.arange(samples, device=pairs.row.device) + 0.5) / samples * stride
    inner = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).view(1, -1, 2)
    return torch.stack([pairs.column, pairs.row], -1).float()[:, None] * stride + inner


def within(points: torch.Tensor, polygons: torch.Tensor) -> torch.Tensor:
    """Tell which points (K, S, 2) lie in the polygon (K, P, 2) of their pair, by the even-odd rule; bool (K, S)."""
    start, end = polygons[:, None], polygons.roll(-1, 1)[:, None]
    x, y = points[..., :1], points[..., 1:]
    rise = end[..., 1] - start[..., 1]
    at = start[..., 0] + (y - start[..., 1]) * (end[..., 0] - start[..., 0]) / torch.where(rise == 0, 1.0, rise)
    return (((y < start[..., 1]) != (y < end[..., 1])) & (at > x)).sum(-1) % 2 == 1


def near(points: torch.Tensor, start: torch.Tensor, stop: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Tell which points (K, S, 2) lie within a distance (K,) of a line from `start` to `stop` (K, E, 2); bool (K, S)."""
    (x, y), (ax, ay), (bx, by) = ((p[..., 0], p[..., 1]) for p in (points[:, :, None], start[:, None], stop[:, None]))
    dx, dy, ex, ey = x - ax, y - ay, bx - ax, by - ay
    share = ((dx * ex + dy * ey) / (ex * ex + ey * ey).clamp(min=1e-12)).clamp(0, 1)
    return ((dx - share * ex).square() + (dy - share * ey).square()).amin(-1) <= distance[:, None].square()
