"""Greedy one-to-one matching of one image, and the counts and scores that follow from it.

Both lists are walked in the order in which they are given: confidences never reorder detections, so a results file is
scored in stored order. Detections on don't-care regions are set aside before anything is matched.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dld.evaluation.ground_truth import GroundTruthWord
from dld.evaluation.overlap import Overlap, measure_overlap
from dld.evaluation.protocol import TASKS, Protocol
from dld.evaluation.transcription import end_to_end_match, read_transcription, spotting_match, spotting_word
from dld.structures.words import Word

__all__ = ["Counts", "ImageMatch", "Pair", "Score", "TaskScore", "Verdicts", "match_image", "score", "score_dataset"]


class Pair(NamedTuple):
    """Indices of a word and of the detection that took it, and whether the task counts it as a match."""

    truth: int
    detection: int
    correct: bool


class Counts(NamedTuple):
    """Matches, counted detections and counted words of one image (or the sum over many)."""

    matched: int
    detections: int
    words: int


class Verdicts(NamedTuple):
    """What became of every word ("right", "misread", "missed", "dont_care") and of every detection ("right", "misread",
    "false", "dont_care"), in their order."""

    words: list[str]
    detections: list[str]


@dataclass(frozen=True)
class ImageMatch:
    """Attributes: the pairs in the order of matching, and which words (G,) and detections (D,) are don't care."""

    pairs: list[Pair]
    ignored_words: np.ndarray
    ignored_detections: np.ndarray

    @property
    def counts(self) -> Counts:
        return Counts(
            sum(pair.correct for pair in self.pairs),
            int((~self.ignored_detections).sum()),
            int((~self.ignored_words).sum()),
        )

    @property
    def verdicts(self) -> Verdicts:
        """Tell for each word what the counts pool. A detection with a wrong text is misread, and so is its word."""
        words = ["dont_care" if ignored else "missed" for ignored in self.ignored_words]
        detections = ["dont_care" if ignored else "false" for ignored in self.ignored_detections]
        for pair in self.pairs:
            words[pair.truth] = detections[pair.detection] = "right" if pair.correct else "misread"
        return Verdicts(words, detections)


@dataclass(frozen=True)
class Score:
    """Pooled score: fractions in [0, 1] and the counts they come from. A ratio with nothing below the line is 0."""

    precision: float
    recall: float
    hmean: float
    matched: int
    detections: int
    words: int


@dataclass(frozen=True)
class TaskScore:
    """Score of a task over a data set, and its counts for each image."""

    score: Score
    per_image: dict[str, Counts]


def match_image(
    gt_words: Sequence[GroundTruthWord],
    det_words: Sequence[Word],
    protocol: Protocol,
    task: str,
    overlap: Overlap | None = None,
) -> ImageMatch:
    """Match the detections of one image with its words.

    Args:
        gt_words: G annotated words in file order.
        det_words: D detections in file order.
        task: "detection", "e2e" or "word_spotting".
        overlap: `measure_overlap` of the two; None: it is measured here.
    """
    if task not in TASKS:
        raise KeyError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    if overlap is None:
        overlap = measure_overlap([w.polygon for w in gt_words], [w.polygon for w in det_words], protocol)
    truths = _wanted_texts(gt_words, protocol, task)
    ignored_words = np.array([text is None for text in truths], dtype=bool)
    if protocol.ignore_degenerate_words:
        ignored_words |= overlap.truth_areas == 0
    ignored_detections = (overlap.inside[ignored_words] > protocol.dont_care_overlap).any(axis=0)

    iou = overlap.iou
    fits = iou > protocol.iou_threshold if protocol.iou_strict else iou >= protocol.iou_threshold
    fits &= ~ignored_words[:, None] & ~ignored_detections[None, :]
    order = np.argwhere(fits)
    if protocol.matching_order == "best_iou":
        order = order[np.argsort(-iou[fits], kind="stable")]
    pairs: list[Pair] = []
    taken_words, taken_detections = set(), set()
    for truth, detection in order.tolist():
        if truth in taken_words or detection in taken_detections:
            continue
        correct = _same_text(truths[truth], det_words[detection].text, protocol, task)
        if not correct and not protocol.wrong_text_keeps_pair:
            continue
        taken_words.add(truth)
        taken_detections.add(detection)
        pairs.append(Pair(truth, detection, correct))
    return ImageMatch(pairs, ignored_words, ignored_detections)


def score(counts: Iterable[Counts]) -> Score:
    """Pool the counts of many images (micro average)."""
    table = np.array(list(counts), dtype=np.int64).reshape(-1, 3)
    matched, detections, words = (int(value) for value in table.sum(axis=0))
    precision = matched / detections if detections else 0.0
    recall = matched / words if words else 0.0
    hmean = 2 * precision * recall / (precision + recall) if matched else 0.0
    return Score(precision, recall, hmean, matched, detections, words)


def score_dataset(
    ground_truth: Mapping[str, Sequence[GroundTruthWord]],
    predictions: Mapping[str, Sequence[Word]],
    protocol: Protocol,
    tasks: Iterable[str] = TASKS,
) -> dict[str, TaskScore]:
    """Score a data set; an image without predictions has no detections.

    Raises:
        ValueError: predictions for an image that the ground truth does not have.
    """
    unknown = sorted(set(predictions) - set(ground_truth))
    if unknown:
        raise ValueError(f"{len(unknown)} image ids are not in the ground truth, among them {unknown[0]!r}")
    per_task: dict[str, dict[str, Counts]] = {task: {} for task in tasks}
    for image, gt_words in ground_truth.items() if per_task else ():
        det_words = predictions.get(image, ())
        overlap = measure_overlap([w.polygon for w in gt_words], [w.polygon for w in det_words], protocol)
        for task, per_image in per_task.items():
            per_image[image] = match_image(gt_words, det_words, protocol, task, overlap).counts
    return {task: TaskScore(score(per_image.values()), per_image) for task, per_image in per_task.items()}


def _wanted_texts(gt_words: Sequence[GroundTruthWord], protocol: Protocol, task: str) -> list[str | None]:
    texts: list[str | None] = []
    for word in gt_words:
        text = read_transcription(word.text, protocol)
        if word.ignore or protocol.is_dont_care(text):
            texts.append(None)
        else:
            texts.append(spotting_word(text, protocol) if task == "word_spotting" else text)
    return texts


def _same_text(truth: str | None, detected: str, protocol: Protocol, task: str) -> bool:
    if task == "detection" or truth is None:
        return task == "detection"
    detected = read_transcription(detected, protocol)
    same = spotting_match if task == "word_spotting" else end_to_end_match
    return same(truth, detected, protocol)
