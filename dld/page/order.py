"""Lines into blocks, and blocks into the order in which a person reads them.

The page is looked at in the frame of its level lines. The order is that of T. M. Breuel, "High Performance Document Layout
Analysis" (2003): a line comes before another one that is below it and shares a part of its width, and before one that stands
to its right, unless a line that spans both lies between them. Columns are read one after another, a heading over both first.
Before that, wide empty strips across the page part it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dld.page.lines import lines_of
from dld.page.word_axes import WordAxes, axes_of, turned_back

__all__ = ["reading_order"]

# a line goes on the block above it up to this far below it, in heights, if its letters are at most so many times larger
NEXT_LINE, LARGER = 1.4, 1.7
# what stands below an empty strip across the page comes later, if the strip is so many lines high
BAND = 2.0


def reading_order(outlines: Sequence[np.ndarray], texts: Sequence[str], turn: int = 0) -> list[list[list[int]]]:
    """Return blocks of lines of words, in the order of reading.

    Words that stand on end are read downwards, their lines from right to left (Chinese and Japanese columns, and Latin lines
    turned clockwise).

    Args:
        outlines: N polygons (P, 2) in pixels, any orientation.
        texts: N transcriptions.
        turn: degrees by which the page is turned clockwise: 0, 90, 180 or 270.

    Returns:
        numbers of the words, each once. Words whose outline has no place (fewer than three finite points) come last, each as
        a block of its own.
    """
    points = [turned_back(outline, turn) for outline in outlines]
    placed = [i for i, p in enumerate(points) if len(p) >= 3 and np.isfinite(p).all() and np.ptp(p, axis=0).max() > 0]
    axes = axes_of([points[i] for i in placed], [texts[i] for i in placed])
    lines = lines_of(axes, [texts[i] for i in placed])
    blocks = _ordered(lines, axes, [points[i] for i in placed])
    lost = sorted(set(range(len(points))) - set(placed))
    return [[[placed[i] for i in line] for line in block] for block in blocks] + [[[i]] for i in lost]


def _ordered(lines: list[list[int]], axes: WordAxes, points: list[np.ndarray]) -> list[list[list[int]]]:
    standing = [line for line in lines if axes.tall[line[0]]]
    level = [line for line in lines if not axes.tall[line[0]]]
    frame = _frame(level, axes)
    groups = _standing_blocks(standing, axes, points)
    items = [[line] for line in level] + groups
    boxes = np.array([_box([points[i] for line in item for i in line], frame) for item in items]).reshape(-1, 4)
    heights = np.array([float(np.median(axes.height[[i for line in item for i in line]])) for item in items])
    blocks: list[list[list[int]]] = []
    before = None
    order = [band[k] for band in _bands(boxes, heights) for k in _topological(boxes[band], heights[band])]
    for k in order:
        if (
            before is not None
            and max(before, k) < len(level)
            and _goes_on(boxes[before], boxes[k], heights[before], heights[k])
        ):
            blocks[-1] += items[k]
        else:
            blocks.append(list(items[k]))
        before = k
    return blocks


def _frame(level: list[list[int]], axes: WordAxes) -> np.ndarray:
    """Return unit vectors, as rows: along the level lines and across them."""
    ways = [axes.end[line[-1]] - axes.start[line[0]] for line in level]
    slants = np.array([np.arctan2(way[1], way[0]) for way in ways])
    order, lengths = np.argsort(slants), np.array([np.hypot(*way) for way in ways])
    slant = 0.0
    if len(ways):
        share = np.cumsum(lengths[order])
        slant = float(slants[order][np.searchsorted(share, share[-1] / 2)])
    return np.array([[np.cos(slant), np.sin(slant)], [-np.sin(slant), np.cos(slant)]])


def _box(outlines: list[np.ndarray], frame: np.ndarray) -> np.ndarray:
    """Return x0, y0, x1, y1 in a frame."""
    turned = np.concatenate(outlines) @ frame.T
    return np.concatenate([turned.min(0), turned.max(0)])


def _standing_blocks(lines: list[list[int]], axes: WordAxes, points: list[np.ndarray]) -> list[list[list[int]]]:
    """Group lines of words on end that stand side by side, from right to left."""
    boxes = [_box([points[i] for i in line], np.eye(2)) for line in lines]
    order = sorted(range(len(lines)), key=lambda k: -boxes[k][0])
    blocks: list[list[int]] = []
    for k in order:
        height = float(np.median(axes.height[lines[k]]))
        for block in blocks:
            last = boxes[block[-1]]
            near = last[0] - boxes[k][2] <= NEXT_LINE * height
            if near and min(last[3], boxes[k][3]) - max(last[1], boxes[k][1]) > 0:
                block.append(k)
                break
        else:
            blocks.append([k])
    return [[lines[k] for k in block] for block in blocks]


def _bands(boxes: np.ndarray, heights: np.ndarray) -> list[np.ndarray]:
    """Split items at empty strips across the page, from top to bottom."""
    if not len(boxes):
        return []
    order = np.argsort(boxes[:, 1], kind="stable")
    reached = np.maximum.accumulate(boxes[order, 3])
    cuts = np.flatnonzero(boxes[order[1:], 1] - reached[:-1] > BAND * np.median(heights)) + 1
    return np.split(order, cuts)


def _topological(boxes: np.ndarray, heights: np.ndarray) -> list[int]:
    """Return the order of items (x0, y0, x1, y1) by Breuel's rule; where that goes in circles, the topmost comes first."""
    K = len(boxes)
    x0, y0, x1, y1 = boxes.T if K else np.zeros((4, 0))
    middle = (y0 + y1) / 2
    small = np.minimum.outer(heights, heights)
    # ends of lines that only just reach over each other do not share a width
    shared = np.minimum.outer(x1, x1) - np.maximum.outer(x0, x0) > np.minimum(small, 0.3 * np.minimum.outer(x1 - x0, x1 - x0))
    above = middle[:, None] < middle[None]
    before = shared & above
    beside = ~shared & (((x0 + x1)[:, None]) < (x0 + x1)[None])
    for i in range(K):
        right, spanning = np.flatnonzero(beside[i]), np.flatnonzero(shared[i])
        low, high = np.minimum(middle[i], middle[right]), np.maximum(middle[i], middle[right])
        parts = shared[np.ix_(right, spanning)] & (middle[spanning] > low[:, None]) & (middle[spanning] < high[:, None])
        before[i, right] = ~parts.any(1)
    order: list[int] = []
    waiting = before.sum(0).astype(float)
    left = np.ones(K, bool)
    while left.any():
        free = left & (waiting == 0)
        among = np.flatnonzero(free if free.any() else left)
        # of several that may come next: the one beneath the last, else the topmost
        key = middle[among] + 1e-3 * x0[among]
        if free.any() and order:
            below = shared[order[-1], among] & before[order[-1], among]
            if below.any():
                key = np.where(below, key, np.inf)
        k = int(among[np.argmin(key)])
        order.append(k)
        left[k] = False
        waiting -= before[k]
    return order


def _goes_on(upper: np.ndarray, lower: np.ndarray, upper_height: float, lower_height: float) -> bool:
    """Tell whether a line goes on the block of the one above it."""
    small, large = sorted((upper_height, lower_height))
    shared = min(upper[2], lower[2]) - max(upper[0], lower[0]) > 0
    return shared and large <= LARGER * small and -small <= lower[1] - upper[3] <= NEXT_LINE * large
