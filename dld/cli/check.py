"""Find what is wrong in a data set before training on it, and print its statistics.

Every bad polygon, unknown character, word outside its image, missing or unreadable image is printed with file and line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dld.cli.command import run_command
from dld.data.dataset_check import Finding, check_annotations, dataset_statistics
from dld.data.datasets.builtin import BUILTIN, dataset_files
from dld.text.charset import Charset
from dld.utils.atomic_write import atomic_write_text

__all__ = ["add_arguments", "main", "run"]

EPILOG = """
examples:
  dld check icdar2015_train
  dld check --json labels.json --images photos/

exit code: 0 there are warnings at most; 1 there is an error in the data; 2 nothing could be checked.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a prepared data set: " + ", ".join(BUILTIN))
    parser.add_argument("--json", type=Path, metavar="FILE", help="an annotation file, instead of NAME")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder the file names in --json are relative to")
    parser.add_argument("--charset", type=Path, metavar="FILE", help="characters that can be read (95 printable ASCII)")
    parser.add_argument("--max-length", type=int, default=32, metavar="N", help="longest readable word (%(default)s)")
    parser.add_argument("--no-images", action="store_true", help="do not open the images")
    parser.add_argument("--json-report", type=Path, metavar="FILE", help="write findings and statistics there, too")


def _locate(args: argparse.Namespace) -> tuple[Path, Path]:
    if (args.name is None) == (args.json is None) or (args.json is None) != (args.images is None):
        raise ValueError("give either the NAME of a prepared data set, or both --json FILE and --images DIR")
    if args.name is None:
        return args.json, args.images
    if args.name == "synthtext_train":
        raise ValueError("synthtext_train was checked when it was converted, and is too large to check again")
    if args.name not in BUILTIN:
        known = ", ".join(BUILTIN)
        raise ValueError(f"unknown data set {args.name!r}: known are {known}; others need --json and --images")
    json_file, images = dataset_files(args.name)
    if not json_file.is_file():
        command = f"prepare_dataset.py {args.name} --root DIR"
        raise FileNotFoundError(f"{json_file} does not exist: prepare it with `{command}`")
    return json_file, images


def _print_statistics(statistics: dict[str, Any]) -> None:
    heights = ", ".join(f"{float(q):.0%}: {h:.1f}" for q, h in statistics["height_quantiles"].items())
    print(
        f"images               {statistics['images']} ({statistics['images_without_words']} without words)\n"
        f"words                {statistics['words']}, {statistics['words_per_image_mean']:.1f} an image, "
        f"at most {statistics['words_per_image_max']}\n"
        f"don't-care           {statistics['ignored']} ({statistics['ignored_share']:.1%})\n"
        f"height of words (px) {heights or 'no readable words'}\n"
        f"words without sides  {statistics['without_sides']} (no strip can be cut from them)\n"
        f"with characters      {statistics['with_characters']} words whose characters have corners of their own\n"
        f"texts                {statistics['characters']} different characters, longest {statistics['longest_text']}"
    )


def _print_findings(json_file: Path, findings: list[Finding]) -> None:
    for finding in findings:
        place = f"{json_file}:{finding.line}" if finding.line is not None else str(json_file)
        where = f"{finding.where()}: " if finding.where() else ""
        print(f"{place}: {finding.severity}: {where}{finding.message}")
    for (severity, kind), count in sorted(Counter((f.severity, f.kind) for f in findings).items()):
        print(f"{count} x {severity}: {kind}")
    if not findings:
        print("no problems found")


def run(args: argparse.Namespace) -> int:
    """Check and print; return 1 if there is an error, 0 if there are only warnings.

    Raises:
        OSError, ValueError: nothing can be checked; the message names the file or the option.
    """
    json_file, images = _locate(args)
    charset = Charset.from_file(args.charset) if args.charset else Charset.default()
    findings, sound = check_annotations(json_file, images, charset.covers, args.max_length, not args.no_images)
    statistics = dataset_statistics(sound)
    _print_findings(json_file, findings)
    _print_statistics(statistics)
    if args.json_report is not None:
        report = {"file": str(json_file), "findings": [asdict(f) for f in findings], "statistics": statistics}
        atomic_write_text(args.json_report, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return int(any(f.severity == "error" for f in findings))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code, as in the epilog."""
    return run_command("dld check", __doc__, EPILOG, add_arguments, run, argv)
