"""Words of photos from their outlines: cut, read in a few batches, scored, suppressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dld.strips.collapsing import Characters
from dld.strips.cutting import PhotoPyramid, cut_strips, strip_widths, word_heights
from dld.strips.grouping import StripSize, padded_widths, strip_batches
from dld.strips.heights import MOST_ENLARGED, STRIP_ROWS, choose_rows
from dld.strips.joining import JOINED_READING, ROUNDS, joined_outline, joins_pieces, mostly_inside, overlapping_pairs
from dld.strips.scoring import reading_score, suppress, word_score
from dld.strips.sides import sides_of_outlines
from dld.strips.splitting import Piece, outline_between, pieces_of

__all__ = ["ReadStrips", "StripReading", "read_words"]

# pixels float32 (N, H, W, 3) -> the characters of each strip, whatever head read them; see `dld.strips.heights`
ReadStrips = Callable[[np.ndarray], Sequence[Characters]]


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
    min_score: float = 0.0,
    split: bool = True,
    rows: Sequence[int] = (STRIP_ROWS,),
    enlarge: float = MOST_ENLARGED,
    turn_below: float = 0.0,
    join: bool = True,
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
        split: cut an outline apart where the reader saw spaces: several words, each with its part of the outline.
        rows, enlarge: heights of strips to choose from, see :func:`~dld.strips.heights.choose_rows`.
        turn_below: words that are read less surely (:func:`reading_score`) may stand on their heads: they are read from the
            other end, too, and the surer reading counts.
        join: read outlines that overlap end to end along both, and take them for one word where this is what is read
            (:mod:`dld.strips.joining`).

    Returns:
        one reading a photo. Strips of all photos share batches, and none depends on another.
    """
    readings = [StripReading() for _ in photos]
    strips: list[_Strip] = []
    pyramids = [PhotoPyramid(photo) for photo in photos]
    for n, (pyramid, shapes) in enumerate(zip(pyramids, outlines, strict=True)):
        own, readings[n].unread = _strips_of(n, pyramid, shapes, rows, enlarge)
        strips += own
        readings[n].sizes = [strip.size for strip in own]
    # of each outline the surer of its strips
    best: dict[tuple[int, int], tuple[float, Characters, _Strip]] = {}
    _keep_surest(best, strips, read)
    if turn_below > 0:
        of = Counter((strip.photo, strip.row) for strip in strips)
        # a tall word has been read from both ends already
        doubtful = [strip for owner, (sure, _, strip) in best.items() if sure < turn_below and of[owner] == 1]
        turned = [strip.turned() for strip in doubtful]
        for strip in turned:
            readings[strip.photo].sizes.append(strip.size)
        _keep_surest(best, turned, read)
    parts: list[list[_Part]] = [[] for _ in photos]
    for (n, row), (sure, seen, strip) in best.items():
        parts[n].append(_Part(row, outlines[n][row], float(detection_scores[n][row]), sure, seen, strip))
    if join:
        for again in range(ROUNDS):
            strips = _joinable(parts, pyramids, characters, rows, enlarge, only_joined=again > 0)
            for pair in strips:
                readings[pair.strip.photo].sizes.append(pair.strip.size)
            if not _join(parts, strips, read, characters, min_score):
                break
    space = characters.index(" ") + 1 if " " in characters else None
    words: list[list[_Word]] = [[] for _ in photos]
    for n, of_photo in enumerate(parts):
        for part in of_photo:
            found = _words_of(part, photos[n].shape[:2], space, split)
            words[n] += [word for word in found if word.score >= min_score]
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
    best: dict[tuple[int, int], tuple[float, Characters, _Strip]], strips: Sequence[_Strip], read: ReadStrips
) -> None:
    """Read strips; put into `best`, in place, what is surer than what is there of the same outline."""
    for positions, pixels in strip_batches([strip.pixels for strip in strips], [strip.size for strip in strips]):
        for i, seen in zip(positions, read(pixels), strict=True):
            sure, owner = reading_score(seen.certainty), (strips[i].photo, strips[i].row)
            if owner not in best or sure > best[owner][0]:
                best[owner] = (sure, seen, strips[i])


class _Strip(NamedTuple):
    photo: int
    row: int  # the outline that it is of
    sides: np.ndarray  # (2, n, 2), it was cut between them
    pixels: np.ndarray  # uint8 (rows, columns, 3)
    width: int  # its columns at 48 rows
    size: StripSize

    def turned(self) -> _Strip:
        """Return the same strip upside down: its lower side, backwards, is then the upper one."""
        return self._replace(sides=self.sides[::-1, ::-1], pixels=np.ascontiguousarray(self.pixels[::-1, ::-1]))


