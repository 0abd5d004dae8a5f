"""Where the text of a word begins and ends, in pixels of the picture: for documents that place it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dld.page.word_axes import axes_of, turned_back

__all__ = ["text_axes"]


def text_axes(
    outlines: Sequence[np.ndarray], texts: Sequence[str], turn: int = 0
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return the middles of the first and the last side of each word, and its height, in pixels of the picture.

    Args:
        outlines: N polygons (P, 2) of three or more finite points.
        texts: N transcriptions.
        turn: degrees by which the page in the picture is turned clockwise.
    """
    axes = axes_of([turned_back(outline, turn) for outline in outlines], texts)
    again = (360 - turn) % 360
    starts, ends = turned_back(axes.start, again), turned_back(axes.end, again)
    return [(start, end, float(height)) for start, end, height in zip(starts, ends, axes.height, strict=True)]
