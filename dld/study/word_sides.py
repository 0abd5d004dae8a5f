"""How far the sides between which words are read lie from the annotated ones, and what that costs in words read.

The gap between what is read from annotated and from predicted sides is what any locator of sides can win. How much of it lies
in where words begin and end is seen from predicted sides that were cut at the annotated ends. Annotated ends also leave out
what an annotator left out, punctuation above all. Words count that the spotter finds: those to which an outline of it has an
IoU of at least 0.5, before anything is read. A word is read where the data set's end-to-end rule says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from dld.evaluation.ground_truth import GroundTruthWord, ground_truth_of
from dld.evaluation.overlap import measure_overlap
from dld.evaluation.protocol import Protocol
from dld.evaluation.transcription import end_to_end_match, handed_in
from dld.modeling.meta_arch.spotter import Spotter, WordsToRead
from dld.strips.cutting import PhotoPyramid, word_heights
from dld.strips.photo_strips import PhotoStrip, read_strips, strips_of
from dld.strips.rules import ReadingRules
from dld.strips.sides import bends, with_points
from dld.structures.sides import resample, word_sides
from dld.structures.words import Word
from dld.study.measure import StudiedSpotter, StudySet

__all__ = ["BENT", "MeasuredWord", "cut_at_ends", "is_read", "measure_sides", "side_gap", "sides_rows", "sides_table"]

MATCHED_IOU = 0.5
# largest distance of a word's centre line from its chord, in heights
BENT = 0.15
KINDS = ("all", "straight", "bent")
# heights by which sides go on beyond their ends while annotated ends are looked for, and the points of each side then
_BEYOND, _FINE = 1.0, 257


class MeasuredWord(NamedTuple):
    """An annotated word that was found."""

    bend: float  # of the annotated sides, see :func:`dld.strips.sides.bends`
    gap: float  # see :func:`side_gap`
    learned: bool  # whether a learned locator gave the predicted sides
    right_annotated: bool  # read between the annotated sides
    right_ends: bool  # read between the predicted sides, cut at the annotated ends
    right_predicted: bool


def side_gap(predicted: np.ndarray, annotated: np.ndarray) -> float:
    """Return the mean distance of points at equal steps along each side, over the height of the annotated word.

    Args:
        predicted: (2, m, 2). If it runs against the reading it is compared the other way round: the reader would not be wrong
            about where the word is.
        annotated: (2, n, 2).
    """
    n = annotated.shape[1]
    mine, wanted = (np.stack([resample(side, n) for side in sides]) for sides in (predicted, annotated))
    distances = [np.linalg.norm(one - wanted, axis=-1).mean() for one in (mine, mine[::-1, ::-1])]
    return float(min(distances) / word_heights(annotated[None])[0])


def cut_at_ends(sides: np.ndarray, annotated: np.ndarray) -> np.ndarray | None:
    """Return sides that begin and end where the annotated ones do, and lie across the word as they did.

    The middles of the annotated ends are taken to the nearest points of the centre line, which goes straight on by one height
    at either end.

    Args:
        sides: (2, m, 2). If they run against the reading they are turned round.
        annotated: (2, n, 2).

    Returns:
        float64 (2, m, 2); None where both ends come to lie in one place.
    """
    ends = annotated.mean(0)[[0, -1]]
    points = with_points(np.asarray(sides, np.float64), _FINE)
    middle, half = points.mean(0), (points[1] - points[0]) / 2
    if (middle[-1] - middle[0]) @ (ends[1] - ends[0]) < 0:
        middle, half = middle[::-1], -half[::-1]
    reach = _BEYOND * word_heights(points[None])[0]
    longer = [_onward(middle[::-1], reach)[::-1], middle, _onward(middle, reach)]
    halves = np.concatenate([np.repeat(half[:1], len(longer[0]), 0), half, np.repeat(half[-1:], len(longer[2]), 0)])
    line = np.concatenate(longer)
    first, last = np.linalg.norm(line[:, None] - ends, axis=-1).argmin(0)
    if last <= first:
        return None
    upper, lower = line[first : last + 1] - halves[first : last + 1], line[first : last + 1] + halves[first : last + 1]
    return np.stack([resample(side, sides.shape[1]) for side in (upper, lower)])


def _onward(line: np.ndarray, reach: float) -> np.ndarray:
    """Return points beyond the last one of a line (n, 2), in the direction of its last tenth, as far apart as those of it."""
    step = line[-1] - line[-1 - max(len(line) // 10, 1)]
    length = float(np.linalg.norm(step))
    if length == 0:
        return np.empty((0, 2))
    spacing = max(np.linalg.norm(np.diff(line, axis=0), axis=1).mean(), reach / _FINE)
    return line[-1] + np.arange(spacing, reach, spacing)[:, None] * step / length


@torch.inference_mode()
def measure_sides(spotter: StudiedSpotter, images: StudySet) -> tuple[list[MeasuredWord], int]:
    """Measure the words of all images of a set that a spotter finds; return them, and how many annotated words have sides.

    Raises:
        ValueError: the spotter reads no strips.
    """
    student, measured, count = spotter.model.student, [], 0
    for index in tqdm(range(images.count), desc=f"sides of {spotter.name}", unit="image", disable=None):
        record = images.mapper(images.images[index])
        results = [x["instances"] for x in spotter.model.inference([record], do_postprocess=False)]
        found = student.words_to_read(results, [record])[0]
        truth = [w for w in ground_truth_of(record) if not w.ignore and w.text]
        sides = [word_sides(w.polygon, characters=len(w.text)) for w in truth]
        known = [i for i, own in enumerate(sides) if own is not None]
        count += len(known)
        measured += _of_image(student, found, [truth[i] for i in known], [sides[i] for i in known], images)
    return measured, count


def _of_image(
    student: Spotter, found: WordsToRead, truth: Sequence[GroundTruthWord], sides: Sequence[np.ndarray], images: StudySet
) -> list[MeasuredWord]:
    if not truth or not found.outlines:
        return []
    iou = measure_overlap([w.polygon for w in truth], found.outlines, images.protocol).iou
    pairs = [(i, int(row)) for i, row in enumerate(iou.argmax(1)) if iou[i, row] >= MATCHED_IOU]
    pyramid, rules = PhotoPyramid(found.photo), student.reading_rules
    outlines, given = ([values[row] for _, row in pairs] for values in (found.outlines, found.sides))
    predicted = _surest(student, pyramid, outlines, given, rules)
    annotated = _surest(student, pyramid, [truth[i].polygon for i, _ in pairs], [sides[i] for i, _ in pairs], rules)
    known = [k for k in range(len(pairs)) if k in predicted and k in annotated]
    # the strip keeps the margin that the reader gets
    cut = [cut_at_ends(predicted[k][0].sides, sides[pairs[k][0]]) for k in known]
    at_ends = _surest(student, pyramid, [outlines[k] for k in known], cut, rules)
    words = []
    for n, k in enumerate(known):
        (i, row), (mine, said), (_, wanted) = pairs[k], predicted[k], annotated[k]
        middle, half = mine.sides.mean(0), (mine.sides[1] - mine.sides[0]) / 2 / mine.grown
        gap = side_gap(np.stack([middle - half, middle + half]), sides[i])
        texts = (wanted, at_ends[n][1] if n in at_ends else said, said)
        right = [is_read(truth[i].text, text, images.protocol) for text in texts]
        words.append(MeasuredWord(float(bends(sides[i][None])[0]), gap, found.sides[row] is not None, *right))
    return words


def is_read(wanted: str, text: str, protocol: Protocol) -> bool:
    """Tell whether a text is the annotated one by a data set's end-to-end rule."""
    word = Word(polygon=np.zeros((4, 2)), text=text, score=1.0)
    return end_to_end_match(wanted, handed_in([word], protocol)[0].text, protocol)


