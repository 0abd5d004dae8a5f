"""Tables of a document, made of results: `python -m dld.cli.document_tables FILE.md`.

A table stands between two comments, and whatever is between them is written anew:

    <!-- table: results/synthwords_tiny.json -->
    ...
    <!-- end of table -->

The path is seen from the document. The rows of `dld analyze` become the table of a study. For the results of
`dld compare` the name of a data set follows the path: `<!-- table: results/readers.json icdar2015_val -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from dld.cli.command import run_command
from dld.compare.table import comparison_table
from dld.study.table import study_table
from dld.utils.atomic_write import atomic_write_text

__all__ = ["fill_tables", "main"]

MARK = re.compile(
    r"<!-- table: (?P<file>\S+)(?: (?P<dataset>\S+))? -->\n(?P<rest>.*?)(?P<end><!-- end of table -->|\Z)", re.DOTALL
)


def fill_tables(text: str, folder: Path) -> str:
    """Return the document with every marked table made anew.

    Args:
        text: markdown.
        folder: where the document lies.

    Raises:
        FileNotFoundError: results that are not there.
        ValueError: a mark without its end, results of another kind, or without the data set.
    """

    def table(mark: re.Match) -> str:
        what = mark.group().partition("\n")[0]
        if not mark["end"] or "<!-- table:" in mark["rest"]:
            raise ValueError(f"{what}: no <!-- end of table --> follows")
        return f"{what}\n\n{_table(folder / mark['file'], mark['dataset'])}\n\n{mark['end']}"

    return MARK.sub(table, text)


def _table(path: Path, dataset: str | None) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such results")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(results, list):
            return study_table(results)
        rows = [row for row in results["rows"] if row["dataset"] == dataset]
        if rows:
            return comparison_table(rows)
        known = sorted({row["dataset"] for row in results["rows"]})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: neither results of `dld analyze` nor of `dld compare`: {error!r}") from error
    raise ValueError(f"{path}: name one of its data sets after it, {', '.join(known)}; got {dataset}")


def main(argv: list[str] | None = None) -> int:
    """Return exit code 0; 1 where `--check` finds another table than the results give; 2 with a message for a mistake."""
    return run_command("python -m dld.cli.document_tables", __doc__, "", add_arguments, run, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("files", nargs="+", metavar="FILE.md")
    parser.add_argument("--check", action="store_true", help="write nothing, say which documents are not up to date")


def run(args: argparse.Namespace) -> int:
    """Write the documents, or compare them; return the exit code.

    Raises:
        OSError, ValueError: naming the document, the results or the mark.
    """
    stale = []
    for path in map(Path, args.files):
        before = path.read_text(encoding="utf-8")
        after = fill_tables(before, path.parent)
        if after != before:
            stale.append(str(path))
            if not args.check:
                atomic_write_text(path, after)
    print(f"{'not up to date' if args.check else 'written'}: {', '.join(stale) or 'nothing'}")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
