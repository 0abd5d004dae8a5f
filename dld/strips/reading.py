"""Words of photos from their outlines: cut, read in a few batches, scored, suppressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dld.strips.collapsing import collapse
from dld.strips.cutting import PhotoPyramid, cut_strips
from dld.strips.grouping import padded_widths, strip_batches
from dld.strips.scoring import reading_score, suppress, word_score
from dld.strips.sides import sides_of_outlines

__all__ = ["ReadStrips", "StripReading", "read_words"]

# pixels float32 (N, 48, W, 3) -> the best class of every column (N, W / 8) and its probability
ReadStrips = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass
class StripReading:
    """What was read in one photo; the first four are parallel, surest word first.

    Attributes:
        rows: which outlines became words.
        texts, char_scores, scores: of these words; `char_scores` holds a probability for each character, `scores` is
            :func:`~dld.strips.scoring.word_score`.
        widths: padded columns of every strip that was read, kept as a word or not: what reading cost.
        unread: outlines that no strip could be cut from (without area, or outside the photo).
    """

    rows: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    char_scores: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    unread: int = 0


def read_words(
    photos: Sequence[np.ndarray],
    outlines: Sequence[Sequence[np.ndarray]],
    detection_scores: Sequence[np.ndarray],
    read: ReadStrips,
    characters: Sequence[str],
    min_score: float = 0.0,
) -> list[StripReading]:
    """Read every outline of every photo and keep the words that are sure enough, each place once.

    A word that is taller than wide is read from both ends, and the surer reading counts.

    Args:
        photos: uint8 BGR (H_i, W_i, 3), as large as they are at hand.
        outlines: of each photo, polygons (P, 2) in its pixels.
        detection_scores: of each photo, in [0, 1].
        read: the network.
        characters: of the classes from 1 on; class 0 is the blank.
        min_score: words of a lower score are left out; with 0 even outlines without a readable character stay.

    Returns:
        one reading a photo. Strips of all photos share batches, and none depends on another.
    """
    readings = [StripReading() for _ in photos]
    strips: list[np.ndarray] = []
    owners: list[tuple[int, int]] = []  # photo and outline of each strip
    for n, (photo, shapes) in enumerate(zip(photos, outlines, strict=True)):
        rows, pieces, readings[n].unread = _strips_of(photo, shapes)
        strips += pieces
        owners += [(n, row) for row in rows]
        readings[n].widths = padded_widths([s.shape[1] for s in pieces]).tolist()
    best: dict[tuple[int, int], tuple[float, np.ndarray, np.ndarray]] = {}
    for positions, pixels in strip_batches(strips):
        for i, (ids, certainty) in zip(positions, collapse(*read(pixels)), strict=True):
            sure = reading_score(certainty)
            if owners[i] not in best or sure > best[owners[i]][0]:
                best[owners[i]] = (sure, ids, certainty)
    for n, (reading, shapes, detected) in enumerate(zip(readings, outlines, detection_scores, strict=True)):
        rows = [row for photo, row in best if photo == n]
        scores = [word_score(float(detected[r]), best[n, r][0], len(best[n, r][1])) for r in rows]
        sure = [(row, score) for row, score in zip(rows, scores, strict=True) if score >= min_score]
        for k in suppress([shapes[row] for row, _ in sure], np.array([score for _, score in sure])):
            row, score = sure[k]
            _, ids, certainty = best[n, row]
            read_text = "".join(characters[i - 1] for i in ids)
            text = read_text.strip()
            start = read_text.find(text)  # spaces around a word are the strip's, not the word's
            reading.rows.append(row)
            reading.texts.append(text)
            reading.char_scores.append(certainty[start : start + len(text)].astype(float).tolist())
            reading.scores.append(score)
    return readings


def _strips_of(photo: np.ndarray, outlines: Sequence[np.ndarray]) -> tuple[list[int], list[np.ndarray], int]:
    """Which outline each strip is of (tall ones have two), the strips, and how many outlines have none."""
    height, width = photo.shape[:2]
    sides = sides_of_outlines(outlines)
    inside = np.array(
        [
            bool(found) and (outline.max(0) > 0).all() and (outline.min(0) < (width, height)).all()
            for outline, found in zip(outlines, sides.found, strict=True)
        ],
        dtype=bool,
    )
    lying = np.flatnonzero(inside)
    tall = np.flatnonzero(inside & sides.tall)
    # read from the other end: the lower side backwards is the upper one
    points = np.concatenate([sides.points[lying], sides.points[tall][:, ::-1, ::-1]])
    return [*lying.tolist(), *tall.tolist()], cut_strips(PhotoPyramid(photo), points), len(outlines) - len(lying)
