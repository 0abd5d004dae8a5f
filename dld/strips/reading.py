"""Words of photos from their outlines: cut, read in a few batches, joined, split, scored, suppressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dld.strips.collapsing import Characters
from dld.strips.cutting import PhotoPyramid
from dld.strips.grouping import StripSize
from dld.strips.joining import join_pieces
from dld.strips.photo_strips import OutlineReading, PhotoStrip, ReadStrips, SideBySide, read_strips, strips_of
from dld.strips.rows_price import RowsPrice
from dld.strips.rules import ReadingRules
from dld.strips.scoring import reading_score, suppress, word_score
from dld.strips.splitting import Piece, outline_between, pieces_of

__all__ = ["ReadStrips", "StripReading", "read_words"]


@dataclass
class StripReading:
    """What was read in one photo; all but the last two are parallel, surest word first.

    Attributes:
        rows: the outline that each word was read in, of several that were joined the surest.
        outlines: the word's own outline, float64 (P, 2), where it is a part of that outline or joined from several; None: it is
            that outline.
        texts, char_scores, scores: of these words; `char_scores` holds a probability for each character, `scores` is
            :func:`~dld.strips.scoring.word_score`.
        heights: rows of the strip that each word was read from.
        sizes: of every strip that was read, kept as a word or not: what reading cost.
        unread: outlines that no strip could be cut from (without area, or outside the photo).
    """

    rows: list[int] = field(default_factory=list)
    outlines: list[np.ndarray | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    char_scores: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    sizes: list[StripSize] = field(default_factory=list)
    unread: int = 0


def read_words(
    photos: Sequence[np.ndarray],
    outlines: Sequence[Sequence[np.ndarray]],
    detection_scores: Sequence[np.ndarray],
    read: ReadStrips,
    characters: Sequence[str],
    rules: ReadingRules | None = None,
    sides: Sequence[Sequence[np.ndarray | None]] | None = None,
    prices: Sequence[RowsPrice | None] | None = None,
    side_by_side: SideBySide | None = None,
) -> list[StripReading]:
    """Read every outline of every photo and keep the words that are sure enough, each place once.

    A word that is taller than wide is read from both ends, and the surer reading counts.

    Args:
        photos: uint8 BGR (H_i, W_i, 3), as large as they are at hand.
        outlines: of each photo, polygons (P, 2) in its pixels.
        detection_scores: of each photo, in [0, 1].
        read: the network.
        characters: of the classes from 1 on; class 0 is the blank.
        rules: None: the defaults of :class:`~dld.strips.rules.ReadingRules`.
        sides: of the outlines of each photo, see `given` of :func:`~dld.strips.photo_strips.strips_of`; such a word is read
            from its first letter on. None: those of their shapes.
        prices: of each photo what chooses heights of strips for their cost; None: the heights of the words choose alone.
        side_by_side: see :func:`~dld.strips.photo_strips.read_strips`.

    Returns:
        one reading a photo. Strips of all photos share batches, and none depends on another.
    """
    rules = rules or ReadingRules()
    prices = [None] * len(photos) if prices is None else prices
    readings = [StripReading() for _ in photos]
    strips: list[PhotoStrip] = []
    pyramids = [PhotoPyramid(photo) for photo in photos]
    for n, (pyramid, shapes) in enumerate(zip(pyramids, outlines, strict=True)):
        given = None if sides is None else sides[n]
        own, readings[n].unread = strips_of(n, pyramid, shapes, rules, given, prices[n])
        strips += own
        readings[n].sizes = [strip.size for strip in own]
    # of each outline the surer of its strips
    best: dict[tuple[int, int], tuple[float, Characters, PhotoStrip]] = {}
    _keep_surest(best, strips, read_strips(strips, read, side_by_side))
    if rules.turn_below > 0:
        of = Counter((strip.photo, strip.row) for strip in strips)
        # a tall word has been read from both ends already
        doubtful = [strip for owner, (sure, _, strip) in best.items() if sure < rules.turn_below and of[owner] == 1]
        turned = [strip.turned() for strip in doubtful]
        for strip in turned:
            readings[strip.photo].sizes.append(strip.size)
        _keep_surest(best, turned, read_strips(turned, read, side_by_side))
    parts: list[list[OutlineReading]] = [[] for _ in photos]
    for (n, row), (sure, seen, strip) in best.items():
        parts[n].append(OutlineReading(row, outlines[n][row], float(detection_scores[n][row]), sure, seen, strip))
    if rules.join:
        for strip in join_pieces(parts, pyramids, read, characters, rules, side_by_side):
            readings[strip.photo].sizes.append(strip.size)
    space = characters.index(" ") + 1 if " " in characters else None
    words: list[list[_Word]] = [[] for _ in photos]
    for n, of_photo in enumerate(parts):
        for part in of_photo:
            found = _words_of(part, photos[n].shape[:2], space, rules.split)
            words[n] += [word for word in found if word.score >= rules.min_score]
    for reading, shapes, sure_ones in zip(readings, outlines, words, strict=True):
        places = [shapes[word.row] if word.outline is None else word.outline for word in sure_ones]
        for k in suppress(places, np.array([word.score for word in sure_ones])):
            word = sure_ones[k]
            reading.rows.append(word.row)
            reading.outlines.append(word.outline)
            reading.texts.append("".join(characters[i - 1] for i in word.ids))
            reading.char_scores.append(word.certainty.astype(float).tolist())
            reading.scores.append(word.score)
            reading.heights.append(word.height)
    return readings


def _keep_surest(
    best: dict[tuple[int, int], tuple[float, Characters, PhotoStrip]],
    strips: Sequence[PhotoStrip],
    readings: Sequence[tuple[float, Characters]],
) -> None:
    """Put into `best`, in place, what is surer than what is there of the same outline."""
    for strip, (sure, seen) in zip(strips, readings, strict=True):
        owner = (strip.photo, strip.row)
        if owner not in best or sure > best[owner][0]:
            best[owner] = (sure, seen, strip)


class _Word(NamedTuple):
    row: int
    outline: np.ndarray | None
    ids: np.ndarray
    certainty: np.ndarray
    score: float
    height: int  # rows of its strip


def _words_of(part: OutlineReading, photo_size: Sequence[int], space: int | None, split: bool) -> list[_Word]:
    """Return the words of one outline: one (without characters where nothing can be read), or several with spaces between."""
    strip, seen = part.strip, part.seen
    pieces = pieces_of(seen, space, strip.width)
    if not pieces:
        pieces = [Piece(0, 0, 0.0, 1.0)]
    elif not split:
        pieces = [Piece(pieces[0].first, pieces[-1].last, 0.0, 1.0)]
    words = []
    for piece in pieces:
        ids, certainty = seen.ids[piece.first : piece.last], seen.certainty[piece.first : piece.last]
        outline = part.outline if part.joined else None
        if len(pieces) > 1:
            outline = outline_between(strip.sides, piece.begin, piece.end, photo_size, strip.grown)
        score = word_score(part.detection, reading_score(certainty), len(certainty))
        words.append(_Word(part.row, outline, ids, certainty, score, strip.size.rows))
    return words
