"""From the best class of every column to the characters of a word."""

from __future__ import annotations

import numpy as np

__all__ = ["collapse"]


def collapse(ids: np.ndarray, probabilities: np.ndarray, blank: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Best-path decoding of connectionist temporal classification (Graves et al. 2006, 3.2).

    Repeated classes become one character, then blanks are dropped: "aa-ab" reads "aab". A character's probability is that
    of the first of its columns.

    Args:
        ids: int (R, L), the most probable class of every column.
        probabilities: (R, L), of these classes.
        blank: class that stands for no character.

    Returns:
        for each of R words its characters' classes and their probabilities.
    """
    first = np.ones(ids.shape, bool)
    first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    kept = first & (ids != blank)
    return [(row[seen], certainty[seen]) for row, certainty, seen in zip(ids, probabilities, kept, strict=True)]
