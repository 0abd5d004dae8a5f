"""One score for every word, of its detection and its reading, and suppression by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

__all__ = ["least_detection", "reading_score", "suppress", "word_score"]


def reading_score(char_scores: np.ndarray) -> float:
    """Measure how surely a word was read: the geometric mean of its characters' probabilities; 0 without characters."""
    if not len(char_scores):
        return 0.0
    return float(np.exp(np.log(np.maximum(char_scores, 1e-30)).mean()))


def word_score(detection: float, reading: float, characters: int) -> float:
    """Compute how sure a word is, in [0, 1]: detection^0.5 x reading^3 x min(1, 0.7 + 0.1 characters).

    The form was fitted by hand to the validation photos of Total-Text and ICDAR 2015 (projects/DLD/docs/study.md): the reader
    knows words better than the detector does, and of one or two characters it takes pieces of words and textures for some.

    Args:
        detection: score of the box.
        reading: see :func:`reading_score`.
        characters: their number.
    """
    return float(np.sqrt(max(detection, 0.0)) * reading**3 * min(1.0, 0.7 + 0.1 * characters))


def least_detection(min_score: float) -> float:
    """Return the score of a box below which no reading, however sure, gives a word of `min_score` by :func:`word_score`."""
    return min_score**2


def suppress(outlines: Sequence[np.ndarray], scores: np.ndarray, overlap: float = 0.5) -> np.ndarray:
    """Choose the words that remain when the surer one of two on the same place stays.

    In falling order of score a word is dropped where a kept one covers more than `overlap` of the smaller of both
    areas: so a piece falls to the whole word, or the whole to its pieces, whichever reads better.

    Args:
        outlines: R polygons (P, 2), P >= 3.
        scores: (R,); equal ones keep their order.

    Returns:
        int64 positions of the kept words, highest score first.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    if not len(order):
        return order
    shapes = shapely.make_valid(np.array([shapely.Polygon(outlines[i]) for i in order], dtype=object))
    areas = np.maximum(shapely.area(shapes), 1e-9)
    # pairs whose bounds meet; the one that comes later may fall to the one before
    later, earlier = shapely.STRtree(shapes).query(shapes)
    ahead = earlier < later
    later, earlier = later[ahead], earlier[ahead]
    common = shapely.area(shapely.intersection(shapes[later], shapes[earlier]))
    meets = common > overlap * np.minimum(areas[later], areas[earlier])
    rivals: dict[int, list[int]] = {}
    for a, b in zip(later[meets].tolist(), earlier[meets].tolist(), strict=True):
        rivals.setdefault(a, []).append(b)
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        alive[i] = not any(alive[j] for j in rivals.get(i, ()))
    return order[alive]
