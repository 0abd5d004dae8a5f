"""Accuracy against cost: teacher and students at fixed scales, at the selector's choice and along a budget.

Writes DIR/results.json (one row a point, fractions), DIR/table.md, DIR/accuracy_cost.png, DIR/scales.png and pictures
of images per chosen scale. Every measurement is kept in DIR/cache: an interrupted study goes on where it stopped, and
more images, scales, students or budgets only cost what is new. The time per image means something only with nothing else
running.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dld.cli.command import WEIGHTS, add_protocol, add_punctuation, recorded_command, run_command

if TYPE_CHECKING:
    from dld.study.measure import StudiedSpotter

__all__ = ["add_arguments", "main", "run"]

PROGRAM = "python projects/DLD/tools/analyze_model.py"
EPILOG = f"""
example:
  {PROGRAM} --teacher output/teacher_tiny/model_best.pth \\
    --student dld=output/dld_tiny/model_best.pth --dataset synthwords_val --limit 1000 \\
    --scales 0.3 0.5 0.8 1.0 --budgets 0.3 0.5 --output output/study
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--teacher", required=True, metavar="NAME|FILE", help=WEIGHTS)
    parser.add_argument(
        "--student",
        action="append",
        default=[],
        metavar="LABEL=NAME|FILE",
        help="one or several times: what it is called, and its weights",
    )
    parser.add_argument("--dataset", metavar="NAME", help="registered text data set, synthwords_val say; --parts goes without")
    parser.add_argument("--limit", type=int, default=0, help="only the first images of it; 0: all")
    add_punctuation(parser)
    add_protocol(parser)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0], help="fixed scales")
    parser.add_argument("--student-scales", type=float, nargs="+", help="fixed scales of the students; default: --scales")
    parser.add_argument(
        "--only-chosen",
        nargs="+",
        default=[],
        metavar="NAME",
        help="students that are read at their own choice alone, without fixed scales and budgets",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="also say how much every other student reads above the curve of this one's fixed scales at equal mean cost",
    )
    parser.add_argument(
        "--budgets",
        nargs="+",
        default=[],
        metavar="BUDGET",
        help="wanted mean costs: shares of the teacher's (0.6), or GFLOPs an image (150G)",
    )
    parser.add_argument(
        "--calibration-dataset",
        metavar="NAME",
        help="images on which the budgets are calibrated; without it each half of the evaluated images is read with "
        "the mu calibrated on the other half",
    )
    parser.add_argument("--calibration-limit", type=int, default=500, help="first images of it; 0: all")
    parser.add_argument("--examples", type=int, default=3, help="pictures per student and chosen scale")
    parser.add_argument(
        "--html", metavar="FILE", help="write everything as one self-contained page too, with a gallery of the worst images"
    )
    parser.add_argument("--html-images", type=int, default=40, metavar="N", help="most images of its gallery (40)")
    parser.add_argument(
        "--times",
        metavar="FILE",
        help="results.json of the same study on fewer images and a quiet machine: its times replace those of this one, "
        "which may then run beside other work",
    )
    parser.add_argument(
        "--sides",
        action="store_true",
        help="instead of all that: how far the sides between which words are read lie from the annotated ones, and how many "
        "words are read between either, and between sides that only end as the annotated ones do (DIR/sides.json, "
        "DIR/sides.md); spotters that read strips",
    )
    parser.add_argument(
        "--given-words",
        action="store_true",
        help="instead of all that: how many annotated words the recogniser reads whose boxes and masks are given, by how they "
        "lie, every picture also turned (DIR/given_words.json, DIR/given_words.md); spotters that read crops",
    )
    parser.add_argument(
        "--parts",
        action="store_true",
        help="instead of all that: what each module computes, holds and takes, on an empty image at full size (DIR/parts.json, "
        "DIR/parts.md)",
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="its size for --parts; default: a 4:3 picture at the size of test"
    )
    parser.add_argument("--words", type=int, default=8, help="number of words in it (8)")
    parser.add_argument(
        "--depth", type=int, default=2, help="parts of the names of modules: 3 divides backbone.bottom_up, say (2)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of which --parts takes the median time (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the processor, recorded with the times")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides for all models, KEY VALUE ..."
    )


