"""The model card (README.md beside this file), made of index.json: `python -m dld.model_zoo.card`.

The prose stands in card_template.md, every figure comes from the index.
"""

from __future__ import annotations

import argparse
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dld import model_zoo
from dld.model_zoo.index import ABOUT_KEYS

__all__ = ["main", "model_card"]

TEMPLATE = Path(__file__).with_name("card_template.md")
NONE_YET = "None yet."
ENTRY_KEYS = ("file", "sha256", "bytes", "parameters", "charset", "config", "scores")


def model_card(index: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the card of any number of weights, as markdown.

    Args:
        index: entries by name, as :mod:`dld.model_zoo.index` describes them.

    Raises:
        ValueError: an entry that lacks something.
    """
    index = dict(sorted(model_zoo.with_variants(index).items()))
    for name, entry in index.items():
        missing = [key for key in (*ENTRY_KEYS, *ABOUT_KEYS) if key not in entry]
        if missing:
            raise ValueError(f"the index lacks {missing[0]!r} of {name!r}: enter it with pack_weights.py --register-only")
    charsets = list(dict.fromkeys(entry["charset"] for entry in index.values()))
    totals = sorted(sum(entry["parameters"].values()) for entry in index.values())
    parts = {
        "weights": _table(
            ("weights", "what", "parameters", "MB", "SHA-256"),
            ((f"`{n}`", e["what"], _parameters(e), *_file(e)) for n, e in index.items()),
        ),
        "details": "\n".join(f"- `{name}`: {_details(entry['config'])}{_made_of(entry)}" for name, entry in index.items())
        or NONE_YET,
        "characters_count": " / ".join(str(len(c)) for c in charsets) or "0",
        "characters": ", ".join(_code(c) for c in charsets) or NONE_YET,
        "licences": "\n".join(f"| `{name}` | {entry['licence']} |" for name, entry in index.items()),
        "evaluation": _evaluation(index),
        "training": _training(index),
        "scores": _scores(index),
        "timing": _timing(index),
        "readings": _readings(index),
        "points": _points(index),
        "size_range": " to ".join(dict.fromkeys(f"{t / 1e6:.1f} M" for t in (totals[:1] + totals[-1:]))) or "no",
        "recipes": "\n\n".join(_recipe(name, entry) for name, entry in index.items()) or NONE_YET,
    }
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *lines]) if lines else NONE_YET


def _code(text: str) -> str:
    """Make a code span of any text: fenced by more backticks than stand in a row inside."""
    fence = "`"
    while fence in text:
        fence += "`"
    return f"{fence} {text.strip()} {fence}" + (" and the space" if " " in text else "")


def _parameters(entry: Mapping) -> str:
    return " + ".join(f"{count / 1e6:.2f} M ({part})" for part, count in entry["parameters"].items())


def _file(entry: Mapping) -> tuple[str, str]:
    """Return MB and SHA-256 of the file; a variant has none."""
    if "of" in entry:
        return "none", f"the file of `{entry['of']}`"
    return f"{entry['bytes'] / 1e6:.1f}", f"`{entry['sha256']}`"


def _made_of(entry: Mapping) -> str:
    """Say what a variant is made of, to go behind its details."""
    options = " ".join(f"{key} {value}" for key, value in entry.get("options", {}).items())
    return f"; a variant: `{entry['of']}` with `{options}`" if "of" in entry else ""


def _selects(config: Mapping) -> bool:
    selector = config["MODEL"]["SELECTOR"]
    return config["MODEL"]["META_ARCHITECTURE"] == "DynamicSpotter" and selector["ENABLED"] and not selector["FIXED_SCALE"]


def _details(config: Mapping) -> str:
    model, side = config["MODEL"], config["INPUT"]["MIN_SIZE_TEST"]
    size = f"short side {side} pixels"
    if not model["RECOGNITION"].get("READER"):  # strips are read to their end
        size += f", words of at most {model['RECOGNITION']['MAX_LENGTH']} characters"
    if not _selects(config):
        return f"reads at full resolution unless told otherwise ({size})"
    scales = ", ".join(f"{scale:g}" for scale in model["SELECTOR"]["SCALES"])
    return f"chooses among the scales {scales}; gamma {model['DISTILLATION']['GAMMA']:g} ({size})"


def _training(index: Mapping) -> str:
    data = {(d["name"], d["what"], d["licence"]): [] for e in index.values() for d in e["training_data"]}
    for name, entry in index.items():
        for d in entry["training_data"]:
            data[d["name"], d["what"], d["licence"]].append(f"`{name}`")
    sources = _table(
        ("data", "what of it", "licence", "trained on it"),
        ((f"`{name}`", what, licence, ", ".join(users)) for (name, what, licence), users in data.items()),
    )
    seen = _table(
        ("weights", "words seen", "how it was trained"),
        ((f"`{name}`", _count(entry["words_seen"]), entry["trained"]) for name, entry in index.items()),
    )
    return f"{sources}\n\n{seen}"


def _count(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _measured(index: Mapping) -> list[tuple[str, str, Mapping]]:
    """List (weights, data set, its scores), the data sets together."""
    sets = sorted({data for entry in index.values() for data in entry["scores"]})
    return [(n, data, e["scores"][data]) for data in sets for n, e in index.items() if data in e["scores"]]


def _evaluation(index: Mapping) -> str:
    names: dict[tuple[str, ...], list[str]] = {}
    for name, data, s in _measured(index):
        options = f"`{s['options']}`" if s["options"] else ""
        measured = (f"`{data}`", f"{s['images']:,}", f"{s['words']:,}", f"{s['short_side']}", options, f"`{s['source']}`")
        names.setdefault(measured, []).append(f"`{name}`")
    rows = [(data, ", ".join(weights), *rest) for (data, *rest), weights in names.items()]
    return _table(("data", "weights", "images", "words", "short side", "options", "results"), rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _scores(index: Mapping) -> str:
    rows = []
    for name, data, scores in _measured(index):
        row = scores["rows"][0]
        low, high = row["e2e_interval"]
        rows.append(
            (
                f"`{data}`",
                f"`{name}`",
                f"{scores['images']:,}",
                *_cost(row),
                _triple(row, "detection"),
                f"{_triple(row, 'e2e')} [{_percent(low)}, {_percent(high)}]",
                _percent(row["word_spotting_hmean"]),
                f"{row['ms_per_image']:.0f}",
            )
        )
    header = (
        "data",
        "weights",
        "images",
        "mean scale",
        "GFLOPs",
        "of teacher",
        "detection P / R / H",
        "end-to-end P / R / H [95 %]",
        "word spotting H",
        "ms",
    )
    return _table(header, rows)


def _cost(row: Mapping) -> tuple[str, str, str]:
    return f"{row['mean_scale']:.2f}", f"{row['total_gflops']:.1f}", f"{row['teacher_share']:.0%}"


def _triple(row: Mapping, task: str) -> str:
    return " / ".join(_percent(row[f"{task}_{key}"]) for key in ("precision", "recall", "hmean"))


def _timing(index: Mapping) -> str:
    ways = dict.fromkeys(
        f"{data} on the first {s['ms_images']} images, {s['device']}, {s['threads']} thread{'s' * (s['threads'] > 1)}"
        for _, data, s in _measured(index)
    )
    return "; ".join(ways) or "not measured"


def _readings(index: Mapping) -> str:
    """Explain in words what the scores mean."""
    lines = []
    for name, data, scores in _measured(index):
        row = scores["rows"][0]
        lines.append(
            f"- `{data}`: `{name}` finds {row['detection_recall']:.0%} of the words and reads {row['e2e_recall']:.0%} of all "
            f"words right; of what it reports {row['e2e_precision']:.0%} is right."
        )
    return "\n".join(lines)


def _points(index: Mapping) -> str:
    rows = []
    for name, data, scores in _measured(index):
        for row in scores["rows"][1:]:
            how = f"budget {row['budget']}" if row["choice"] == "budget" else f"scale {row['mean_scale']:g}"
            rows.append(
                (
                    f"`{data}`",
                    f"`{name}`",
                    f"{scores['images']:,}",
                    how,
                    *_cost(row),
                    _percent(row["detection_hmean"]),
                    _percent(row["e2e_hmean"]),
                    f"{row['ms_per_image']:.0f}",
                )
            )
    header = ("data", "weights", "images", "read at", "mean scale", "GFLOPs", "of teacher", "detection H", "end-to-end H", "ms")
    return _table(header, rows)


def _recipe(name: str, entry: Mapping) -> str:
    commands = "\n".join(entry["recipe"])
    return f"`{name}`:\n\n```bash\n{commands}\n```"


def main(argv: list[str] | None = None) -> int:
    """Write README.md beside the index; with --check exit with 1 where it is not the card of the index."""
    parser = argparse.ArgumentParser(prog="python -m dld.model_zoo.card", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the card is another one")
    args = parser.parse_args(argv)
    path = model_zoo.FOLDER / "README.md"
    card = model_card(model_zoo.list_weights())
    if args.check:
        same = path.is_file() and path.read_text(encoding="utf-8") == card
        print(f"{path} is {'the' if same else 'not the'} card of the index")
        return 0 if same else 1
    path.write_text(card, encoding="utf-8")
    print(f"-> {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
