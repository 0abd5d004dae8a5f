"""Scores for people (one table) and for programs (one json)."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dld.evaluation.matching import TaskScore
from dld.evaluation.protocol import Protocol
from dld.utils.atomic_write import atomic_write_text

__all__ = ["SCORES_SCHEMA", "score_table", "scores_document", "write_json"]

SCORES_SCHEMA = "dld-scores/1"


def score_table(scores: Mapping[str, Mapping[str, TaskScore]], title: str) -> str:
    """Lay out all tasks and lexicons in one table, in per cent.

    Args:
        scores: task -> lexicon -> score.
    """
    header = ("task", "lexicon", "precision", "recall", "H-mean", "matched", "detections", "words")
    rows: list[tuple[str, ...]] = [header]
    for task, of_lexicon in scores.items():
        for lexicon, item in of_lexicon.items():
            s = item.score
            ratios = (f"{100 * value:.2f}" for value in (s.precision, s.recall, s.hmean))
            rows.append((task, lexicon, *ratios, str(s.matched), str(s.detections), str(s.words)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    aligned = [[name.ljust(width) for name, width in zip(row, widths[:2], strict=False)] for row in rows]
    for row, cells in zip(rows, aligned, strict=True):
        cells.extend(number.rjust(width) for number, width in zip(row[2:], widths[2:], strict=True))
    lines = ["  ".join(cells) for cells in aligned]
    return "\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]])


def scores_document(scores: Mapping[str, Mapping[str, TaskScore]], protocol: Protocol, **about: Any) -> dict[str, Any]:
    """Return json types: fractions and counts by task and lexicon, counts of each image, every rule, and `about`."""
    images = {len(item.per_image) for of_lexicon in scores.values() for item in of_lexicon.values()}
    return {
        "schema": SCORES_SCHEMA,
        **about,
        "images": max(images, default=0),
        "results": {
            task: {lexicon: asdict(item.score) for lexicon, item in of_lexicon.items()} for task, of_lexicon in scores.items()
        },
        "protocol": protocol.rules(),
        "per_image": {
            "columns": ["matched", "detections", "words"],
            **{
                task: {
                    lexicon: {image: list(counts) for image, counts in item.per_image.items()}
                    for lexicon, item in of_lexicon.items()
                }
                for task, of_lexicon in scores.items()
            },
        },
    }


def write_json(path: str | os.PathLike, values: Mapping[str, Any]) -> None:
    """Write a json file that appears whole or not at all."""
    atomic_write_text(path, json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
