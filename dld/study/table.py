"""Turns what was measured on each image into the rows of a table: accuracy against cost.

A point of the study is one model with one way to choose its scale, measured on all images. Every point holds the same
images in the same order, so differences are paired. Fractions in files, per cent in tables, as everywhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tabulate import tabulate

from dld.evaluation.bootstrap import hmean_interval, paired_difference_interval
from dld.evaluation.matching import Counts, score
from dld.evaluation.protocol import TASKS
from dld.study.correlation import spearman
from dld.study.cost_curve import gain_over_curve

__all__ = ["CHOICES", "Reading", "StudyPoint", "add_gains", "read_at", "study_row", "study_table"]

CHOICES = ("fixed", "chosen", "budget")
"""How a point comes by its scales: one for all images, the selector's own choice, the selector's under a budget."""


@dataclass(frozen=True)
class Reading:
    """One image, read at one scale.

    Attributes:
        scale: of the teacher's resolution.
        gflops: everything that ran, 1e9 FLOPs.
        paper_gflops: the paper's convention, 2^30 multiply-accumulates of backbone, FPN and RPN.
        ms: milliseconds from the image at the teacher's resolution to words.
        heights: of the words found, pixels at the teacher's resolution.
        counts: by task.
    """

    scale: float
    gflops: float
    paper_gflops: float
    ms: float
    heights: tuple[float, ...]
    counts: Mapping[str, Counts]

    def to_dict(self) -> dict[str, Any]:
        """Return json types."""
        return {
            "scale": self.scale,
            "gflops": self.gflops,
            "paper_gflops": self.paper_gflops,
            "ms": self.ms,
            "heights": list(self.heights),
            "counts": {task: list(counts) for task, counts in self.counts.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Reading":
        """Invert `to_dict`."""
        counts = {task: Counts(*numbers) for task, numbers in values["counts"].items()}
        return cls(**{**values, "heights": tuple(values["heights"]), "counts": counts})


@dataclass(frozen=True)
class StudyPoint:
    """One model, one way to choose the scale, all images.

    Attributes:
        name: of the row.
        model: of the curve it belongs to.
        choice: one of `CHOICES`.
        readings: in the order of the images.
        about: further fields of the row: gamma, mu, budget, ...
    """

    name: str
    model: str
    choice: str
    readings: Sequence[Reading]
    about: Mapping[str, Any] = field(default_factory=dict)


def read_at(
    readings: Mapping[float, Sequence[Reading]], scales: Sequence[float], gflops: Sequence[float], ms: Sequence[float]
) -> list[Reading]:
    """Return the readings of a selector that sends image i to scales[i]: there the student reads as at that fixed scale.

    Args:
        readings: at each fixed scale, of all images.
        scales: chosen, one an image.
        gflops, ms: what the selector itself costs on each image.
    """
    chosen = []
    for index, scale in enumerate(scales):
        reading = readings[scale][index]
        chosen.append(replace(reading, gflops=reading.gflops + gflops[index], ms=reading.ms + ms[index]))
    return chosen


def study_row(point: StudyPoint, teacher: StudyPoint) -> dict[str, Any]:
    """Compute every figure of a point, in json types.

    Args:
        teacher: the teacher at scale 1, on the same images.

    Returns:
        precision, recall and H-mean of the tasks as fractions; `e2e_interval` (95 % bootstrap over images) and
        `e2e_difference` to the teacher with its paired interval; `spearman` of the scales with the median height of the
        words that the teacher finds in an image, over the `spearman_images` in which it finds some (None where the scale
        never changes).
    """
    readings = point.readings
    row: dict[str, Any] = {"name": point.name, "model": point.model, "choice": point.choice, "gamma": None}
    row |= point.about
    row |= {
        "mean_scale": _mean(r.scale for r in readings),
        "total_gflops": _mean(r.gflops for r in readings),
        "paper_gflops": _mean(r.paper_gflops for r in readings),
    }
    row["teacher_share"] = row["total_gflops"] / _mean(r.gflops for r in teacher.readings)
    for task in TASKS:
        pooled = score(r.counts[task] for r in readings)
        row |= {f"{task}_{key}": getattr(pooled, key) for key in ("precision", "recall", "hmean")}
        row.setdefault("counts", {})[task] = [pooled.matched, pooled.detections, pooled.words]
    ours, theirs = ([r.counts["e2e"] for r in x.readings] for x in (point, teacher))
    interval, difference = hmean_interval(ours), paired_difference_interval(ours, theirs)
    row["e2e_interval"] = [interval.low, interval.high]
    row["e2e_difference"] = {"value": difference.value, "low": difference.low, "high": difference.high}
    row["ms_per_image"] = float(np.median([r.ms for r in readings]))
    histogram = Counter(r.scale for r in readings)
    row["scale_histogram"] = {f"{scale:g}": count for scale, count in sorted(histogram.items())}
    pairs = [(r.scale, float(np.median(t.heights))) for r, t in zip(readings, teacher.readings, strict=True) if t.heights]
    row["spearman"] = spearman(*zip(*pairs, strict=True)) if pairs else None
    row["spearman_images"] = len(pairs)
    row["images"] = len(readings)
    row["words"] = row["counts"]["e2e"][2]
    return row


def add_gains(rows: Sequence[dict[str, Any]], points: Sequence[StudyPoint], baseline: str) -> None:
    """Enter into each row of another student how much it reads above a student's fixed scales at equal mean cost.

    The field is `e2e_over_baseline`: {baseline, value, low, high} in fractions, or None where the row costs less than the
    baseline's smallest scale or more than its largest.

    Args:
        rows: of :func:`study_row`, changed in place.
        points: those that they were made of, the teacher first.
        baseline: a model of the study.

    Raises:
        ValueError: it was not read at two fixed scales or more.
    """
    curve = [p.readings for p in points if p.model == baseline and p.choice == "fixed"]
    if len(curve) < 2:
        known = sorted({p.model for p in points if p.choice == "fixed"})
        raise ValueError(f"baseline {baseline!r} was not read at two fixed scales or more; models with fixed scales: {known}")
    curve_counts = [[r.counts["e2e"] for r in readings] for readings in curve]
    curve_costs = [[r.gflops for r in readings] for readings in curve]
    for row, point in zip(rows, points, strict=True):
        if point.model in (baseline, points[0].model):
            continue
        own = [r.counts["e2e"] for r in point.readings], [r.gflops for r in point.readings]
        gain = gain_over_curve(*own, curve_counts, curve_costs)
        found = None if gain is None else {"value": gain.value, "low": gain.low, "high": gain.high}
        row["e2e_over_baseline"] = found and {"baseline": baseline, **found}


def study_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the rows as a markdown table like the paper's Table 1: per cent, GFLOPs and milliseconds an image."""
    header = (
        "method",
        "gamma",
        "scale",
        "GFLOPs",
        "of teacher",
        "paper GFLOPs",
        "detection",
        "e2e [95 %]",
        "to teacher",
        "word spotting",
        "ms",
    )
    gains = [row.get("e2e_over_baseline") for row in rows]
    compared = next((gain["baseline"] for gain in gains if gain), None)
    body = []
    for row in rows:
        low, high = row["e2e_interval"]
        body.append(
            (
                row["name"],
                # at a fixed scale no selector runs, whatever the weights hold
                "" if row["gamma"] is None or row["choice"] == "fixed" else f"{row['gamma']:g}",
                f"{row['mean_scale']:.2f}",
                f"{row['total_gflops']:.2f}",
                f"{row['teacher_share']:.0%}",
                f"{row['paper_gflops']:.2f}",
                f"{100 * row['detection_hmean']:.1f}",
                f"{100 * row['e2e_hmean']:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
                _signed(row["e2e_difference"]),
                f"{100 * row['word_spotting_hmean']:.1f}",
                f"{row['ms_per_image']:.0f}",
            )
        )
    if compared:
        header = (*header, f"over {compared} at equal cost")
        body = [(*line, _signed(gain) if gain else "") for line, gain in zip(body, gains, strict=True)]
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(body, header, tablefmt="pipe", colalign=align, disable_numparse=True)


def _signed(difference: Mapping[str, Any]) -> str:
    """Format percentage points with their interval."""
    value, low, high = (100 * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _mean(values) -> float:
    return float(np.mean(list(values)))
