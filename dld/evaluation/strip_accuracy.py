"""Share of annotated words that are read, by kind of word: what a reader of strips is judged by, without any finding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["KINDS", "strip_accuracy"]

# pixels of a word's height; share of its box that its outline fills; characters
SMALL, LARGE = 16, 80
TURNED = 0.45
LONG = 8
KINDS = ("all", "small", "large", "turned", "long", "signs")


def strip_accuracy(words: Iterable[tuple[str, str, float, float]]) -> dict[str, float]:
    """Return the per cent of words read right, whatever their case, of each of `KINDS` that there are any of.

    Kinds: all; small, below 16 pixels high; large, 80 and more; turned, whose outline fills less than .45 of its box; long, of
    8 characters and more; signs, that are not letters alone.

    Args:
        words: annotated text, what was read, height in pixels, filled share.
    """
    rows = list(words)
    if not rows:
        return {}
    right = np.array([wanted.lower() == read.lower() for wanted, read, *_ in rows])
    height, fill = (np.array([row[i] for row in rows], dtype=float) for i in (2, 3))
    length = np.array([len(wanted) for wanted, *_ in rows])
    of_kind = {
        "all": np.ones(len(rows), bool),
        "small": height < SMALL,
        "large": height >= LARGE,
        "turned": fill < TURNED,
        "long": length >= LONG,
        "signs": ~np.array([wanted.isalpha() for wanted, *_ in rows]),
    }
    return {kind: round(100 * float(right[of_kind[kind]].mean()), 2) for kind in KINDS if of_kind[kind].any()}
