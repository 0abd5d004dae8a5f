"""From maps to words: components of centre cells with their ends, and the points of their sides, with gradients to the offsets.

N images, R words of all of them, K cells of all words, n points of a side. Coordinates are pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from dld.modeling.perceptron.heads import Maps
from dld.modeling.perceptron.map_targets import UNIT, MapTargets
from dld.modeling.polygon_cells import cell_centers
from dld.modeling.recognition.locators.locator import usable

__all__ = ["WordCells", "annotated_cells", "cell_classes", "find_cells", "halving", "word_points"]

# cells of a word's middle that decide where a point lies: so many pixels to either side of it
BAND = 10.0
# a component of no more cells is noise
LEAST_CELLS = 2
# where the offsets to the outline stand among the four of a centre cell
LEFT, TOP, RIGHT, BOTTOM = range(4)


class WordCells(NamedTuple):
    """The cells of R words."""

    image: torch.Tensor  # int64 (K,)
    row: torch.Tensor  # int64 (K,)
    column: torch.Tensor  # int64 (K,)
    kind: torch.Tensor  # int64 (K,): 1 centre, 2 head, 3 tail
    word: torch.Tensor  # int64 (K,)
    images: torch.Tensor  # int64 (R,), the image of each word


def cell_classes(
    probabilities: torch.Tensor, thresholds: Sequence[float], sizes: Sequence[tuple[int, int]], stride: int = 4
) -> torch.Tensor:
    """Return the class of each cell, uint8 (N, h, w): the last one whose probability reaches its threshold, else 0.

    Args:
        probabilities: (N, 4, h, w).
        thresholds: of the four.
        sizes: (H, W) of each image without padding, whose cells are 0.
    """
    N, _, h, w = probabilities.shape
    classes = probabilities.new_zeros((N, h, w), dtype=torch.uint8)
    for k, threshold in enumerate(thresholds):
        classes[probabilities[:, k] >= threshold] = k + 1
    for i, (height, width) in enumerate(sizes):
        classes[i, -(-height // stride) :] = 0
        classes[i, :, -(-width // stride) :] = 0
    return classes


def find_cells(classes: torch.Tensor, contact_share: float = 0.6) -> WordCells:
    """Find words in maps of classes (N, h, w), uint8, and return their cells.

    A word is a 4-connected component of centre cells with more than two cells, with a head and a tail beside it (of several
    the one with most cells), of whose contacts at least `contact_share` are with the boundary. Contacts are the pairs of
    a centre cell and a neighbour; those with one head or tail count once, those with the background each.
    """
    parts, images, total = [], [], 0
    for i, cells in enumerate(classes.cpu().numpy()):
        row, column, kind, word, count = _words_of(cells, contact_share)
        parts.append(np.stack([np.full_like(row, i), row, column, kind, word + total]))
        images += [i] * count
        total += count
    joined = np.concatenate(parts, 1) if parts else np.zeros((5, 0), np.int64)
    table = torch.from_numpy(joined.astype(np.int64)).to(classes.device)
    return WordCells(*table.unbind(0), torch.tensor(images, dtype=torch.int64, device=classes.device))


def _words_of(classes: np.ndarray, contact_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return row, column, kind and word of the cells of one image's words, and how many words there are."""
    count, labels = cv2.connectedComponents((classes == 1).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    ends = {k: cv2.connectedComponents((classes == k).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S) for k in (2, 3)}
    inner, outer = _contacts(labels, classes, ends)
    boundary = np.bincount(inner[outer[:, 0] == 4], minlength=count)
    background = np.bincount(inner[outer[:, 0] == 0], minlength=count)
    touched = {}
    for kind in (2, 3):
        of_kind = outer[:, 0] == kind
        touched[kind] = np.unique(np.stack([inner[of_kind], outer[of_kind, 1]], 1), axis=0)
    once = sum(np.bincount(pairs[:, 0], minlength=count) for pairs in touched.values())
    share = boundary / np.maximum(boundary + background + once, 1)
    kept = (np.bincount(labels.ravel(), minlength=count) > LEAST_CELLS) & (share >= contact_share)
    kept[0] = False
    chosen = {kind: _largest(touched[kind], np.bincount(ends[kind][1].ravel()), count) for kind in (2, 3)}
    kept &= (chosen[2] > 0) & (chosen[3] > 0)
    found = np.flatnonzero(kept)
    wanted = ((labels, found), *((ends[kind][1], chosen[kind][found]) for kind in (2, 3)))
    members = [_members(*each) for each in wanted]
    place, word = (np.concatenate(values) for values in zip(*members, strict=True))
    kind = np.repeat([1, 2, 3], [len(own) for own, _ in members])
    return *np.divmod(place, classes.shape[1]), kind, word, len(found)


def _members(labels: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of wanted components (R,), as places in the flattened map, and which of the R each belongs to."""
    order = np.argsort(labels, axis=None, kind="stable")
    sorted_labels = labels.ravel()[order]
    start, stop = (np.searchsorted(sorted_labels, wanted, side) for side in ("left", "right"))
    counts = stop - start
    inside = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    return order[np.repeat(start, counts) + inside], np.repeat(np.arange(len(wanted)), counts)


def _contacts(labels: np.ndarray, classes: np.ndarray, ends: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the component (M,) of each contact of a centre cell with a cell of another class, and what it touches (M, 2):
    the class, and the head or tail."""
    other = np.where(classes == 2, ends[2][1], np.where(classes == 3, ends[3][1], 0))
    inner, outer = [], []
    for here, there in (
        (np.s_[:-1], np.s_[1:]),
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        border = (labels[here] > 0) & (classes[there] != 1)
        inner.append(labels[here][border])
        outer.append(np.stack([classes[there][border], other[there][border]], 1))
    return np.concatenate(inner), np.concatenate(outer)


def _largest(pairs: np.ndarray, areas: np.ndarray, count: int) -> np.ndarray:
    """Return for each of `count` components the largest of the ends that it touches, 0 of none; `pairs` (M, 2) are both."""
    chosen = np.zeros(count, np.int64)
    for label, end in pairs[np.argsort(areas[pairs[:, 1]], kind="stable")].tolist():
        chosen[label] = end
    return chosen


def annotated_cells(targets: MapTargets, images: torch.Tensor) -> WordCells:
    """Return the cells that annotated words have in the targets.

    Args:
        images: int64 (R,), the image of each annotated word.
    """
    image, row, column = ((targets.classes >= 1) & (targets.classes <= 3)).nonzero(as_tuple=True)
    at = image, row, column
    return WordCells(*at, targets.classes[at], targets.owner[at], images)


def halving(n: int) -> list[list[tuple[int, int, int]]]:
    """Return in which order the n points of a side are found: rounds of (a, b, m), the point m between a and b.

    Raises:
        ValueError: less than two points.
    """
    if n < 2:
        raise ValueError(f"a side needs at least 2 points, got {n}")
    rounds, open_ = [], [(0, n - 1)]
    while open_ := [(a, b) for a, b in open_ if b - a > 1]:
        rounds.append([(a, b, (a + b) // 2) for a, b in open_])
        open_ = [part for a, b in open_ for part in ((a, (a + b) // 2), ((a + b) // 2, b))]
    return rounds


def word_points(maps: Maps, cells: WordCells, n: int, stride: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the points of words' sides from the offsets of their cells; gradients flow to the offsets.

    Corners are means over the head's and the tail's cells. Then the middle point of a side lies half-way between its ends
    along the longer of x and y, and across where the centre cells near it say that the outline is; so on in both halves, each
    with the cells on its own side of that point. Where no cell is near, the point lies on the straight line. Sides that are
    twisted are replaced by straight ones.

    Returns:
        sides (R, 2, n, 2), top and bottom, both from the word's start to its end, and bool (R,): the word has a head, a
        centre and a tail, and is not twisted.
    """
    R, device = len(cells.images), maps.offsets.device
    centers = cell_centers(cells.row, cells.column, stride)
    values = maps.offsets[cells.image, :, cells.row, cells.column]  # K, 12
    whole = torch.ones(R, dtype=torch.bool, device=device)
    ends = []
    for kind, channels in ((2, slice(0, 4)), (3, slice(4, 8))):
        own = cells.kind == kind
        corners = centers[own].repeat(1, 2) - UNIT * values[own, channels]
        mean, count = _means(corners, cells.word[own], R)
        ends.append(mean.view(R, 2, 2))
        whole &= count > 0
    own = cells.kind == 1
    whole &= _means(centers[own], cells.word[own], R)[1] > 0
    sides = _halved(torch.stack(ends, 2), centers[own], values[own, 8:], cells.word[own], n)
    share = torch.linspace(0, 1, n, device=device)[None, None, :, None]
    straight = ends[0][:, :, None] * (1 - share) + ends[1][:, :, None] * share
    sides = torch.where(usable(sides.detach())[:, None, None, None], sides, straight)
    return sides, whole & usable(sides.detach())


def _halved(ends: torch.Tensor, centers: torch.Tensor, values: torch.Tensor, word: torch.Tensor, n: int) -> torch.Tensor:
    """Find the points between the ends (R, 2 sides, 2 ends, 2) from centre cells (K, 2) with offsets (K, 4) of words (K,)."""
    R, K = len(ends), len(centers)
    points: dict[int, torch.Tensor] = {0: ends[:, :, 0], n - 1: ends[:, :, 1]}
    members = {(0, n - 1): torch.ones(2, K, dtype=torch.bool, device=ends.device)}
    sign = torch.tensor([True, False], device=ends.device)  # the top side, the bottom side
    for a, b, m in (split for splits in halving(n) for split in splits):
        start, along = points[a], points[b] - points[a]  # R, 2, 2
        straight = start + (m - a) / (b - a) * along
        steep = along[..., 1].abs() > along[..., 0].abs()
        forward = torch.where(steep, along[..., 1] < 0, along[..., 0] > 0)
        # the top side of a word that runs rightwards lies above it; of one that runs upwards, left of it
        first = forward == sign
        channel = torch.where(steep, torch.where(first, LEFT, RIGHT), torch.where(first, TOP, BOTTOM))
        across = (~steep).long()  # the coordinate that the cells decide
        middle = straight.gather(2, (1 - across)[..., None])[..., 0]  # R, 2, the other one
        found = []
        for side in (0, 1):
            which = across[word, side][:, None]
            position = centers.gather(1, 1 - which)[:, 0]
            border = (centers.gather(1, which) - UNIT * values.gather(1, channel[word, side][:, None]))[:, 0]
            ahead = position - middle[word, side].detach()
            inside = members[a, b][side] & (ahead.abs() <= BAND)
            mean, count = _means(border[inside, None], word[inside], R)
            level = straight[:, side].gather(1, across[:, side, None])[:, 0]
            level = torch.where(count > 0, mean[:, 0], level)
            pair = torch.stack([middle[:, side], level], 1)
            found.append(torch.where(across[:, side, None] == 1, pair, pair.flip(1)))
            # which half a cell belongs to, in the direction of the side
            runs = along[:, side].gather(1, 1 - across[:, side, None])[:, 0].detach()
            before = ahead * runs[word] < 0
            members.setdefault((a, m), torch.zeros_like(members[a, b]))[side] = members[a, b][side] & before
            members.setdefault((m, b), torch.zeros_like(members[a, b]))[side] = members[a, b][side] & ~before
        points[m] = torch.stack(found, 1)
    return torch.stack([points[k] for k in range(n)], 2)


def _means(values: torch.Tensor, word: torch.Tensor, R: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of values (K, D) over the cells of each word, (R, D), and the number of its cells, (R,)."""
    count = torch.bincount(word, minlength=R)
    total = values.new_zeros(R, values.shape[1]).index_add(0, word, values)
    return total / count.clamp(min=1)[:, None], count
