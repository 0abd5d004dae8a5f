"""Which images of a study are worth looking at.

A study has one list of readings for each compared row, the teacher's first, all of the same images in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from dld.evaluation.matching import Counts
from dld.study.table import Reading

__all__ = ["ImageScore", "Mistakes", "mistakes", "pick_images", "rank_images"]


class Mistakes(NamedTuple):
    """Words that no detection found, words found with a wrong text, detections where no word is."""

    missed: int
    misread: int
    false: int


@dataclass(frozen=True)
class ImageScore:
    """One image of the study.

    Attributes:
        index: in the data set.
        words: the number of words that count.
        readings: by name of the row, the teacher's first.
        lost: words that the teacher reads and a student does not, summed over students; gains elsewhere are not subtracted.
        errors: mistakes of all students, or of the teacher where it stands alone.
    """

    index: int
    words: int
    readings: Mapping[str, Reading]
    lost: int
    errors: int


def mistakes(counts: Mapping[str, Counts]) -> Mistakes:
    """Count the kinds of mistakes of one image from its counts by task.

    A pair is made by overlap alone and its text is judged afterwards, so detection and end-to-end have the same pairs.
    """
    pairs, right = counts["detection"].matched, counts["e2e"].matched
    return Mistakes(counts["e2e"].words - pairs, pairs - right, counts["e2e"].detections - pairs)


def rank_images(readings: Mapping[str, Sequence[Reading]]) -> list[ImageScore]:
    """Return all images, the worst first: by words lost against the teacher, then by mistakes, then by index."""
    teacher, *students = readings
    scores = []
    for index in range(len(readings[teacher])):
        here = {name: of_row[index] for name, of_row in readings.items()}
        e2e = {name: reading.counts["e2e"] for name, reading in here.items()}
        lost = sum(max(e2e[teacher].matched - e2e[name].matched, 0) for name in students)
        errors = sum(sum(mistakes(here[name].counts)) for name in students or [teacher])
        scores.append(ImageScore(index, e2e[teacher].words, here, lost, errors))
    return sorted(scores, key=lambda s: (-s.lost, -s.errors, s.index))


def pick_images(ranked: Sequence[ImageScore], count: int) -> list[ImageScore]:
    """Pick at most `count` images in the order of `ranked`: three quarters are its first, the rest shows every chosen scale.

    The rest is taken in turn from each scale that the last row (the last student's) has, in the order of the data set: the
    page should also show ordinary images, not only those picked for their mistakes.
    """
    worst = list(ranked[: count - count // 4])
    taken = {score.index for score in worst}
    by_scale: dict[float, list[ImageScore]] = {}
    for score in sorted(ranked, key=lambda s: s.index):
        if score.index not in taken:
            by_scale.setdefault(list(score.readings.values())[-1].scale, []).append(score)
    turns = zip_longest(*(by_scale[scale] for scale in sorted(by_scale)))
    ordinary = [score for turn in turns for score in turn if score is not None]
    taken |= {score.index for score in ordinary[: count - len(worst)]}
    return [score for score in ranked if score.index in taken]