def _surest(
    student: Spotter,
    pyramid: PhotoPyramid,
    outlines: Sequence[np.ndarray],
    sides: Sequence[np.ndarray | None],
    rules: ReadingRules,
) -> dict[int, tuple[PhotoStrip, str]]:
    """Return, by outline, the strip that is read most surely, and its text."""
    assert student.reader is not None, "its words have sides"
    characters = student.reader.charset.characters
    strips, _ = strips_of(0, pyramid, outlines, rules, sides)
    best: dict[int, tuple[float, PhotoStrip, str]] = {}
    for strip, (sure, seen) in zip(strips, read_strips(strips, student.reader.read), strict=True):
        if strip.row not in best or sure > best[strip.row][0]:
            best[strip.row] = (sure, strip, "".join(characters[i - 1] for i in seen.ids).strip())
    return {row: (strip, text) for row, (_, strip, text) in best.items()}


def sides_rows(name: str, words: Iterable[MeasuredWord], annotated: int) -> list[dict]:
    """Return a row for each of `KINDS` that there are words of: distances in heights, shares of words in [0, 1].

    Args:
        annotated: words with sides, found or not.
    """
    words = list(words)
    of_kind = {"all": words, "straight": [w for w in words if w.bend < BENT], "bent": [w for w in words if w.bend >= BENT]}
    rows = []
    for kind in KINDS:
        own = of_kind[kind]
        if not own:
            continue
        gaps = np.array([w.gap for w in own])
        rows.append(
            {
                "name": name,
                "kind": kind,
                "words": len(own),
                "annotated": annotated,
                "learned": float(np.mean([w.learned for w in own])),
                "gap_median": float(np.median(gaps)),
                "gap_mean": float(gaps.mean()),
                "gap_90": float(np.quantile(gaps, 0.9)),
                "read_annotated": float(np.mean([w.right_annotated for w in own])),
                "read_ends": float(np.mean([w.right_ends for w in own])),
                "read_predicted": float(np.mean([w.right_predicted for w in own])),
            }
        )
    return rows


def sides_table(rows: Sequence[dict]) -> str:
    """Lay out rows as a table in Markdown: distances in heights, shares in per cent."""
    lines = [
        "| spotter | words | found | learned sides | gap: median | mean | 90 % | read: annotated sides | annotated ends | "
        "predicted sides |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gaps = " | ".join(f"{row[key]:.3f}" for key in ("gap_median", "gap_mean", "gap_90"))
        learned, *read = (f"{100 * row[key]:.1f}" for key in ("learned", "read_annotated", "read_ends", "read_predicted"))
        lines.append(f"| {row['name']} | {row['kind']} | {row['words']} | {learned} | {gaps} | {' | '.join(read)} |")
    return "\n".join(lines)
