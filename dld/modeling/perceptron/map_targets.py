"""What the maps of the Text Perceptron should say, drawn on the device from the sides of annotated words.

N images, R words of all of them, n points of a side, h w cells of the maps of one image, each `stride` x `stride` pixels. All
cells of all words are drawn together: a pair is a word and a cell of its box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.structures import Instances

from dld.modeling.perceptron.heads import KINDS, OFFSETS
from dld.modeling.polygon_cells import cell_centers, cell_pairs, cell_samples, image_cells, joined_outlines, near, within

__all__ = ["UNIT", "MapTargets", "draw_targets"]

# of the head, tail and boundary; lengths in pixels of the network's input
END_SHARE, LEAST_END = 0.25, 12.0
LINE_SHARE, MOST_LINE = 0.09, 12.0
# where the middle of a cell decides, as published, and where a share of it does: thinner lines leave small words a centre
LEAST_LINE, LEAST_SHARED_LINE = 3.0, 2.0
# pixels in a unit of the offsets
UNIT = 32.0
# a cell takes the highest class that covers so much of it
COVERED = 0.25
# of the background cells that exceed the others, this share counts in no loss
BALANCE = 0.6
# cells are dropped by another stream of an image than its anchors and heights
_DROPPED = 0x7E_47_9C


class MapTargets(NamedTuple):
    """Targets of N images."""

    classes: torch.Tensor  # int64 (N, h, w): 0 background, then the place in KINDS plus 1
    owner: torch.Tensor  # int64 (N, h, w): the word among the R; -1 on the background
    weights: torch.Tensor  # (N, h, w), 0 or 1: whether the cell counts in the losses of the classes
    offsets: torch.Tensor  # (N, 12, h, w)
    offset_weights: torch.Tensor  # (N, 3, h, w), 0 or 1: of the offsets of head, tail and centre cells

    @property
    def masks(self) -> torch.Tensor:
        """The classes as one map each, float (N, 4, h, w)."""
        return torch.stack([self.classes == k + 1 for k in range(len(KINDS))], 1).float()


@torch.no_grad()
def draw_targets(
    words: Sequence[Instances],
    sizes: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    stride: int = 4,
    samples: int = 4,
    seeds: Sequence[int | None] | None = None,
) -> MapTargets:
    """Draw the targets of N images.

    A word's centre is its outline; head and tail are the quads between its ends and the points of its sides a quarter of
    its smallest extent further (at least 3 pixels, at most half of a side); the boundary are its sides, 0.09 of that extent
    wide (2 to 12 pixels, at least 3 where one sample of a cell decides). A cell takes the highest class that covers a quarter
    of it in any word, and of several words the last. Words that are don't care, or have no sides, count in no loss; nor does
    padding, nor a random part of the background where there is much more of it than of words.

    Args:
        words: of each image, with `gt_fiducials` (PaddedPolygons (R_i, 2n, 2)), `gt_masks` and `gt_ignore`, in pixels.
        sizes: (H, W) of each image without padding.
        shape: (h, w) of the maps.
        stride: pixels of a cell.
        samples: points of a cell and direction; 1: what lies at its middle is its class.
        seeds: of each image, see :meth:`~dld.modeling.meta_arch.spotter.Spotter.losses`.
    """
    (h, w), N = shape, len(words)
    device = words[0].gt_boxes.device
    counts = torch.tensor([len(x) for x in words])
    image = torch.repeat_interleave(torch.arange(N), counts).to(device)
    sides = _joined_sides(words)
    known = sides.isfinite().flatten(1).all(1) & ~torch.cat([x.gt_ignore for x in words])
    best = torch.zeros(N * h * w, dtype=torch.int64, device=device)
    outlines = torch.cat([sides[:, 0], sides[:, 1].flip(1)], 1)
    drawn = known.nonzero()[:, 0]
    R, line = len(sides), LEAST_LINE if samples == 1 else LEAST_SHARED_LINE
    for pairs in cell_pairs(outlines[drawn], shape, stride, samples * samples * outlines.shape[1], MOST_LINE / 2):
        word = drawn[pairs.word]
        kinds = _kinds(cell_samples(pairs, stride, samples), sides[word], stride, line)
        cell = (image[word] * h + pairs.row) * w + pairs.column
        best.scatter_reduce_(0, cell, torch.where(kinds > 0, kinds * R + word, 0), "amax")
    best = best.view(N, h, w)
    classes = best // max(R, 1)
    owner = torch.where(classes > 0, best % max(R, 1), -1)
    weights = image_cells(sizes, shape, stride, device)
    _leave_out(weights, classes, words, image, known, stride, samples)
    _balance(weights, classes, sizes, stride, seeds)
    offsets, offset_weights = _offsets(classes, owner, sides, stride)
    return MapTargets(classes, owner, weights, offsets, offset_weights)


def _joined_sides(words: Sequence[Instances]) -> torch.Tensor:
    # an image without words does not know how many points a side has
    points = [x.gt_fiducials.points for x in words if len(x)] or [words[0].gt_fiducials.points]
    return torch.cat([p.view(len(p), 2, -1, 2) if len(p) else p.new_zeros(0, 2, 2, 2) for p in points]).float()


def _leave_out(weights, classes, words, image, known, stride: int, samples: int) -> None:
    """Set the weights to 0 on words that are not to be learned, where no other word is."""
    left = (~known).nonzero()[:, 0]
    if not len(left):
        return
    N, h, w = weights.shape
    polygons = joined_outlines([x.gt_masks.points for x in words])[left]
    for pairs in cell_pairs(polygons, (h, w), stride, samples * samples * polygons.shape[1]):
        covered = within(cell_samples(pairs, stride, samples), polygons[pairs.word]).float().mean(1) >= COVERED
        at = image[left[pairs.word]], pairs.row, pairs.column
        hidden = tuple(index[covered] for index in at)
        weights[hidden] = torch.where(classes[hidden] > 0, weights[hidden], 0.0)


def _balance(weights, classes, sizes, stride: int, seeds: Sequence[int | None] | None) -> None:
    """Set the weights of random background cells to 0, in an image where they are more than the others by far."""
    for i, (height, width) in enumerate(sizes):
        h, w = -(-height // stride), -(-width // stride)
        seed = None if seeds is None else seeds[i]
        # on the CPU, and of the image's own cells: the same on any device and beside any other image
        generator = None if seed is None else torch.Generator().manual_seed(seed ^ _DROPPED)
        keys = torch.rand(h, w, generator=generator).to(weights.device)
        background = (classes[i, :h, :w] == 0) & (weights[i, :h, :w] > 0)
        drop = int(BALANCE * int(background.sum()) - int((classes[i] > 0).sum()))
        if drop > 0:
            last = keys[background].kthvalue(drop).values
            weights[i, :h, :w].masked_fill_(background & (keys <= last), 0.0)


def _kinds(points: torch.Tensor, sides: torch.Tensor, stride: int, least_line: float) -> torch.Tensor:
    """Return the class of each cell in its word, int64 (K,): the highest that holds a quarter of `points` (K, S, 2)."""
    steps = (sides[:, :, 1:] - sides[:, :, :-1]).norm(dim=-1)
    length = steps.sum(-1)  # K, 2
    ends = (sides[:, 0] - sides[:, 1]).norm(dim=-1)[:, [0, -1]]
    least = torch.cat([length, ends], 1).amin(1)
    reach = torch.minimum(END_SHARE * least.clamp(min=LEAST_END), length.amin(1) / 2)
    line = (LINE_SHARE * least).clamp(least_line, MOST_LINE) / 2
    outline = torch.cat([sides[:, 0], sides[:, 1].flip(1)], 1)
    # a cell that no line can touch lies inside or outside as its middle does: only the others are looked at closely
    middle = points.mean(1, keepdim=True)
    inside = within(middle, outline)[:, 0]
    close = near(middle, outline, outline.roll(-1, 1), line + stride * 0.5**0.5)[:, 0]
    kinds = inside.long()
    at = close.nonzero()[:, 0]
    kinds[at] = (within(points[at], outline[at]).float().mean(1) >= COVERED).long()
    seen = (inside | close).nonzero()[:, 0]
    for kind, (way, along) in enumerate(((sides, steps), (sides.flip(2), steps.flip(2))), 2):
        quad = _end_quad(way[seen], along[seen], reach[seen])
        kinds[seen[within(points[seen], quad).float().mean(1) >= COVERED]] = kind
    start, stop = (x.flatten(1, 2) for x in (sides[at, :, :-1], sides[at, :, 1:]))
    kinds[at[near(points[at], start, stop, line[at]).float().mean(1) >= COVERED]] = len(KINDS)
    return kinds


def _end_quad(sides: torch.Tensor, steps: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Return the quad (K, 4, 2) of a word's first end: its two corners, and the points `reach` (K,) further on both sides."""
    after = steps.cumsum(-1)
    index = torch.searchsorted(after, reach[:, None, None].expand(-1, 2, 1).contiguous()).clamp(max=steps.shape[-1] - 1)
    share = (reach[:, None, None] - (after - steps).gather(2, index)) / steps.gather(2, index).clamp(min=1e-6)
    start = sides.gather(2, index[..., None].expand(-1, -1, -1, 2))
    stop = sides.gather(2, index[..., None].expand(-1, -1, -1, 2) + 1)
    further = (start + (stop - start) * share.clamp(0, 1)[..., None])[:, :, 0]
    return torch.stack([sides[:, 0, 0], further[:, 0], further[:, 1], sides[:, 1, 0]], 1)


