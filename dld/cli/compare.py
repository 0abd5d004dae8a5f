"""Our spotters against what a user would install instead: RapidOCR and tesseract, on the same photos in one run.

Every photo is read by all readers in turns, in the resolution of its file, on the CPU in the same number of threads.
Scores are those of the data set's protocol, without lexicon. Writes DIR/comparison.json (a row for each data set and
reader, with the counts and times of each photo), DIR/comparison.md, DIR/words/ (what each reader read, as
`dld evaluate --predictions` takes it) and DIR/pictures/. Every photo is kept in DIR/cache as it is measured: an
interrupted run goes on where it stopped. Times mean something only with nothing else running.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dld.cli.command import add_punctuation, recorded_command, run_command

__all__ = ["add_arguments", "main", "run"]

PROGRAM = "python projects/DLD/tools/compare_readers.py"
OTHERS = ("rapidocr", "tesseract")
EPILOG = f"""
examples:
  {PROGRAM} --dataset icdar2015_val totaltext_val --dld dld_tiny teacher_tiny teacher_tiny@0.5 \\
    --short-side 720 --threads 2 --output output/compare
  ... --dld dld_tiny ours=output/dld_tiny/model_best.pth@budget=0.6 --others rapidocr --limit 100
  ... --register signs signs.json signs/ --dataset signs      your own photos, annotated

RapidOCR and tesseract: pip install "dld[readers]", and the program: apt install tesseract-ocr
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--dataset", nargs="+", required=True, metavar="NAME", help="registered text data sets")
    parser.add_argument(
        "--register",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "JSON", "FOLDER"),
        help="make an annotation file and its images known under a name (scored as ICDAR 2015)",
    )
    parser.add_argument("--limit", type=int, default=0, help="only the first photos of each data set; 0: all")
    add_punctuation(parser)
    parser.add_argument(
        "--dld",
        nargs="+",
        default=["dld_tiny"],
        metavar="[LABEL=]WEIGHTS[@SCALE]",
        help="our readers, the first is what all others are compared with: shipped names, checkpoints, or folders of `dld "
        "export`; at a scale (@0.5), within a budget (@budget=0.6), or as they choose. Default: dld_tiny",
    )
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=list(OTHERS), help="the others; default: both")
    parser.add_argument(
        "--tesseract-psm",
        type=int,
        nargs="+",
        default=[11],
        metavar="MODE",
        help="page segmentation modes of tesseract, each a reader: 11 sparse text (default), 3 what it does when not told",
    )
    parser.add_argument("--short-side", type=int, default=0, help="INPUT.MIN_SIZE_TEST of our readers; 0: as configured")
    parser.add_argument("--threads", type=int, default=0, help="of every reader; default: the usable cores")
    parser.add_argument("--warm-up", type=int, default=2, metavar="N", help="photos read before, uncounted (2)")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="photos of each data set that are drawn (3)")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides of our readers")


def open_readers(args: argparse.Namespace, threads: int) -> list:
    """Open the readers that the options name, ours first.

    Raises:
        FileNotFoundError, KeyError, ValueError, ImportError: naming what is missing and how it is installed.
    """
    from dld.compare.readers import DldReader, RapidOcrReader, TesseractReader
    from dld.compare.weights_choice import WeightsChoice

    choices = [WeightsChoice.parse(text) for text in args.dld]
    # a missing package raises before weights are loaded
    others = [RapidOcrReader(threads)] if "rapidocr" in args.others else []
    if "tesseract" in args.others:
        others += [TesseractReader(threads, mode) for mode in dict.fromkeys(args.tesseract_psm)]
    readers = [*(DldReader(choice, threads, args.short_side, args.opts) for choice in choices), *others]
    names = [reader.name for reader in readers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"two readers are called {twice}: give them labels, --dld LABEL=WEIGHTS")
    return readers


def set_threads(wanted: int, cores: int) -> int:
    """Tell torch and OpenCV the number of threads (0: the usable cores), and return it.

    Raises:
        ValueError: more than there are cores, which onnxruntime and torch would treat differently.
    """
    import cv2
    import torch

    if not 0 <= wanted <= cores:
        raise ValueError(f"--threads must lie between 1 and {cores}, the usable cores, got {wanted}")
    threads = wanted or cores
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return threads


def run(args: argparse.Namespace, command: str = "") -> dict:
    """Measure, print the tables, write everything; return what comparison.json holds.

    Raises:
        FileNotFoundError, KeyError, ValueError, ImportError: for what cannot be compared; the message names it.
        ReadingError: a reader failed on a photo.
    """
    from dld.benchmark.report import describe_machine, write_report
    from dld.compare.run import PhotoSet, draw_readings, measure_readers, open_cache, scored_entries
    from dld.compare.table import comparison_rows, comparison_table
    from dld.config import get_dld_cfg
    from dld.data.datasets.text_json import register_text_dataset
    from dld.engine.setup import register_datasets

    for option in ("warm_up", "examples", "short_side"):
        if getattr(args, option) < 0:
            raise ValueError(f"--{option.replace('_', '-')} must not be negative, got {getattr(args, option)}")
    register_datasets(get_dld_cfg())
    for entry in args.register:
        register_text_dataset(*entry)
    machine = describe_machine("cpu")
    threads = set_threads(args.threads, machine["cores"])
    sets = [PhotoSet.open(name, args.limit, args.punctuation) for name in dict.fromkeys(args.dataset)]
    readers = open_readers(args, threads)
    for reader in readers:
        machine["versions"] |= reader.about["versions"]
    lasting = {key: value for key, value in machine.items() if key != "load_before"} | {"threads": threads}
    output, document, tables = Path(args.output), {**machine, "threads": threads, "command": command, "rows": []}, []
    for photos in sets:
        cache = open_cache(output / "cache", photos, readers, lasting)
        measure_readers(photos, readers, cache, warm_up=args.warm_up)
        entries = scored_entries(photos, cache)
        rows = comparison_rows(entries, [reader.name for reader in readers])
        about = {"dataset": photos.name, "protocol": photos.protocol.title}
        document["rows"] += [{**about, **row, "about": dict(r.about)} for row, r in zip(rows, readers, strict=True)]
        write_report(document, output / "comparison.json")
        write_words(entries, photos.name, output / "words")
        draw_readings(photos, cache, output / "pictures", args.examples)
        title = f"{photos.name}: {photos.count} photos, {rows[0]['words']} words, protocol {photos.protocol.title}"
        tables.append(f"{title}\n\n{comparison_table(rows)}\n")
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    text = f"{machine['machine']}, {threads} threads\n\n" + "\n".join(tables) + f"\n{versions}\n"
    (output / "comparison.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n-> {output}/comparison.json, comparison.md, words/, pictures/", flush=True)
    return document


def write_words(entries: list[dict], dataset: str, folder: Path) -> None:
    """Write `folder/DATASET_READER.json` for each reader, a results file."""
    from dld.structures.words import SpottingResult, write_results
    from dld.study.cache import file_label

    for name in entries[0]["readers"]:
        results = (SpottingResult.from_dict(entry["readers"][name]["result"]) for entry in entries)
        write_results(folder / f"{file_label(f'{dataset}_{name}')}.json", results, dataset)


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`: 1 if a reader failed."""
    argv = sys.argv[1:] if argv is None else list(argv)
    command = recorded_command(PROGRAM, argv)
    return run_command("dld compare", __doc__, EPILOG, add_arguments, lambda args: run(args, command), argv, goes_on=True)
