"""Words into lines: each word is followed by the one that begins where it ends, as its own direction leads there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dld.page.word_axes import WordAxes

__all__ = ["lines_of"]

# in heights of the larger of two words: a space up to SPACE always joins, one beyond WIDEST never does, and one between them
# joins, for a word between may not have been found, unless it is the gutter of two columns: lines above or below have a wide
# space at the same place or begin where it ends, and more of them than stand across
SPACE, WIDEST = 0.75, 4.0
# the lines next to one reach so far across it, and the edge of a space lies so far within it, in heights
NEARBY, EDGE = 4.0, 0.4
# how far two words may overlap along the line, in heights of the smaller one
OVERLAP = 0.6
# how much of the smaller word's height must lie beside the other one, and how many times higher that may be
BESIDE, HIGHER = 0.5, 2.5
# cosine of the largest angle between the end of a word and the beginning of the next
SAME_WAY = 0.8
# words looked at together: memory grows with them times all words
ROWS = 256


def lines_of(axes: WordAxes, texts: Sequence[str]) -> list[list[int]]:
    """Join words into lines; return their numbers in reading direction, every word in one line.

    Args:
        axes: of N words.
        texts: their transcriptions; marks without letters and digits may be of any height.
    """
    N = len(texts)
    if not N:
        return []
    links = _links(axes, texts)
    follower, gap = _follow(N, links)
    rows = _chains(follower)
    gutters = _gutters(rows, axes, gap, follower)
    if gutters:
        follower[gutters] = -1
        rows = _chains(follower)
    return rows


class _Links(NamedTuple):
    """Pairs of words of which the second may follow the first."""

    first: np.ndarray  # int (L,)
    second: np.ndarray
    gap: np.ndarray  # the space between them in heights
    distance: np.ndarray  # how badly they fit, pixels


def _links(axes: WordAxes, texts: Sequence[str]) -> _Links:
    mark = np.array([not any(c.isalnum() for c in text) for text in texts])
    numbers = np.arange(len(texts))
    parts = [_links_of(axes, mark, numbers[k : k + ROWS]) for k in range(0, len(texts), ROWS)]
    return _Links(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _links_of(axes: WordAxes, mark: np.ndarray, i: np.ndarray) -> _Links:
    """Return the links from some of the words, numbers `i` (n,), to all."""
    ways = axes.ends[i, None] * axes.length[i, None, None] + axes.begins[None] * axes.length[None, :, None]
    ways /= np.maximum(np.linalg.norm(ways, axis=2, keepdims=True), 1e-12)
    step = axes.start[None] - axes.end[i, None]
    along = (step * ways).sum(2)
    aside = np.abs(step[..., 0] * ways[..., 1] - step[..., 1] * ways[..., 0])
    small = np.minimum(axes.height[i, None], axes.height[None])
    large = np.maximum(axes.height[i, None], axes.height[None])
    beside = np.minimum((small + large) / 2 - aside, small) >= BESIDE * small
    same = (axes.ends[i] @ axes.begins.T >= SAME_WAY) & (axes.tall[i, None] == axes.tall[None])
    shorter = np.minimum.outer(axes.length[i], axes.length)
    close = (along <= WIDEST * large) & (along >= -np.maximum(OVERLAP * small, OVERLAP * shorter / 2))
    # whoever follows lies further on as a whole
    onward = ((axes.end[None] - axes.end[i, None]) * ways).sum(2) > 0
    onward &= ((axes.start[None] - axes.start[i, None]) * ways).sum(2) > 0
    alike = (large <= HIGHER * small) | mark[i, None] | mark[None]
    fits = beside & same & close & onward & alike & (i[:, None] != np.arange(len(mark)))
    rows, columns = np.nonzero(fits)
    badly = np.abs(along) + 2 * aside + (large - small)
    return _Links(i[rows], columns, (along / large)[rows, columns], badly[rows, columns])


def _follow(N: int, links: _Links) -> tuple[np.ndarray, np.ndarray]:
    """Return the follower (N,) of each word, -1 for none, and the space (N,) to it.

    Best pairs go first; a word has one before it and one after it.
    """
    follower, gap, taken = np.full(N, -1), np.zeros(N), np.zeros(N, bool)
    for k in np.argsort(links.distance, kind="stable"):
        i, j = links.first[k], links.second[k]
        if follower[i] < 0 and not taken[j] and not _leads_to(follower, j, i):
            follower[i], gap[i], taken[j] = j, links.gap[k], True
    return follower, gap


def _leads_to(follower: np.ndarray, start: int, goal: int) -> bool:
    while start >= 0 and start != goal:
        start = follower[start]
    return start == goal


def _chains(follower: np.ndarray) -> list[list[int]]:
    chains = []
    for first in sorted(set(range(len(follower))) - set(follower.tolist())):
        chain, i = [], first
        while i >= 0:
            chain.append(int(i))
            i = follower[i]
        chains.append(chain)
    return chains


def _gutters(rows: list[list[int]], axes: WordAxes, gap: np.ndarray, follower: np.ndarray) -> list[int]:
    """Return the words after which a space between two columns comes."""
    wide = [i for row in rows for i in row[:-1] if gap[i] > SPACE]
    # words that may begin a line of a column
    openers = np.array([row[0] for row in rows] + [follower[i] for i in wide])
    # spaces in the frame of the line that each stands in
    left, right = axes.end[wide], axes.start[follower[wide]]
    height = np.maximum(axes.height[wide], axes.height[follower[wide]])
    along = axes.ends[wide]
    found = []
    for k, i in enumerate(wide):
        across = np.array([-along[k, 1], along[k, 0]])
        begin, stop = (left - left[k]) @ along[k], (right - left[k]) @ along[k]
        common = np.minimum(stop, stop[k]) - np.maximum(begin, 0)
        alike = _beside((left - left[k]) @ across, height[k]) & (common >= 0.5 * height[k])
        # words of those lines that stand across the edge of this space at which a column would begin, or end
        first, last = (axes.start - left[k]) @ along[k], (axes.end - left[k]) @ along[k]
        beside = _beside(((axes.start + axes.end) / 2 - left[k]) @ across, height[k])
        edges = (stop[k] - EDGE * height[k], EDGE * height[k])
        crossing = min(int((beside & (first < edge) & (last > edge)).sum()) for edge in edges)
        opening = axes.start[openers] - left[k]
        aligned = _beside(opening @ across, height[k]) & (np.abs(opening @ along[k] - stop[k]) < 0.5 * height[k])
        if max(alike.sum(), aligned.sum()) > crossing:
            found.append(i)
    return found


def _beside(away: np.ndarray, height: float) -> np.ndarray:
    """Tell whether something lies on the lines next to one, by its distance across."""
    return (np.abs(away) > 0.5 * height) & (np.abs(away) < NEARBY * height)
