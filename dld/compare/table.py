"""Turns what was measured on each photo into the rows of a comparison, and into a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from dld.evaluation.bootstrap import hmean_interval, paired_difference_interval
from dld.evaluation.matching import Counts, score
from dld.evaluation.protocol import TASKS

__all__ = ["comparison_rows", "comparison_table"]


def comparison_rows(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Compute every figure of each reader, in json types.

    Args:
        entries: of the photos, as :func:`~dld.compare.run.measure_readers` stores them.
        names: of the readers; the others are compared with the first.

    Returns:
        for each reader, in that order: precision, recall and H-mean of the tasks as fractions, each H-mean with
        its 95 % bootstrap interval over photos (`TASK_interval`) and its difference to the first reader with the paired
        interval (`TASK_difference`); `ms_median` and `ms_mean` a photo; `words_found`, counted or not; `mean_scale`
        and `mean_gflops` of readers that report them, else None; pooled `counts` (matched, detections, words); and under
        `per_photo`, in the order of the photos, `image_id`, `ms`, `words_found` and `counts` of each.
    """
    per_photo = {
        name: {
            "image_id": [entry["image_id"] for entry in entries],
            "ms": [round(entry["readers"][name]["ms"], 3) for entry in entries],
            "words_found": [len(entry["readers"][name]["result"]["words"]) for entry in entries],
            "counts": {task: [entry["readers"][name]["counts"][task] for entry in entries] for task in TASKS},
        }
        for name in names
    }
    rows = []
    for name in names:
        of_photo, first = per_photo[name], per_photo[names[0]]
        row: dict[str, Any] = {"name": name, "images": len(entries)}
        for task in TASKS:
            counts = of_photo["counts"][task]
            pooled = score(Counts(*numbers) for numbers in counts)
            row |= {f"{task}_{key}": getattr(pooled, key) for key in ("precision", "recall", "hmean")}
            row.setdefault("counts", {})[task] = [pooled.matched, pooled.detections, pooled.words]
            interval = hmean_interval(counts)
            difference = paired_difference_interval(counts, first["counts"][task])
            row[f"{task}_interval"] = [interval.low, interval.high]
            row[f"{task}_difference"] = {"to": names[0], **vars(difference)}
        row |= {
            "words": row["counts"]["e2e"][2],
            "words_found": sum(of_photo["words_found"]),
            "ms_median": statistics.median(of_photo["ms"]),
            "ms_mean": statistics.fmean(of_photo["ms"]),
            "mean_scale": _mean([entry["readers"][name]["result"]["scale"] for entry in entries]),
            "mean_gflops": _mean([entry["readers"][name]["result"]["gflops"] for entry in entries]),
            "per_photo": of_photo,
        }
        rows.append(row)
    return rows


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the rows of one data set as a markdown table: H-means in per cent, 95 % intervals, milliseconds a photo."""
    first = rows[0]["name"]
    header = (
        "reader",
        "detection",
        "e2e [95 %]",
        f"e2e to {first}",
        "word spotting",
        "words found",
        "scale",
        "ms (median)",
        "ms (mean)",
    )
    body = []
    for row in rows:
        low, high = row["e2e_interval"]
        difference = row["e2e_difference"]
        body.append(
            (
                row["name"],
                f"{100 * row['detection_hmean']:.1f}",
                f"{100 * row['e2e_hmean']:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
                ""
                if row["name"] == first
                else f"{100 * difference['value']:+.1f} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]",
                f"{100 * row['word_spotting_hmean']:.1f}",
                row["words_found"],
                "" if row["mean_scale"] is None else f"{row['mean_scale']:.2f}",
                f"{row['ms_median']:.0f}",
                f"{row['ms_mean']:.0f}",
            )
        )
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(body, header, tablefmt="pipe", colalign=align, disable_numparse=True)


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else statistics.fmean(values)