def run(args: argparse.Namespace, command: str = "") -> list[dict]:
    """Measure, print the table, write everything; return the rows of the json that is written.

    Raises:
        ValueError, KeyError, FileNotFoundError: for what cannot be studied; the message names it.
    """
    import torch

    from dld.model_zoo import weights_address
    from dld.study.measure import StudiedSpotter
    from dld.study.page_writer import check_report_path, make_report, write_report
    from dld.study.plot import plot_accuracy_cost, plot_scales
    from dld.study.run import Study
    from dld.study.table import add_gains, study_row, study_table
    from dld.utils.atomic_write import atomic_write_text

    students = _students(args.student)
    weights = {name: weights_address(given) for name, given in {"teacher": args.teacher, **students}.items()}
    if not (args.dataset or args.parts):
        raise ValueError("--dataset NAME is missing: only --parts goes without")
    if args.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {args.threads}")
    if args.html:
        check_report_path(args.html, args.html_images)
    torch.set_num_threads(args.threads)
    output = Path(args.output)
    spotters = [StudiedSpotter.load(n, p, args.opts) for n, p in weights.items()]
    if args.parts:
        return _parts(spotters, args, command)
    if args.sides:
        return _sides(spotters, args, command)
    if args.given_words:
        return _given_words(spotters, args, command)
    study = Study(
        spotters,
        args.dataset,
        args.limit,
        args.scales,
        output / "cache",
        student_scales=args.student_scales,
        only_chosen=args.only_chosen,
        punctuation=args.punctuation,
        protocol=args.protocol,
    )
    study.plan_budgets(args.budgets, args.calibration_dataset, args.calibration_limit)
    study.measure()
    points = study.points()
    about = {
        "dataset": args.dataset,
        **({} if args.punctuation == "kept" else {"punctuation": args.punctuation}),
        **({} if args.protocol is None else {"protocol": args.protocol}),
        "short_side": study.images.mapper.short_sides[0],
        "threads": args.threads,
        "device": spotters[0].model.device.type,
        "command": command,
    }
    rows = [{**study_row(point, points[0]), **about} for point in points]
    if args.baseline:
        add_gains(rows, points, args.baseline)
    if args.times:
        rows = _with_times(rows, args.times)
    table = study_table(rows)
    atomic_write_text(output / "results.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
    atomic_write_text(output / "table.md", table + "\n")
    plot_accuracy_cost(rows, output / "accuracy_cost.png")
    plot_scales(rows, output / "scales.png")
    study.draw_examples(output / "examples", args.examples)
    if args.html:
        write_report(args.html, make_report(study, rows, args.html_images))
    first = rows[0]
    print(f"\n{args.dataset}: {first['images']} images, {first['words']} words, {args.threads} threads\n\n{table}\n")
    for row in (r for r in rows if r["choice"] == "chosen"):
        shares = "  ".join(f"{s}: {n / row['images']:.0%}" for s, n in row["scale_histogram"].items())
        print(f"{row['name']} chose {shares}; Spearman with the height of words: {_show(row['spearman'])}")
    page = f", {args.html}" if args.html else ""
    print(f"-> {output}/results.json, table.md, accuracy_cost.png, scales.png, examples/{page}")
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    command = recorded_command(PROGRAM, argv)
    return run_command("dld analyze", __doc__, EPILOG, add_arguments, lambda args: run(args, command), argv, goes_on=True)


def _sides(spotters: list[StudiedSpotter], args: argparse.Namespace, command: str) -> list[dict]:
    from dld.engine.setup import register_datasets
    from dld.study.run import study_set
    from dld.study.word_sides import measure_sides, sides_rows, sides_table
    from dld.utils.atomic_write import atomic_write_text

    register_datasets(spotters[0].cfg)
    images = study_set(spotters[0].cfg, args.dataset, args.limit, args.punctuation, args.protocol)
    rows = [row for spotter in spotters for row in sides_rows(spotter.name, *measure_sides(spotter, images))]
    if not rows:
        raise ValueError(f"no annotated word of {args.dataset} was found: there are no sides to compare")
    about = {"dataset": args.dataset, "images": images.count, "command": command}
    if args.punctuation != "kept":
        about["punctuation"] = args.punctuation
    if args.protocol is not None:
        about["protocol"] = args.protocol
    rows = [{**row, **about} for row in rows]
    table, output = sides_table(rows), Path(args.output)
    atomic_write_text(output / "sides.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
    atomic_write_text(output / "sides.md", table + "\n")
    print(
        f"\n{args.dataset}: {images.count} images, {rows[0]['annotated']} words with sides\n\n{table}\n\n-> {output}/sides.json"
    )
    return rows


def _given_words(spotters: list[StudiedSpotter], args: argparse.Namespace, command: str) -> list[dict]:
    from dld.engine.setup import register_datasets
    from dld.study.given_words import given_rows, given_table, measure_given
    from dld.study.run import study_set
    from dld.utils.atomic_write import atomic_write_text

    register_datasets(spotters[0].cfg)
    images = study_set(spotters[0].cfg, args.dataset, args.limit, args.punctuation)
    rows = [row for spotter in spotters for row in given_rows(spotter.name, measure_given(spotter, images))]
    if not rows:
        raise ValueError(f"{args.dataset} has no annotated word to read")
    about = {"dataset": args.dataset, "images": images.count, "command": command}
    if args.punctuation != "kept":
        about["punctuation"] = args.punctuation
    rows = [{**row, **about} for row in rows]
    table, output = given_table(rows), Path(args.output)
    atomic_write_text(output / "given_words.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
    atomic_write_text(output / "given_words.md", table + "\n")
    print(f"\n{args.dataset}: {images.count} images\n\n{table}\n\n-> {output}/given_words.json, given_words.md")
    return rows


def _parts(spotters: list[StudiedSpotter], args: argparse.Namespace, command: str) -> list[dict]:
    from dld.structures.image_sizes import photo_size
    from dld.study.parts import measure_parts, parts_table
    from dld.utils.atomic_write import atomic_write_text

    about = {"threads": args.threads, "device": spotters[0].model.device.type, "command": command}
    measured, tables, output = [], [], Path(args.output)
    for spotter in spotters:
        size = tuple(args.size or photo_size(spotter.cfg.INPUT.MIN_SIZE_TEST, spotter.cfg.INPUT.MAX_SIZE_TEST))
        parts = measure_parts(spotter.model.student, size, args.words, args.depth, args.repeats)
        measured.append({"name": spotter.name, **parts, **about})
        height, width = parts["size"]
        tables.append(f"{spotter.name}: {height} x {width}, {args.words} words\n\n{parts_table(parts)}")
    text = "\n\n".join(tables)
    atomic_write_text(output / "parts.json", json.dumps(measured, indent=1, allow_nan=False) + "\n")
    atomic_write_text(output / "parts.md", text + "\n")
    print(f"\n{text}\n\n-> {output}/parts.json, parts.md")
    return measured


def _students(given: list[str]) -> dict[str, str]:
    students: dict[str, str] = {}
    for item in given:
        name, found, path = item.partition("=")
        if not (found and name.strip() and path):
            raise ValueError(f"--student {item}: expected LABEL=WEIGHTS")
        if name in students or name == "teacher":
            raise ValueError(f"--student {item}: the name {name!r} is taken")
        students[name] = path
    return students


def _with_times(rows: list[dict], path: str) -> list[dict]:
    try:
        timed = {row["name"]: row for row in json.loads(Path(path).read_text(encoding="utf-8"))}
        missing = [row["name"] for row in rows if row["name"] not in timed]
        keys = {"ms_per_image": "ms_per_image", "threads": "threads", "ms_images": "images", "ms_command": "command"}
        taken = {name: {ours: row[key] for ours, key in keys.items()} for name, row in timed.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--times: {path} is no results.json of this program: {error!r}") from error
    if missing:
        raise ValueError(f"--times: {path} has no row {missing[0]!r}: run it with the same students, scales and budgets")
    return [{**row, **taken[row["name"]]} for row in rows]


def _show(value: float | None) -> str:
    return "not defined (one scale, or too few images with words)" if value is None else f"{value:.2f}"
