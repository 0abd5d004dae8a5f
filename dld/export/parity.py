"""Measures how far exported graphs are from PyTorch: graph by graph on noise, and word by word on pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import shapely
import torch

from dld.modeling.graph_part import GraphPart
from dld.runtime.bundle import GraphRunner
from dld.structures.words import SpottingResult, Word

__all__ = ["compare_graphs", "compare_pictures", "match_words", "polygon_distance"]

# logits closer than this are equal except for rounding
_EQUAL_LOGITS = 1e-3


@torch.no_grad()
def compare_graphs(parts: Mapping[str, GraphPart], run: GraphRunner) -> dict[str, dict[str, float]]:
    """Return the largest absolute difference of every output of every graph on the example of its part.

    Each proposal is compared with the nearest of its image and level: two whose logits are equal except for rounding
    may come in either order, and at the end of the list either of them may be missing.

    Args:
        parts: as :func:`~dld.export.exporter.spotter_parts` makes them, of another size and batch than the exported
            ones: otherwise a size frozen into a graph would not be seen.
        run: runs the graphs.
    """
    report = {}
    for name, part in parts.items():
        expected = part.module(*part.example)
        expected = [x.numpy() for x in (expected if isinstance(expected, tuple) else (expected,))]
        found = dict(zip(part.outputs, run(name, *(x.numpy() for x in part.example)), strict=True))
        wanted = dict(zip(part.outputs, expected, strict=True))
        report[name] = {key: _difference(wanted[key], found[key]) for key in part.outputs if key != "proposals"}
        if "proposals" in wanted:
            report[name]["proposals"] = _nearest_difference(wanted, found)
    return report


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return float("inf")
    apart = np.abs(np.subtract(a, b, where=a != b, out=np.zeros(a.shape, np.float64)))  # -inf is equal to -inf
    return float(apart.max(initial=0.0))


def _nearest_difference(wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    worst = 0.0
    for level in np.unique(wanted["proposal_level"]):
        rows = wanted["proposal_level"] == level
        for image, logits in enumerate(wanted["proposal_logits"]):
            there = rows & np.isfinite(logits) & (logits > logits[rows].min() + _EQUAL_LOGITS)
            a, b = wanted["proposals"][image, there], found["proposals"][image, rows]
            distance = np.abs(a[:, None] - b[None]).max(-1)
            worst = max(worst, float(distance.min(1).max(initial=0.0)))
    return worst


def compare_pictures(
    reference: Callable[[Any], SpottingResult], exported: Callable[[Any], SpottingResult], pictures: Iterable[Any]
) -> dict[str, Any]:
    """Read every picture with both and compare the words.

    Args:
        reference, exported: spotters.
        pictures: files or uint8 BGR pixels.

    Returns:
        counts (a word is the same if both read the same text at the same place), the largest differences among the same
        words (polygons in pixels, scores, scores of characters), and the pictures that differ. Polygons are simplified with
        a tolerance of 1 % of their length; where two corners are equally good, rounding decides, and the polygons are at most
        that far apart. So polygons within half a pixel are counted as well.
    """
    report: dict[str, Any] = {
        "pictures": 0,
        "words": 0,
        "exported_words": 0,
        "same_words": 0,
        "same_scales": 0,
        "polygons_within_half": 0,
        "polygon_pixels": 0.0,
        "score": 0.0,
        "char_score": 0.0,
        "different": [],
    }
    for index, picture in enumerate(pictures):
        a, b = reference(picture), exported(picture)
        pairs = match_words(a.words, b.words)
        report["pictures"] += 1
        report["words"] += len(a.words)
        report["exported_words"] += len(b.words)
        report["same_words"] += len(pairs)
        report["same_scales"] += a.scale == b.scale
        if not len(a.words) == len(b.words) == len(pairs):
            texts = [[w.text for w in x.words] for x in (a, b)]
            name = str(index) if isinstance(picture, np.ndarray) else str(picture)
            report["different"].append({"picture": name, "pytorch": texts[0], "onnx": texts[1]})
        for one, other in pairs:
            distance = polygon_distance(one.polygon, other.polygon)
            report["polygons_within_half"] += distance < 0.5
            report["polygon_pixels"] = max(report["polygon_pixels"], distance)
            report["score"] = max(report["score"], abs(one.score - other.score))
            apart = np.abs(np.subtract(one.char_scores, other.char_scores))
            report["char_score"] = max(report["char_score"], float(apart.max(initial=0.0)))
    return report


def match_words(words: list[Word], others: list[Word]) -> list[tuple[Word, Word]]:
    """Pair words of the same text at the same place: each word with the nearest one left."""
    left, pairs = list(others), []
    for word in words:
        near = [(polygon_distance(word.polygon, o.polygon), k) for k, o in enumerate(left) if o.text == word.text]
        near = [(d, k) for d, k in near if d < max(np.ptp(word.polygon, axis=0).min(), 1.0)]
        if near:
            pairs.append((word, left.pop(min(near)[1])))
    return pairs


def polygon_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the Hausdorff distance of two outlines, in pixels: no point of either is farther from the other outline."""
    return float(shapely.hausdorff_distance(shapely.LinearRing(a), shapely.LinearRing(b)))
