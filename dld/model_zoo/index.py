"""What index.json says of weights: facts that people state (about.yaml), figures taken from the results of studies.

An entry of the index has

- from the file itself: `file`, `sha256`, `bytes`, `parameters` (of spotter and selector), `charset` (all characters that it
  reads), `config` (the whole configuration);
- `packed_from`: SHA-256 of the checkpoint that was packed, which is what a study of the unpacked weights knows;
- from about.yaml: `ABOUT_KEYS`;
- `scores`: data set -> where and how it was measured, and `rows`, the first of which is the headline: weights with a
  resolution selector at their own choice, others at full resolution. Scores and shares are fractions.

A variant is another configuration of weights that have an entry, and has no file. Its entry has

- `of`: the name of that entry, and `options`: KEY -> VALUE, the overrides of its configuration that make the variant;
- from about.yaml: `VARIANT_KEYS`;
- `scores` as above; and `packed_from`, where it was measured as a file of that SHA-256. Studies know it by
  :func:`dld.model_zoo.variant_id`.

All else it shares with the entry that it is `of` (:func:`dld.model_zoo.with_variants`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ABOUT_KEYS", "VARIANT_KEYS", "index_text", "read_about", "read_index", "read_scores"]

ABOUT_KEYS = ("what", "licence", "training_data", "words_seen", "trained", "recipe")
"""What a person says: one line; licence of the weights; list of {name, what, licence}; a number or a sentence; on what
machine, for how long, from which weights; list of commands."""
VARIANT_KEYS = ("what", "recipe")
"""Those of them that a variant has of its own."""

_DATA_KEYS = {"name", "what", "licence"}
# of a row of results.json -> decimals that are kept
_FIGURES = {
    "mean_scale": 3, "total_gflops": 2, "teacher_share": 3, "detection_precision": 4, "detection_recall": 4,
    "detection_hmean": 4, "e2e_precision": 4, "e2e_recall": 4, "e2e_hmean": 4, "word_spotting_hmean": 4, "ms_per_image": 1,
}  # fmt: skip
_LONGEST_LINE = 480
_ORDER = {"chosen": 0, "fixed": 1, "budget": 2}


def read_index(path: Path) -> dict[str, dict]:
    """Read the entries of an index.json; none where there is no file.

    Raises:
        ValueError: not json.
    """
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not json: {error}") from error


def read_about(path: Path, name: str, keys: Collection[str] = ABOUT_KEYS) -> dict[str, Any]:
    """Read the section of a yaml file that states the facts of weights `name`, every one of `keys` and nothing else.

    Raises:
        FileNotFoundError, KeyError, ValueError: no file, no such section, a key that is missing or unknown.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: it must have a section {name!r} with {', '.join(keys)}")
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not yaml: {error}") from error
    if not isinstance(sections, dict) or not isinstance(sections.get(name), dict):
        raise KeyError(f"{path} has no section {name!r} with {', '.join(keys)}")
    about = sections[name]
    missing, unknown = [k for k in keys if not about.get(k)], sorted(set(about) - set(keys))
    if missing or unknown:
        problem = f"lacks {', '.join(missing)}" if missing else f"has the unknown key {unknown[0]!r}"
        raise ValueError(f"{path}, section {name!r}, {problem}; expected are {', '.join(keys)}")
    data = about.get("training_data", [])
    if not isinstance(data, list) or any(not isinstance(d, dict) or set(d) != _DATA_KEYS for d in data):
        raise ValueError(f"{path}, section {name!r}: training_data must be a list of entries with name, what and licence")
    recipe = about["recipe"]
    if not isinstance(recipe, list) or not all(isinstance(command, str) for command in recipe):
        raise ValueError(f"{path}, section {name!r}: recipe must be a list of commands")
    return {key: about[key] for key in keys}


def read_scores(files: Iterable[str | Path], checkpoints: Collection[str]) -> dict[str, dict[str, Any]]:
    """Read what studies (`dld analyze`, results.json) measured of some weights, by data set.

    Args:
        files: results.json of several studies; if two measure one data set, the later one counts.
        checkpoints: SHA-256 of the weights as they were studied, packed or not.

    Raises:
        FileNotFoundError, ValueError: naming the file: no results, or none of these weights at their own choice or at
            full resolution.
    """
    scores: dict[str, dict[str, Any]] = {}
    for file in map(Path, files):
        ours = [row for row in _read_rows(file) if row["checkpoint"] in checkpoints]
        if not ours:
            short = ", ".join(sorted(c[:12] for c in checkpoints))
            raise ValueError(f"{file} has no row of these weights (checkpoint {short}): which weights were studied?")
        models = sorted({row["model"] for row in ours})
        if len(models) > 1:
            raise ValueError(f"{file} has these weights under several names: {', '.join(models)}")
        ours.sort(key=lambda row: (_ORDER[row["choice"]], -row["mean_scale"]))
        head = ours[0]
        if head["choice"] != "chosen" and abs(head["mean_scale"] - 1) > 1e-6:
            raise ValueError(f"{file} has {models[0]!r} neither at its own choice nor at scale 1")
        scores[head["dataset"]] = {
            "source": file.name,
            "images": head["images"],
            "words": head["words"],
            "short_side": head["short_side"],
            "options": _options(head.get("command", "")),
            "device": head["device"],
            "threads": head["threads"],
            "ms_images": head.get("ms_images", head["images"]),
            "rows": [_figures(row) for row in ours],
        }
    return scores


def index_text(index: Mapping[str, Mapping]) -> str:
    """Write json for people as well: an object without objects inside stands on one line where that is not too long."""
    return _text(dict(sorted(index.items())), "") + "\n"


def _read_rows(path: Path) -> list[dict]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    needed = {"checkpoint", "model", "choice", "dataset", "images", "words", "short_side", "device", "threads",
              "e2e_interval", *_FIGURES}  # fmt: skip
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for row in rows for key in sorted(needed - set(row))]
        strange = [row["choice"] for row in rows if not missing and row["choice"] not in _ORDER]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no results.json of `dld analyze`: {error}") from error
    if missing or strange:
        problem = f"a row lacks {missing[0]!r}" if missing else f"unknown choice {strange[0]!r}"
        raise ValueError(f"{path} is no results.json of `dld analyze`: {problem}")
    return rows


def _options(command: str) -> str:
    """Return the overrides that a study ran with: the number format and the test size change scores."""
    words = shlex.split(command)
    return " ".join(words[words.index("--opts") + 1 :]) if "--opts" in words else ""


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    how = {"choice": row["choice"]} | ({"budget": row["budget"]} if row.get("budget") else {})
    figures = {key: round(row[key], decimals) for key, decimals in _FIGURES.items()}
    return {**how, **figures, "e2e_interval": [round(value, 4) for value in row["e2e_interval"]]}


def _text(value: Any, indent: str) -> str:
    line, deeper = json.dumps(value, ensure_ascii=False), indent + "  "
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(_holds_object(part) for part in parts) and len(line) <= _LONGEST_LINE:
        return line
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{deeper}{json.dumps(k)}: {_text(v, deeper)}" for k, v in value.items()) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + _text(v, deeper) for v in value) + f"\n{indent}]"
    return line


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_object, value)))
