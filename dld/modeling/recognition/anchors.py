"""Characters as anchors of a word: where they are on maps of its view, and how a word is read along them.

CAM and APM (arXiv 2002.03509) as far as its abstract tells: characters are found one by one without boxes, and features are
interpolated along them to a sequence. The formulas here are ours. R words, T characters, L columns, S^2 cells of a view (see
:class:`~dld.modeling.poolers.view_pooler.ViewPooler`). Points are shares of the word's box: (0, 0) is its upper left corner,
(1, 1) its lower right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from dld.modeling.poolers.view_pooler import in_forms
from dld.structures.tall import STANDING

__all__ = ["Anchors", "cell_middles", "find_anchors", "gather", "heat_targets", "middle_lines", "order_targets", "read_points"]

Forms = Sequence[tuple[int, int]]


class Anchors(NamedTuple):
    """The characters of R words in the order of reading."""

    points: torch.Tensor  # float32 (R, T, 2), shares of the box; beyond the word's own number anything
    count: torch.Tensor  # int64 (R,)

    @classmethod
    def of(cls, points: torch.Tensor, boxes: torch.Tensor) -> Anchors:
        """Make anchors of points (R, T, 2) in pixels, NaN beyond a word's last character, and boxes (R, 4)."""
        shares = (points - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])
        known = shares.isfinite().all(-1)
        return cls(torch.where(known[..., None], shares, 0.0), known.sum(1))


def cell_middles(form: torch.Tensor, forms: Forms) -> torch.Tensor:
    """Return the middles of the cells of views, row by row, float32 (R, S^2, 2), as shares of the box."""
    lines = []
    for h, w in forms:
        y, x = ((torch.arange(n, device=form.device, dtype=torch.float32) + 0.5) / n for n in (h, w))
        lines.append(torch.stack(torch.broadcast_tensors(x[None], y[:, None]), -1).view(h * w, 2))
    return torch.stack(lines)[form]


def heat_targets(corners: torch.Tensor, boxes: torch.Tensor, form: torch.Tensor, forms: Forms, radius: float) -> torch.Tensor:
    """Draw the map of heat: the largest over all characters of exp(-d^2 / 2 r^2), and 1 in the cell that holds a middle.

    d is the distance of a cell's middle from that of the character, r = `radius` x the shortest side of the character, both in
    pixels. Characters that are narrower than a cell have one none the less.

    Args:
        corners: (R, T, 4, 2) in pixels; NaN where there is no character.
        boxes: (R, 4) in pixels, of the views.
        form: int64 (R,).

    Returns:
        float32 (R, S^2), 0 for a word without characters.
    """
    origin, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    middles = corners.mean(2)  # R, T, 2
    known = middles.isfinite().all(-1)
    r = radius * (corners.roll(-1, 2) - corners).norm(dim=-1).amin(2).clamp(min=1e-3)
    cells = origin[:, None] + cell_middles(form, forms) * size[:, None]
    squared = (cells[:, None] - middles[:, :, None]).square().sum(-1)  # R, T, S^2
    heat = torch.exp(-squared / (2 * r.square())[..., None])
    heat = torch.where(known[..., None], heat, 0.0).amax(1)
    # the cell that a middle lies in
    shapes = torch.tensor(forms, device=boxes.device)[form]  # R, 2: rows and columns
    share = torch.where(known[..., None], (middles - origin[:, None]) / size[:, None], -1.0)
    column, row = (share * shapes[:, None].flip(-1)).floor().long().unbind(-1)
    inside = ((share >= 0) & (share < 1)).all(-1)
    at = torch.where(inside, row * shapes[:, None, 1] + column, 0)
    # a word's characters outside of its view mark nothing: the largest of 0 and what is there
    return heat.scatter_reduce(1, at, inside.to(heat.dtype), "amax")


def order_targets(corners: torch.Tensor, boxes: torch.Tensor, form: torch.Tensor, forms: Forms) -> torch.Tensor:
    """Draw the map of order: which share of the word's line has been read at the point of it that is nearest to a cell.

    The line runs from the middle of the first character's left edge through the middles of all characters to the middle of
    the last one's right edge.

    Args:
        corners, boxes, form: see :func:`heat_targets`.

    Returns:
        float32 (R, S^2) in [0, 1]; 0 for a word without characters.
    """
    R, T = corners.shape[:2]
    known = corners.isfinite().flatten(2).all(-1)
    count = known.sum(1)
    corners = torch.where(known[..., None, None], corners, 0.0)
    last = corners[torch.arange(R, device=corners.device), (count - 1).clamp(min=0)]  # R, 4, 2
    tail = (last[:, 1] + last[:, 2]) / 2
    middles = torch.where(known[..., None], corners.mean(2), tail[:, None])
    head = (corners[:, 0, 0] + corners[:, 0, 3]) / 2
    line = torch.cat([head[:, None], middles, tail[:, None]], 1)  # R, T + 2, 2
    step = line[:, 1:] - line[:, :-1]
    length = step.norm(dim=-1)  # R, T + 1
    before = length.cumsum(1) - length
    cells = boxes[:, None, :2] + cell_middles(form, forms) * (boxes[:, None, 2:] - boxes[:, None, :2])
    away = cells[:, :, None] - line[:, None, :-1]  # R, S^2, T + 1, 2
    along = ((away * step[:, None]).sum(-1) / length.square().clamp(min=1e-6)[:, None]).clamp(0, 1)
    distance = (away - along[..., None] * step[:, None]).square().sum(-1)
    nearest = distance.argmin(-1, keepdim=True)
    read = (before[:, None] + along * length[:, None]).gather(-1, nearest)[..., 0]
    return read / length.sum(1, keepdim=True).clamp(min=1e-6)


