"""What the heads of MANGO should say, drawn on the device from annotated words, and which cells of the grid read which word.

N images, R words of all of them, h w cells of the level in one image, `stride` pixels each, G rows and columns of the grid, K
cells of words, L positions, M cells of the level under characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.structures import Instances

from dld.modeling.mango.grid import level_size
from dld.modeling.polygon_cells import cell_pairs, cell_samples, image_cells, joined_outlines, near, within
from dld.modeling.recognition.annotated_strips import annotated_sides

__all__ = [
    "AnnotatedCells",
    "CharacterTargets",
    "FindingTargets",
    "WordCells",
    "annotated_cells",
    "draw_characters",
    "draw_finding",
    "middle_points",
]

# an outline is moved inwards by area x (1 - ratio^2) / perimeter
SHRINK_RATIO = 0.4
# share of a word, along and across it, that is its middle
MIDDLE = 0.2
# points of the middle, along and across
MIDDLE_POINTS = (21, 5)
# of a cell, points per direction; a don't-care word or a character takes what it covers to this share
SAMPLES, COVERED = 4, 0.25


class FindingTargets(NamedTuple):
    """Targets of segmentation and category of N images; weights are 0 or 1."""

    segmentation: torch.Tensor  # (N, h, w)
    segmentation_weights: torch.Tensor
    category: torch.Tensor  # (N, G, G)
    category_weights: torch.Tensor


class WordCells(NamedTuple):
    """Cells of the grid that read words, those of one image one after another."""

    image: torch.Tensor  # int64 (K,)
    cell: torch.Tensor  # int64 (K,), row x G + column
    word: torch.Tensor  # int64 (K,)
    weight: torch.Tensor  # float (K,), how much of the word's middle, or of its component, is in the cell

    def at(self, index: torch.Tensor) -> WordCells:
        """Return the cells `index`."""
        return WordCells(*(x[index] for x in self))


class AnnotatedCells(NamedTuple):
    """The cells of R readable words."""

    cells: WordCells
    own: torch.Tensor  # bool (K,): no other word has more of its middle there, so the cell learns to read this one
    chosen: torch.Tensor  # int64 (R,): place among the K of the cell that holds most of the word's middle


class CharacterTargets(NamedTuple):
    """Cells of the level under the characters of R words, each in the level of its own image without padding."""

    word: torch.Tensor  # int64 (M,)
    position: torch.Tensor  # int64 (M,)
    place: torch.Tensor  # int64 (M,), row x w + column
    counted: torch.Tensor  # bool (R, L): positions whose character is known, and the one behind the last


def _image_of(words: Sequence[Instances]) -> torch.Tensor:
    counts = torch.tensor([len(x) for x in words])
    return torch.repeat_interleave(torch.arange(len(words)), counts).to(words[0].gt_boxes.device)


def middle_points(words: Sequence[Instances]) -> torch.Tensor:
    """Return points of the middles of words as shares of their images, float64 (R, S, 2).

    The middle is a fifth of the word, along and across it. Words without sides (`gt_fiducials`) have that of their box.
    """
    sides = annotated_sides(words, "gt_fiducials").double()  # R, 2, n, 2
    n, device = sides.shape[2], sides.device
    along, across = (torch.linspace(0.5 - MIDDLE / 2, 0.5 + MIDDLE / 2, k, dtype=torch.float64) for k in MIDDLE_POINTS)
    at = (along * (n - 1)).to(device)
    index = at.long().clamp(max=n - 2)
    share = (at - index)[:, None]
    lines = sides[:, :, index] * (1 - share) + sides[:, :, index + 1] * share  # R, 2, U, 2
    v = across.to(device)[:, None, None]
    points = (lines[:, :1] * (1 - v) + lines[:, 1:] * v).flatten(1, 2)
    sizes = torch.tensor([x.image_size[::-1] for x in words], dtype=torch.float64, device=device)
    return points / sizes[_image_of(words)][:, None]


def _shares(words: Sequence[Instances], grid: int) -> torch.Tensor:
    """Return how many points of each word's middle lie in each cell of the grid, int64 (R, G^2)."""
    points = middle_points(words)
    column, row = (points * grid).long().clamp(0, grid - 1).unbind(-1)
    counts = torch.zeros(len(points), grid * grid, dtype=torch.int64, device=points.device)
    return counts.scatter_add_(1, row * grid + column, torch.ones_like(row))


