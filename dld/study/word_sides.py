"""How far the sides between which words are read lie from the annotated ones, and what that costs in words read.

The gap between the last two columns is what any locator of sides can win. Words count that the spotter finds: those to which
an outline of it has an IoU of at least 0.5, before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from dld.evaluation.ground_truth import GroundTruthWord, ground_truth_of
from dld.evaluation.overlap import measure_overlap
from dld.modeling.meta_arch.spotter import Spotter, WordsToRead
from dld.strips.cutting import PhotoPyramid, word_heights
from dld.strips.photo_strips import PhotoStrip, read_strips, strips_of
from dld.strips.rules import ReadingRules
from dld.strips.sides import bends
from dld.structures.sides import resample, word_sides
from dld.study.measure import StudiedSpotter, StudySet

__all__ = ["BENT", "MeasuredWord", "measure_sides", "side_gap", "sides_rows", "sides_table"]

MATCHED_IOU = 0.5
# largest distance of a word's centre line from its chord, in heights
BENT = 0.15
KINDS = ("all", "straight", "bent")


class MeasuredWord(NamedTuple):
    """An annotated word that was found."""

    bend: float  # of the annotated sides, see :func:`dld.strips.sides.bends`
    gap: float  # see :func:`side_gap`
    learned: bool  # whether a learned locator gave the predicted sides
    right_annotated: bool  # read between the annotated sides
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
    words = []
    for k, (i, row) in enumerate(pairs):
        if k not in predicted or k not in annotated:
            continue
        (mine, said), (_, wanted) = predicted[k], annotated[k]
        # without the margin that the reader gets
        middle, half = mine.sides.mean(0), (mine.sides[1] - mine.sides[0]) / 2 / mine.grown
        gap = side_gap(np.stack([middle - half, middle + half]), sides[i])
        right = [text.lower() == truth[i].text.lower() for text in (wanted, said)]
        words.append(MeasuredWord(float(bends(sides[i][None])[0]), gap, found.sides[row] is not None, *right))
    return words


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
                "read_predicted": float(np.mean([w.right_predicted for w in own])),
            }
        )
    return rows


def sides_table(rows: Sequence[dict]) -> str:
    """Lay out rows as a table in Markdown: distances in heights, shares in per cent."""
    lines = [
        "| spotter | words | found | learned sides | gap: median | mean | 90 % | read: annotated sides | predicted sides |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gaps = " | ".join(f"{row[key]:.3f}" for key in ("gap_median", "gap_mean", "gap_90"))
        learned, *read = (f"{100 * row[key]:.1f}" for key in ("learned", "read_annotated", "read_predicted"))
        lines.append(f"| {row['name']} | {row['kind']} | {row['words']} | {learned} | {gaps} | {' | '.join(read)} |")
    return "\n".join(lines)
