"""`dld spot --engine ray`: many pictures, several machines, Parquet files."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dld.corpus.run import CorpusSummary
    from dld.inference.predictor import TextSpotter

__all__ = ["run_with_ray"]

# options of `dld spot` that say something about drawings, documents and films
_OTHER = ("camera", "output_format", "pages", "font", "max_frames")


def run_with_ray(args: argparse.Namespace) -> int:
    """Read a corpus; return the exit code.

    Raises:
        ImportError, OSError, KeyError, ValueError, UnfinishedError: as :func:`~dld.corpus.run.read_corpus`.
    """
    from dld.corpus.addresses import check_installed
    from dld.corpus.run import CorpusJob, read_corpus
    from dld.data.picture_batches import MOST_AT_ONCE

    check_installed("ray", "pyarrow.parquet")
    values = {f"--{name.replace('_', '-')}": getattr(args, name) for name in _OTHER}
    given = [name for name, value in values.items() if value is not None and value is not False and value != []]
    if given:
        raise ValueError(f"{given[0]} cannot be used with --engine ray, which reads pictures into Parquet files")
    if not args.input or args.output is None:
        raise ValueError("--engine ray needs --input and --output")
    if args.device not in (None, "cpu", "cuda"):
        raise ValueError(f"--device of --engine ray is cpu, or cuda (a GPU for each process), got {args.device!r}")
    threads = 1 if args.threads is None else args.threads
    at_once = max(1, min(threads, MOST_AT_ONCE)) if args.batch_size is None else args.batch_size
    options = {"batch_size": at_once, "scale": args.scale, "budget": args.budget}
    options |= {"rotation": args.rotation, "tile": args.tile}
    summary = read_corpus(
        CorpusJob(
            args.input,
            args.output,
            _settings(args, options),
            partial(_load_same, _plain(args), _weights_digest(args)),
            options,
            workers=args.workers,
            threads=threads,
            address=args.address,
            part_size=args.part_size,
            device=args.device or "",
        )
    )
    return _report(summary, args.output)


def _settings(args: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """Return what the words depend on, after a check of all options; pictures of a batch and the device change nothing."""
    import yaml

    from dld.cli.load_spotter import load_spotter
    from dld.inference.predictor import portable_config

    # on the CPU: the machine that starts the run need not have a GPU
    spotter = load_spotter(argparse.Namespace(**{**vars(args), "device": "cpu"}))
    spotter([], **options)  # raises now if something is wrong with the options
    cfg = portable_config(spotter.cfg)
    cfg.MODEL.DEVICE = ""
    reading = {f"--{name}": options[name] for name in ("scale", "budget", "rotation", "tile")}
    return {"weights": _weights_digest(args), **reading, "configuration": yaml.safe_load(cfg.dump())}


def _weights_digest(args: argparse.Namespace) -> str:
    from dld.model_zoo import weights_id

    return weights_id(args.weights)


def _plain(args: argparse.Namespace) -> argparse.Namespace:
    """Return the options that loading needs: they are sent to other machines."""
    return argparse.Namespace(**{key: getattr(args, key) for key in ("weights", "config_file", "opts", "charset", "allow")})


def _load_same(args: argparse.Namespace, digest: str, device: str) -> TextSpotter:
    """Load the spotter in a process that reads.

    Raises:
        ValueError: the weights on its machine are others than those that the run was begun with.
    """
    from dld.cli.load_spotter import load_spotter

    if _weights_digest(args) != digest:
        raise ValueError(f"{args.weights} is another file on a machine of the cluster than where the run was started")
    return load_spotter(argparse.Namespace(**vars(args), device=device))


def _report(summary: CorpusSummary, output: str) -> int:
    from dld.inference.input_files import list_passed_over

    print(f"{summary.pictures} pictures ({summary.read} in this run, with {summary.words} words) -> {output}")
    if summary.again:
        print(f"{summary.again} pictures were named again; each is read once", file=sys.stderr)
    if summary.passed_over:
        print(list_passed_over(summary.passed_over), file=sys.stderr)
    if summary.failed:
        print(f"{summary.failed} pictures could not be read: their rows have an error", file=sys.stderr)
    if summary.interrupted:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    if summary.left:
        print(f"{summary.left} parts are missing: the same command tries them again", file=sys.stderr)
    return 1 if summary.failed or summary.left else 0
