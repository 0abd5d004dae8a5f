"""From segmentation, category and readings of cells to words: components, their rectangles, and the vote of their cells.

N images, D components of one image, R words of all of them, h w cells of the level, G rows and columns of the grid, K cells
that read, L positions, V classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from dld.modeling.mango.grid import level_size
from dld.modeling.mango.position_decoder import ended_ids
from dld.modeling.mango.targets import SHRINK_RATIO, WordCells

__all__ = ["RECTANGLES", "Components", "cells_of_words", "find_components", "rectangle_sides", "vote"]

RECTANGLES = ("shrunk", "grown")
# where cells of equal weight disagree, the surer one decides
_TIE = 1e-4


class Components(NamedTuple):
    """The D components of one image."""

    sides: np.ndarray  # float32 (D, 2, 2, 2): top and bottom side of each rectangle, in pixels of the network's input
    scores: np.ndarray  # float32 (D,), mean probability of the cells
    overlap: np.ndarray  # float32 (D, G^2), by how much of each cell of the grid a component covers


def find_components(
    probabilities: np.ndarray,
    size: tuple[int, int],
    grid: int,
    threshold: float = 0.5,
    least_cells: int = 8,
    rectangles: str = "shrunk",
    stride: int = 4,
) -> Components:
    """Find the words of an image: 4-connected components of more than `least_cells` cells.

    Args:
        probabilities: of the segmentation, float32 (h, w), of which padding is ignored.
        size: (H, W) of the image without padding.
        grid: G.
        threshold: least probability of a cell.
        rectangles: "shrunk": of the components, which are the middles of words, as published; "grown": by as much as the middle
            of such a rectangle was moved inwards.
        stride: pixels of a cell.
    """
    h, w = level_size(size, stride)
    probabilities = np.ascontiguousarray(probabilities[:h, :w])
    count, labels = cv2.connectedComponents((probabilities >= threshold).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    areas = np.bincount(labels.ravel(), minlength=count)
    kept = np.flatnonzero(areas > least_cells)
    kept = kept[kept > 0]
    row, column = np.nonzero(labels)
    label = labels[row, column]
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    row, column, word = (x[place[label] >= 0] for x in (row, column, place[label]))
    D = len(kept)
    cell = [np.minimum((x + 0.5) * stride * grid // side, grid - 1) for x, side in zip((row, column), size, strict=True)]
    flat = (word * grid + cell[0].astype(np.int64)) * grid + cell[1].astype(np.int64)
    overlap = np.bincount(flat, minlength=D * grid * grid).reshape(D, grid * grid) * (stride * grid) ** 2 / (size[0] * size[1])
    scores = np.bincount(word, probabilities[row, column], minlength=D) / areas[kept]
    order = np.argsort(word, kind="stable")
    members = np.split(np.stack([column, row], 1)[order], np.cumsum(areas[kept])[:-1]) if D else []
    sides = [rectangle_sides(points, stride, rectangles == "grown") for points in members]
    return Components(
        np.stack(sides) if D else np.zeros((0, 2, 2, 2), np.float32), scores.astype(np.float32), overlap.astype(np.float32)
    )


def rectangle_sides(cells: np.ndarray, stride: int = 4, grown: bool = False) -> np.ndarray:
    """Return the long sides of the smallest rectangle around cells (M, 2; column, row), float32 (2, 2, 2) in pixels.

    The top side runs rightwards, or downwards if it is steep, and the bottom side lies on its right. `grown` moves all sides
    outwards by d = A (1 - 0.4^2) / p, A and p the area and the perimeter of the larger rectangle.
    """
    corners = (cells[:, None] + np.array([[0, 0], [1, 0], [1, 1], [0, 1]])[None]).reshape(-1, 2) * stride
    center, (width, height), angle = cv2.minAreaRect(corners.astype(np.float32))
    if grown:
        # d (2 (w + h) + 8 d) = k (w + 2 d) (h + 2 d), k = 1 - 0.4^2, solved for d
        k = 1 - SHRINK_RATIO**2
        a, b, c = 8 - 4 * k, (2 - 2 * k) * (width + height), k * width * height
        d = (-b + np.sqrt(b * b + 4 * a * c)) / (2 * a)
        width, height = width + 2 * d, height + 2 * d
    points = cv2.boxPoints((center, (width, height), angle))
    if np.hypot(*(points[1] - points[0])) < np.hypot(*(points[2] - points[1])):
        points = np.roll(points, -1, 0)
    one, other = points[[0, 1]], points[[3, 2]]
    x, y = one[1] - one[0]
    if (y if abs(x) < 0.7 * abs(y) else x) < 0:
        one, other, x, y = one[::-1], other[::-1], -x, -y
    across = other[0] - one[0]
    pair = (one, other) if x * across[1] - y * across[0] > 0 else (other, one)
    return np.stack(pair).astype(np.float32)


def cells_of_words(
    overlap: Sequence[np.ndarray], probabilities: np.ndarray, threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choose the cells of the grid that read each component.

    These are the active cells under it; one that lies under two components goes to the one that covers more of it. A component
    without an active cell of its own is read by the surest of those under it.

    Args:
        overlap: of each image, (D_i, G^2), see :class:`Components`.
        probabilities: of the category, (N, G^2).
        threshold: least probability of an active cell.

    Returns:
        image, cell, word (counted over all images) and weight (the overlap) of K cells.
    """
    parts, total = [], 0
    for i, (own, certain) in enumerate(zip(overlap, probabilities, strict=True)):
        D = len(own)
        if D:
            heaviest = own.argmax(0)
            taken = (certain >= threshold) & (own > 0) & (heaviest == np.arange(D)[:, None])
            alone = np.flatnonzero(~taken.any(1))
            taken[alone, np.where(own[alone] > 0, certain, -1.0).argmax(1)] = True
            word, cell = np.nonzero(taken)
            parts.append((np.full(len(word), i), cell, word + total, own[word, cell]))
        total += D
    if not parts:
        return (*(np.zeros(0, np.int64) for _ in range(3)), np.zeros(0, np.float32))
    image, cell, word, weight = (np.concatenate(values) for values in zip(*parts, strict=True))
    return image, cell, word, weight


def vote(probabilities: torch.Tensor, cells: WordCells, words: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the readings of words' cells, position by position.

    Each cell votes with its weight for its most probable character, from its first end on for the end. A word ends where the
    end wins.

    Args:
        probabilities: (K, L, V).
        words: R.
        end: id of the end symbol.

    Returns:
        ids int64 (R, L), the end id from the first end on, and probabilities (R, L): the weighted mean of what the cells gave
        the winner, 1 behind the end. A word without cells is empty.
    """
    K, L, V = probabilities.shape
    best = probabilities.max(-1)
    ids, certain = ended_ids(best.indices, best.values, end)
    votes = probabilities.new_zeros(words, L, V)
    position = torch.arange(L, device=ids.device).expand(K, -1)
    word = cells.word[:, None].expand(-1, L)
    weight = cells.weight[:, None]
    votes.index_put_((word, position, ids), weight * (1 + _TIE * certain), accumulate=True)
    empty = torch.bincount(cells.word, minlength=words) == 0
    winners = votes.argmax(-1).masked_fill(empty[:, None], end)
    given = probabilities.gather(2, winners[cells.word].unsqueeze(-1))[..., 0]
    total = probabilities.new_zeros(words).index_add(0, cells.word, cells.weight)
    mean = probabilities.new_zeros(words, L).index_add(0, cells.word, given * weight) / total.clamp(min=1e-12)[:, None]
    return ended_ids(winners, mean.masked_fill(empty[:, None], 1.0), end)