@torch.no_grad()
def find_anchors(maps: torch.Tensor, form: torch.Tensor, forms: Forms, threshold: float, most: int) -> Anchors:
    """Find characters on the maps of R words: cells hotter than their eight neighbours and than `threshold`, in their order.

    An anchor is the mean of its cell and its neighbours, weighted by their heat.

    Args:
        maps: (R, 2, S, S), logits of heat and order.
        form: int64 (R,).
        threshold: least heat.
        most: anchors of a word; the hottest count.
    """
    R, cells = len(maps), maps.shape[2] * maps.shape[3]
    logits = maps.float()
    if not R:
        return Anchors(logits.new_zeros(0, most, 2), form.new_zeros(0))
    offsets = torch.tensor([[x, y] for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)], device=maps.device)

    def peaks(own: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """Return score, x and y of every cell, (R', S^2, 3)."""
        heat = logits[own, 0].reshape(-1, 1, *shape)
        highest = F.max_pool2d(heat, 3, 1, 1)
        warm = heat.sigmoid()
        score = torch.where(heat == highest, warm, 0.0).flatten(1)
        near = F.unfold(warm, 3, padding=1)  # R', 9, S^2
        shift = torch.einsum("rnc,nd->rcd", near, offsets) / near.sum(1).clamp(min=1e-9)[..., None]
        share = shift / shift.new_tensor([shape[1], shape[0]])
        return torch.cat([score[..., None], share], -1)

    found = in_forms(form, forms, peaks)
    points = cell_middles(form, forms) + found[..., 1:]
    score, at = found[..., 0].topk(min(most, cells), dim=1)
    hot = score > threshold
    order = logits[:, 1].flatten(1).gather(1, at).masked_fill(~hot, torch.inf)
    at = at.gather(1, order.argsort(dim=1, stable=True))
    return Anchors(points.gather(1, at[..., None].expand(-1, -1, 2)), hot.sum(1))


def middle_lines(form: torch.Tensor) -> torch.Tensor:
    """Return two points on the middle line of each box, float32 (R, 2, 2): rightwards, in a standing one downwards."""
    rightwards = torch.tensor([[0.25, 0.5], [0.75, 0.5]], device=form.device)
    return torch.where((form == STANDING)[:, None, None], rightwards.flip(-1), rightwards)


def read_points(anchors: Anchors, form: torch.Tensor, length: int) -> torch.Tensor:
    """Return the points at which words are read: on the line through their m anchors, equal numbers from each to the next.

    At u = 1/2 .. m + 1/2 in `length` equal steps, ends included, where u = i is the i-th anchor; the line goes on straight for
    half a step at both ends. A word with fewer than two anchors is read along the middle line of its box.

    Args:
        form: int64 (R,).
        length: L.

    Returns:
        float32 (R, L, 2).
    """
    points, count = anchors
    enough = count >= 2
    lines = middle_lines(form)
    if points.shape[1] < 2:
        points = lines
    else:
        fallback = F.pad(lines, (0, 0, 0, points.shape[1] - 2))
        points = torch.where(enough[:, None, None], points, fallback)
    m = torch.where(enough, count, 2)[:, None]
    u = m * torch.linspace(0, 1, length, device=points.device) - 0.5
    before = torch.minimum(u.floor().clamp(min=0).long(), m - 2)
    start, end = (points.gather(1, (before + k)[..., None].expand(-1, -1, 2)) for k in (0, 1))
    return start + (u - before)[..., None] * (end - start)


def gather(cells: torch.Tensor, form: torch.Tensor, forms: Forms, points: torch.Tensor) -> torch.Tensor:
    """Read the features of views at points, between cells bilinearly; beyond the view its last cell goes on.

    Args:
        cells: (R, C, S, S).
        form: int64 (R,), at least one word.
        points: (R, L, 2).

    Returns:
        float32 (R, L, C).
    """

    def read(own: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        view = cells[own].float().reshape(len(own), -1, *shape)
        found = F.grid_sample(view, 2 * points[own, None] - 1, "bilinear", "border", align_corners=False)
        return found[:, :, 0].transpose(1, 2)

    return in_forms(form, forms, read)
