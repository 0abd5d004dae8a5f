"""From what a head says of every column, or at every step, to the characters of a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Characters", "allowed_classes", "attended", "collapse"]

# columns between two characters at least, of heads that tell places one by one
_APART = 0.5


class Characters(NamedTuple):
    """The characters of one strip, in their order."""

    ids: np.ndarray  # int (n,), classes
    certainty: np.ndarray  # (n,), their probabilities
    columns: np.ndarray  # float (n,), rising, the middle of the columns that each was seen in; the first column is 0


def collapse(ids: np.ndarray, probabilities: np.ndarray, blank: int = 0) -> list[Characters]:
    """Decode the best path of connectionist temporal classification (Graves et al. 2006, 3.2).

    Repeated classes become one character, then blanks are dropped: "aa-ab" reads "aab". A character's probability is that
    of the first of its columns.

    Args:
        ids: int (R, L), the most probable class of every column.
        probabilities: (R, L), of these classes.
        blank: class that stands for no character.

    Returns:
        the characters of each of R words.
    """
    first, last = np.ones(ids.shape, bool), np.ones(ids.shape, bool)
    first[:, 1:] = last[:, :-1] = ids[:, 1:] != ids[:, :-1]
    found = []
    for row, certainty, begins, ends in zip(ids, probabilities, first, last, strict=True):
        starts, stops = np.flatnonzero(begins), np.flatnonzero(ends)
        kept = row[starts] != blank
        at = starts[kept]
        found.append(Characters(row[at], certainty[at], (at + stops[kept]) / 2))
    return found


def attended(ids: np.ndarray, probabilities: np.ndarray, columns: np.ndarray, length: int, end: int = 0) -> list[Characters]:
    """Return the characters of an attention decoder, up to its end.

    Where columns do not rise from character to character they are moved apart, by half a column where there is room.

    Args:
        ids: int (R, T), classes; `end` ends a word.
        probabilities: (R, T), of these classes.
        columns: (R, T), where each was seen, 0 to length - 1; see `AttentionDecoder.greedy_with_columns`.
        length: number of columns.

    Returns:
        the characters of each of R words.
    """
    counts = (np.cumsum(ids == end, axis=1) == 0).sum(1)
    found = []
    for row, certainty, at, n in zip(ids, probabilities, columns, counts, strict=True):
        steps = np.arange(n) * min(_APART, (length - 1) / max(n - 1, 1))
        last = length - 1 - (steps[-1] if n else 0)  # the others need this much room at the end of the strip
        rising = np.minimum(np.maximum.accumulate(at[:n].astype(float) - steps), last) + steps
        found.append(Characters(row[:n], certainty[:n], rising))
    return found


def allowed_classes(allow: str, characters: Sequence[str]) -> np.ndarray:
    """Mark the classes that may be read: the blank, the space between words, and what is asked for.

    Args:
        allow: the characters, in any order.
        characters: of the classes from 1 on.

    Returns:
        bool (classes,).

    Raises:
        ValueError: a character that is not known, or none but the space.
    """
    unknown = sorted(set(allow) - set(characters))
    if unknown:
        raise ValueError(
            f"only known characters can be allowed (MODEL.STRIPS.ALLOW), not {' '.join(map(repr, unknown))}: another charset "
            "may know them"
        )
    if not set(allow) - {" "}:
        raise ValueError(f"allow (MODEL.STRIPS.ALLOW) {allow!r} leaves nothing to read: a space is only the gap between words")
    return np.array([True, *(c in allow or c == " " for c in characters)])
