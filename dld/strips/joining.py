"""Pieces of a word that were found as words of their own: joined where their readings share characters.

A detector of small receptive field finds a large word in parts that overlap, "WELCC" and "COME". Read along both outlines, such
a pair gives one text that begins as the one, ends as the other, and is shorter than both together. Two words side by side
mostly do not: a space stands between them, or every character is of one word alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from rapidfuzz.distance import Levenshtein

from dld.strips.collapsing import Characters
from dld.strips.cutting import PhotoPyramid
from dld.strips.photo_strips import OutlineReading, PhotoStrip, ReadStrips, SideBySide, read_strips, strips_of
from dld.strips.rules import ReadingRules
from dld.strips.scoring import word_score

__all__ = ["join_pieces", "joined_outline", "joins_pieces", "mostly_inside", "overlapping_pairs"]

# fitted on the validation photos (projects/DLD/docs/study.md), in heights of the lower of both pieces where they are lengths
LEAST_OVERLAP = 0.1
MOST_OVERLAP = 0.8  # of the length of the shorter piece
MOST_ASIDE = 0.45
MOST_TALLER = 1.7
MOST_TURNED = 0.75  # cosine of the angle
LEAST_ONWARD = 0.25  # by which the second piece begins and ends after the first
# pairs that begin with one outline
MOST_SECONDS = 3
# the joined word must be read as surely (`reading_score`)
JOINED_READING = 0.85
# of joining: a word of three pieces takes two
ROUNDS = 2
# points of a side at its end that give the direction there, as a share of all
END = 0.25


def overlapping_pairs(sides: np.ndarray, new: np.ndarray | None = None) -> list[tuple[int, int]]:
    """Find pairs of outlines that may be pieces of a word: the second goes on where the first ends, and begins before that.

    Args:
        sides: float (R, 2, n, 2), upper and lower side of each, in the direction of reading.
        new: bool (R,): one of a pair must be new; None: all are.

    Returns:
        positions (first, second), at most three pairs that begin with the same outline, those on one line first: so the work is
        bounded.
    """
    if len(sides) < 2:
        return []
    middle = sides.mean(1)
    steps = max(1, round(END * (sides.shape[2] - 1)))
    begin, end = middle[:, 0], middle[:, -1]
    at_begin, at_end = _unit(middle[:, steps] - begin), _unit(end - middle[:, -1 - steps])
    height = np.maximum(np.hypot(*np.moveaxis(sides[:, 1] - sides[:, 0], -1, 0)).mean(1), 1e-6)
    length = np.hypot(*np.moveaxis(np.diff(middle, axis=1), -1, 0)).sum(1)
    lower = np.minimum(height[:, None], height[None])
    # from the end of the first (rows) to the beginning of the second (columns)
    gap = begin[None] - end[:, None]
    along = _dot(gap, at_end[:, None])
    aside = np.abs(gap[..., 0] * at_end[:, None, 1] - gap[..., 1] * at_end[:, None, 0])
    fits = (along <= -LEAST_OVERLAP * lower) & (along >= -MOST_OVERLAP * np.minimum(length[:, None], length[None]))
    fits &= (aside <= MOST_ASIDE * lower) & (np.maximum(height[:, None], height[None]) < MOST_TALLER * lower)
    fits &= _dot(at_end[:, None], at_begin[None]) >= MOST_TURNED
    fits &= _dot(end[None] - end[:, None], at_end[:, None]) > LEAST_ONWARD * lower
    fits &= _dot(begin[None] - begin[:, None], at_begin[:, None]) > LEAST_ONWARD * lower
    np.fill_diagonal(fits, False)
    if new is not None:
        fits &= new[:, None] | new[None]
    pairs = []
    for first in np.flatnonzero(fits.any(1)).tolist():
        seconds = np.flatnonzero(fits[first])
        best = seconds[np.argsort((aside / lower)[first, seconds], kind="stable")[:MOST_SECONDS]]
        pairs += [(first, int(second)) for second in np.sort(best)]
    return pairs


def joined_outline(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """Return the outline of two polygons together, float64 (P, 2), clockwise as it is seen, without holes; None where they do
    not touch."""
    union = shapely.unary_union([shapely.make_valid(shapely.Polygon(outline)) for outline in (first, second)])
    # a touching point or a spur of a repaired polygon comes as a part of its own
    parts = [part for part in shapely.get_parts(union).tolist() if part.geom_type == "Polygon"]
    areas = [part.area for part in parts]
    if not parts or max(areas) < 0.99 * sum(areas):
        return None
    ring = parts[int(np.argmax(areas))].exterior
    # y points down
    return shapely.get_coordinates(ring)[:-1][:: 1 if ring.is_ccw else -1]


def mostly_inside(outlines: Sequence[np.ndarray], whole: np.ndarray) -> np.ndarray:
    """Tell which outlines lie by more than half of their area in another one, bool (R,)."""
    around = shapely.make_valid(shapely.Polygon(whole))
    shapes = shapely.make_valid(np.array([shapely.Polygon(outline) for outline in outlines], dtype=object))
    return shapely.area(shapely.intersection(shapes, around)) > 0.5 * shapely.area(shapes)


def joins_pieces(whole: str, first: str, second: str) -> bool:
    """Tell whether a text read along two outlines is the word whose beginning and end were read in them.

    A third of a piece's characters may differ: where a piece is cut, half a character was read as another one.
    """
    if not first or not second or " " in f"{first}{second}{whole}":
        return False
    if not max(len(first), len(second)) < len(whole) < len(first) + len(second):
        return False
    whole = whole.casefold()
    return _begins(whole, first.casefold()) and _begins(whole[::-1], second.casefold()[::-1])


def _begins(whole: str, piece: str) -> bool:
    lengths: Sequence[int] = range(max(1, len(piece) - 1), len(piece) + 2)
    return min(Levenshtein.distance(whole[:n], piece) for n in lengths) <= len(piece) // 3


def join_pieces(
    parts: list[list[OutlineReading]],
    pyramids: Sequence[PhotoPyramid],
    read: ReadStrips,
    characters: Sequence[str],
    rules: ReadingRules,
    side_by_side: SideBySide | None = None,
) -> list[PhotoStrip]:
    """Join pieces of words, in place, and take out what lies in a joined word and was read as a part of it.

    A word whose score would leave it out is not joined. All photos share batches.

    Args:
        parts: of each photo, what was read in its outlines.
        pyramids: of each photo.
        read: the network.
        characters: of the classes from 1 on.
        rules: heights of strips, and `min_score`.
        side_by_side: see :func:`~dld.strips.photo_strips.read_strips`.

    Returns:
        the strips that were read for it.
    """
    strips: list[PhotoStrip] = []
    for again in range(ROUNDS):
        pairs = _pairs_of(parts, pyramids, characters, rules, only_joined=again > 0)
        strips += [pair.strip for pair in pairs]
        readings = read_strips([pair.strip for pair in pairs], read, side_by_side)
        if not _join(parts, pairs, readings, characters, rules.min_score):
            break
    return strips


class _Pair(NamedTuple):
    """Two parts that may be pieces of a word, and the strip along both in the direction in which they were read."""

    first: OutlineReading
    second: OutlineReading
    outline: np.ndarray
    strip: PhotoStrip


def _pairs_of(
    parts: Sequence[Sequence[OutlineReading]],
    pyramids: Sequence[PhotoPyramid],
    characters: Sequence[str],
    rules: ReadingRules,
    only_joined: bool,
) -> list[_Pair]:
    """Return the pairs of all photos that are worth reading; with `only_joined` those of which one has been joined."""
    pairs: list[_Pair] = []
    for n, (pyramid, of_photo) in enumerate(zip(pyramids, parts, strict=True)):
        texts = [part.text(characters) for part in of_photo]
        words = [part for part, text in zip(of_photo, texts, strict=True) if text and " " not in text]
        new = np.array([part.joined or not only_joined for part in words], bool)
        found = overlapping_pairs(np.array([part.strip.sides for part in words]), new)
        both = [(words[i], words[j], joined_outline(words[i].outline, words[j].outline)) for i, j in found]
        whole = [(first, second, outline) for first, second, outline in both if outline is not None]
        if not whole:
            continue
        strips, _ = strips_of(n, pyramid, [outline for _, _, outline in whole], rules)
        fitting: dict[int, PhotoStrip] = {}
        for strip in strips:
            # a tall outline has two strips: that counts which runs as its pieces do
            first = whole[strip.row][0].strip
            if strip.row not in fitting or _along(strip, first):
                fitting[strip.row] = strip if _along(strip, first) else strip.turned()
        pairs += [_Pair(*whole[k], strip) for k, strip in fitting.items()]
    return pairs


def _along(strip: PhotoStrip, other: PhotoStrip) -> bool:
    """Tell whether two strips run in the same direction."""
    directions = [(one.sides[:, -1] - one.sides[:, 0]).sum(0) for one in (strip, other)]
    return bool(directions[0] @ directions[1] > 0)


def _join(
    parts: list[list[OutlineReading]],
    pairs: Sequence[_Pair],
    readings: Sequence[tuple[float, Characters]],
    characters: Sequence[str],
    min_score: float,
) -> bool:
    """Join pairs whose reading says that they are one word, in place, each piece once; return whether there were any."""
    any_joined = False
    surest_first = sorted(zip(pairs, readings, strict=True), key=lambda item: -item[1][0])
    for (first, second, outline, strip), (sure, seen) in surest_first:
        own = parts[strip.photo]
        surer = max(first, second, key=lambda part: part.detection)
        whole = OutlineReading(surer.row, outline, surer.detection, sure, seen, strip, joined=True)
        text = whole.text(characters)
        if sure < JOINED_READING or word_score(whole.detection, sure, len(text)) < min_score:
            continue
        if not joins_pieces(text, first.text(characters), second.text(characters)):
            continue
        others = [part for part in own if part is not first and part is not second]
        if len(others) < len(own) - 1:  # both are still there
            inside = mostly_inside([part.outline for part in others], outline)
            kept = [
                part
                for part, within in zip(others, inside, strict=True)
                if not (within and part.text(characters).casefold() in text.casefold())
            ]
            parts[strip.photo] = [*kept, whole]
            any_joined = True
    return any_joined


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1)