def _offsets(classes: torch.Tensor, owner: torch.Tensor, sides: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute offsets (N, 12, h, w) and which of the three kinds count, (N, 3, h, w)."""
    N, h, w = classes.shape
    offsets = sides.new_zeros(N, h, w, OFFSETS)
    counted = sides.new_zeros(N, h, w, 3)
    for kind, corner in ((2, 0), (3, -1)):
        at = (classes == kind).nonzero(as_tuple=True)
        centers = cell_centers(at[1], at[2], stride)
        ends = sides[owner[at]][:, :, corner]  # M, 2, 2: upper and lower corner
        channels = slice(4 * (kind - 2), 4 * (kind - 1))
        offsets[..., channels][at] = ((centers[:, None] - ends) / UNIT).flatten(1)
        counted[..., kind - 2][at] = 1.0
    at = (classes == 1).nonzero(as_tuple=True)
    word = sides[owner[at]]
    outline = torch.cat([word[:, 0], word[:, 1].flip(1)], 1)
    centers = cell_centers(at[1], at[2], stride)
    left, right = _crossings(centers, outline)
    top, bottom = _crossings(centers.flip(1), outline.flip(2))
    x, y = centers.unbind(1)
    reach = torch.stack([x - left, y - top, x - right, y - bottom], 1)
    # the middle of a cell that the outline covers only in part may lie outside
    seen = reach.isfinite().all(1)
    offsets[..., 8:][at] = torch.where(seen[:, None], reach / UNIT, 0.0)
    counted[..., 2][at] = seen.float()
    return offsets.permute(0, 3, 1, 2), counted.permute(0, 3, 1, 2)


def _crossings(points: torch.Tensor, polygons: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nearest x to the left and to the right of points (M, 2) at which their rows cross polygons (M, P, 2)."""
    start, end = polygons, polygons.roll(-1, 1)
    x, y = points[:, :1], points[:, 1:]
    rise = end[..., 1] - start[..., 1]
    at = start[..., 0] + (y - start[..., 1]) * (end[..., 0] - start[..., 0]) / torch.where(rise == 0, 1.0, rise)
    crossed = (y < start[..., 1]) != (y < end[..., 1])
    left = torch.where(crossed & (at <= x), at, -torch.inf).amax(1)
    return left, torch.where(crossed & (at > x), at, torch.inf).amin(1)