def _owners(counts: torch.Tensor, image: torch.Tensor, counted: torch.Tensor, N: int) -> torch.Tensor:
    """Return which word has most of its middle in each cell of the grid, int64 (N, G^2); -1: none, of equals the last."""
    R, cells = counts.shape
    key = torch.where(counted[:, None] & (counts > 0), counts * R + torch.arange(R, device=counts.device)[:, None], -1)
    best = torch.full((N, cells), -1, dtype=torch.int64, device=counts.device)
    best.scatter_reduce_(0, image[:, None].expand_as(key), key, "amax")
    return torch.where(best >= 0, best % max(R, 1), -1)


@torch.no_grad()
def annotated_cells(words: Sequence[Instances], grid: int) -> AnnotatedCells:
    """Choose the cells that read the readable words of N images; every one of these words has at least one.

    The cells depend on where words lie in the picture, not on its size: they are the same at all scales.

    Args:
        words: of each image, with `gt_fiducials`, `gt_boxes`, `gt_ignore` and `gt_readable`.
        grid: G.
    """
    image, counts = _image_of(words), _shares(words, grid)
    readable = torch.cat([x.gt_readable for x in words])
    owner = _owners(counts, image, ~torch.cat([x.gt_ignore for x in words]), len(words))
    most = torch.zeros_like(counts, dtype=torch.bool)
    if len(counts):
        most.scatter_(1, counts.argmax(1, keepdim=True), True)
    own = owner[image] == torch.arange(len(counts), device=counts.device)[:, None]
    index, cell = ((own | most) & readable[:, None]).nonzero(as_tuple=True)
    place = readable.cumsum(0) - 1  # among the readable ones
    weight = counts[index, cell].double() / (MIDDLE_POINTS[0] * MIDDLE_POINTS[1])
    cells = WordCells(image[index], cell, place[index], weight.float())
    return AnnotatedCells(cells, own[index, cell], most[index, cell].nonzero()[:, 0])


@torch.no_grad()
def draw_finding(
    words: Sequence[Instances], sizes: Sequence[tuple[int, int]], shape: tuple[int, int], grid: int, stride: int = 4
) -> FindingTargets:
    """Draw the targets of segmentation and category of N images.

    A cell of the level is a word's where its middle lies in the outline, further from it than area x (1 - 0.4^2) / perimeter
    (what is left of the outline moved inwards with round joins), or than leaves a chain of cells. A cell of the grid is
    positive where a word's middle reaches. Don't-care words count in no loss where no other word is; nor does padding.

    Args:
        words: of each image, with `gt_masks`, `gt_fiducials`, `gt_boxes` and `gt_ignore`, in pixels.
        sizes: (H, W) of each image without padding.
        shape: (h, w) of the level.
        grid: G.
        stride: pixels of a cell of the level.
    """
    N, (h, w), image = len(words), shape, _image_of(words)
    ignored = torch.cat([x.gt_ignore for x in words])
    outlines = joined_outlines([x.gt_masks.points for x in words]).float()
    device, P = outlines.device, outlines.shape[1]
    found = torch.zeros(N, h, w, device=device)
    drawn = (~ignored).nonzero()[:, 0]
    offsets = inward_offsets(outlines, stride)
    for pairs in cell_pairs(outlines[drawn], shape, stride, P):
        word = drawn[pairs.word]
        middle, polygon = cell_samples(pairs, stride, 1), outlines[word]
        inside = within(middle, polygon) & ~near(middle, polygon, polygon.roll(-1, 1), offsets[word])
        found[tuple(x[inside[:, 0]] for x in (image[word], pairs.row, pairs.column))] = 1.0
    weights = image_cells(sizes, shape, stride, device)
    _leave_out(weights, found, outlines, ignored, image, stride)
    owner = _owners(_shares(words, grid), image, ~ignored, N).view(N, grid, grid)
    category = (owner >= 0).float()
    category_weights = torch.ones_like(category)
    to_grid = grid / torch.tensor(sizes, device=device, dtype=torch.float32).flip(1)  # cells a pixel, x and y
    _leave_out(category_weights, category, outlines * to_grid[image][:, None], ignored, image, 1)
    return FindingTargets(found, weights, category, category_weights)