class _Part(NamedTuple):
    """What was read in one outline."""

    row: int
    outline: np.ndarray
    detection: float
    sure: float
    seen: Characters
    strip: _Strip
    joined: bool = False

    def text(self, characters: Sequence[str]) -> str:
        return "".join(characters[i - 1] for i in self.seen.ids).strip()


class _Word(NamedTuple):
    row: int
    outline: np.ndarray | None
    ids: np.ndarray
    certainty: np.ndarray
    score: float
    height: int  # rows of its strip


class _Pair(NamedTuple):
    """Two parts that may be pieces of a word, and the strip along both in the direction in which they were read."""

    first: _Part
    second: _Part
    outline: np.ndarray
    strip: _Strip


def _joinable(
    parts: Sequence[Sequence[_Part]],
    pyramids: Sequence[PhotoPyramid],
    characters: Sequence[str],
    rows: Sequence[int],
    enlarge: float,
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
        strips, _ = _strips_of(n, pyramid, [outline for _, _, outline in whole], rows, enlarge)
        fitting: dict[int, _Strip] = {}
        for strip in strips:
            # a tall outline has two strips: that counts which runs as its pieces do
            first = whole[strip.row][0].strip
            if strip.row not in fitting or _along(strip, first):
                fitting[strip.row] = strip if _along(strip, first) else strip.turned()
        pairs += [_Pair(*whole[k], strip) for k, strip in fitting.items()]
    return pairs


def _along(strip: _Strip, other: _Strip) -> bool:
    """Tell whether two strips run in the same direction."""
    directions = [(one.sides[:, -1] - one.sides[:, 0]).sum(0) for one in (strip, other)]
    return bool(directions[0] @ directions[1] > 0)


def _join(
    parts: list[list[_Part]], pairs: Sequence[_Pair], read: ReadStrips, characters: Sequence[str], min_score: float
) -> bool:
    """Read pairs and join those that are one word, in place, each piece once; return whether there were any.

    What lies in a joined word, and was read as a part of it, goes too. A word whose score would leave it out is not joined.
    """
    seen: list[tuple[float, int, Characters]] = []
    strips = [pair.strip for pair in pairs]
    for positions, pixels in strip_batches([strip.pixels for strip in strips], [strip.size for strip in strips]):
        seen += [(reading_score(one.certainty), i, one) for i, one in zip(positions, read(pixels), strict=True)]
    any_joined = False
    for sure, i, one in sorted(seen, key=lambda item: (-item[0], item[1])):
        first, second, outline, strip = pairs[i]
        own = parts[strip.photo]
        surer = max(first, second, key=lambda part: part.detection)
        whole = _Part(surer.row, outline, surer.detection, sure, one, strip, joined=True)
        text = whole.text(characters)
        if sure < JOINED_READING or word_score(whole.detection, sure, len(text)) < min_score:
            continue
        if not all(any(part is piece for part in own) for piece in (first, second)):
            continue
        if joins_pieces(text, first.text(characters), second.text(characters)):
            inside = mostly_inside([part.outline for part in own], outline)
            texts = [part.text(characters).casefold() for part in own]
            kept = [not (within and of in text.casefold()) for within, of in zip(inside, texts, strict=True)]
            pieces = (first, second)
            parts[strip.photo] = [
                p for p, stays in zip(own, kept, strict=True) if stays and all(p is not q for q in pieces)
            ] + [whole]
            any_joined = True
    return any_joined


def _words_of(part: _Part, photo_size: Sequence[int], space: int | None, split: bool) -> list[_Word]:
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
            outline = outline_between(strip.sides, piece.begin, piece.end, photo_size)
        score = word_score(part.detection, reading_score(certainty), len(certainty))
        words.append(_Word(part.row, outline, ids, certainty, score, strip.size.rows))
    return words


def _strips_of(
    n: int, pyramid: PhotoPyramid, outlines: Sequence[np.ndarray], rows: Sequence[int], enlarge: float
) -> tuple[list[_Strip], int]:
    """Return the strips of photo `n` (a tall outline has two), and how many outlines have none."""
    height, width = pyramid.levels[0].shape[:2]
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
    heights = word_heights(points)
    chosen = choose_rows(heights, rows, enlarge)
    pixels, widths = cut_strips(pyramid, points, chosen), strip_widths(points, heights)
    sizes = [StripSize(int(h), int(w)) for h, w in zip(chosen, padded_widths(widths), strict=True)]
    of = [*lying.tolist(), *tall.tolist()]
    strips = [_Strip(n, *parts) for parts in zip(of, points, pixels, widths.tolist(), sizes, strict=True)]
    return strips, len(outlines) - len(lying)