def inward_offsets(outlines: torch.Tensor, stride: int) -> torch.Tensor:
    """Return how far the outlines of words (R, P, 2) are moved inwards, in pixels, (R,).

    At most so far that what is left is as wide as the diagonal of a cell: then its cells are connected, in whatever direction
    the word runs. The height of a word is that of the rectangle of its area and perimeter.
    """
    after = outlines.roll(-1, 1)
    area = ((outlines[..., 0] * after[..., 1] - outlines[..., 1] * after[..., 0]).sum(1) / 2).abs()
    perimeter = (after - outlines).norm(dim=-1).sum(1).clamp(min=1e-6)
    half = perimeter / 4
    height = half - (half.square() - area).clamp(min=0).sqrt()
    least = (height / 2 - stride * 0.5**0.5).clamp(min=0)
    return torch.minimum(area * (1 - SHRINK_RATIO**2) / perimeter, least)


def _leave_out(weights, found, polygons, ignored, image, stride: int) -> None:
    """Set the weights (N, h, w) to 0 on don't-care polygons (R, P, 2), where `found` has no word."""
    left = ignored.nonzero()[:, 0]
    for pairs in cell_pairs(polygons[left], tuple(weights.shape[1:]), stride, SAMPLES**2 * polygons.shape[1]):
        word = left[pairs.word]
        covered = within(cell_samples(pairs, stride, SAMPLES), polygons[word]).float().mean(1) >= COVERED
        at = tuple(x[covered] for x in (image[word], pairs.row, pairs.column))
        weights[at] = torch.where(found[at] > 0, weights[at], 0.0)


@torch.no_grad()
def draw_characters(
    words: Sequence[Instances], sizes: Sequence[tuple[int, int]], positions: int, pad: int, stride: int = 4
) -> CharacterTargets:
    """Draw the characters of the readable words of N images.

    A cell is a character's if a quarter of it lies in the quadrangle, or the quadrangle's middle lies in it: no character is
    lost because it is small. The position behind the last character has no cell, and counts; those further behind do not.

    Args:
        words: readable ones of each image, with `gt_text` and `gt_characters` (PaddedPolygons (R_i, 4 T, 2): T quadrangles in
            the order of reading, in pixels; NaN where there is none).
        sizes: (H, W) of each image without padding.
        positions: L.
        pad: id of the padding in `gt_text`.
        stride: pixels of a cell.

    Raises:
        ValueError: the words have no characters.
    """
    if not all(x.has("gt_characters") for x in words):
        raise ValueError(
            "words have no characters: INPUT.CHARACTERS must be at least 1 where MODEL.MANGO.CHARACTER_WEIGHT is not 0"
        )
    image = _image_of(words)
    corners = joined_outlines([x.gt_characters.points for x in words]).float()
    R, device = len(corners), corners.device
    quads = corners.view(R, corners.shape[1] // 4, 4, 2)[:, :positions]
    known = quads.isfinite().flatten(2).all(2)
    lengths = (torch.cat([x.gt_text for x in words]) != pad).sum(1) - 1  # characters, without the end symbol
    at = torch.arange(positions, device=device)
    counted = torch.zeros(R, positions, dtype=torch.bool, device=device)
    counted[:, : known.shape[1]] = known & (at[: known.shape[1]] < lengths[:, None])
    counted |= (at == lengths[:, None]) & counted.any(1, keepdim=True)
    word, position = counted[:, : known.shape[1]].logical_and(known).nonzero(as_tuple=True)
    if not len(word):
        return CharacterTargets(word, position, position, counted)
    quad = quads[word, position]
    own = torch.tensor([level_size(size, stride) for size in sizes], device=device).view(-1, 2)[image]
    largest = tuple(own.amax(0).tolist())
    middle = (quad.mean(1) / stride).floor().long()
    found = [torch.stack([torch.arange(len(quad), device=device), middle[:, 1], middle[:, 0]])]
    for pairs in cell_pairs(quad, largest, stride, 4 * SAMPLES**2):
        covered = within(cell_samples(pairs, stride, SAMPLES), quad[pairs.word]).float().mean(1) >= COVERED
        found.append(torch.stack(list(pairs))[:, covered])
    index, row, column = torch.cat(found, 1).unique(dim=1)
    rows, columns = own[word[index]].unbind(1)
    inside = (row >= 0) & (column >= 0) & (row < rows) & (column < columns)
    index, place = index[inside], (row * columns + column)[inside]
    return CharacterTargets(word[index], position[index], place, counted)
