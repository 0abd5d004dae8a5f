"""Store a wanted mean cost with the weights: the selector's scores are shifted until a validation set keeps to it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dld.cli.command import WEIGHTS, run_command

if TYPE_CHECKING:
    from dld.engine.rows_losses import RowsLosses
    from dld.study.measure import StudiedSpotter

__all__ = ["add_arguments", "main", "run"]

EPILOG = """
examples:
  python projects/DLD/tools/calibrate_budget.py --weights output/dld_tiny/model_best.pth --dataset synthwords_val \\
    --budget 0.6 --output dld_tiny_budget60.safetensors
  ... --budget 15G       a mean of 15 GFLOPs an image instead of 60 % of the teacher's cost

Calibrate on images that you do not evaluate on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--weights", required=True, metavar="NAME|FILE", help=f"with a resolution selector: {WEIGHTS}")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="registered text data set to calibrate on")
    parser.add_argument("--budget", required=True, help="share of the teacher's cost (0.6), or GFLOPs an image (15G)")
    parser.add_argument("--limit", type=int, default=500, help="first images of the data set; 0: all")
    parser.add_argument(
        "--rows-from",
        metavar="NAME",
        help="annotated text data set, not the one of --dataset: measure what words lose at lower strips, and let the budget "
        "choose their heights, too",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="weights to write, ending in .safetensors")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def run(args: argparse.Namespace) -> float:
    """Calibrate and write; return mu.

    Raises:
        ValueError, KeyError, FileNotFoundError: naming the file, or the costs that can be reached.
    """
    from dld.engine.setup import register_datasets
    from dld.inference.budget import Budget, ReadingSaved, choose_scales, gather_scores
    from dld.inference.predictor import portable_config
    from dld.inference.scale_choice import mu_table
    from dld.model_zoo import weights_address
    from dld.study.measure import StudiedSpotter
    from dld.study.run import study_set
    from dld.weights import load_weights_file, save_safetensors

    budget = Budget.parse(args.budget)
    weights = weights_address(args.weights)
    if not args.output.endswith(".safetensors"):
        raise ValueError(f"--output must end in .safetensors, got {args.output}")
    if args.rows_from == args.dataset:
        raise ValueError(f"--rows-from must be another data set than --dataset, {args.dataset}")
    spotter = StudiedSpotter.load("spotter", weights, args.opts)
    if not spotter.selects:
        raise ValueError(f"{args.weights} has no resolution selector: it reads every image at one scale")
    register_datasets(spotter.cfg)
    images = study_set(spotter.cfg, args.dataset, args.limit)
    measured = _measure_rows(spotter, args.rows_from) if args.rows_from else None
    if spotter.model.prices_rows and not spotter.model.height_shares:
        raise ValueError("MODEL.STRIPS.ROWS_LOSSES need HEIGHT_SHARES, too, to keep to a budget: give --rows-from")
    sizes: list[tuple[int, int]] = []

    def records() -> Iterator[dict]:
        for index in range(images.count):
            record = images.mapper(images.images[index])
            sizes.append(tuple(record["image"].shape[-2:]))
            yield record

    scores = gather_scores(spotter.model, records(), images.count)
    saved = ReadingSaved(spotter.model, sizes) if spotter.model.prices_rows else None
    mu = budget.calibrate(scores, saved)

    choice = choose_scales(scores.log_probabilities, scores.costs, mu)
    rows = range(images.count)
    share, gflops = scores.costs[rows, choice].mean(), scores.gflops[rows, choice].mean()
    if saved is not None:
        less = saved(mu)
        share, gflops = share - less[0], gflops - less[1]
    loaded = load_weights_file(weights)
    state = dict(loaded["model"])
    state["mu"] = state["mu"].new_tensor(mu, dtype=spotter.model.mu.dtype)
    about = {
        "budget": str(budget),
        "dataset": args.dataset,
        "images": images.count,
        "mu": mu,
        "mean_cost": share,
        "mean_gflops": gflops,
        "table": mu_table(scores, saved=saved),
    }
    if measured is not None:
        about["rows_from"], about["words_of_heights"] = args.rows_from, measured.words
    cfg = portable_config(spotter.cfg)
    cfg.MODEL.SELECTOR.MU = mu
    # types stay as they are: half precision would round mu
    save_safetensors(args.output, state, {"config": cfg.dump(), "budget": json.dumps(about)}, half=False)
    print(f"mu {mu:.4f}: {share:.1%} of the teacher's cost, {gflops:.2f} GFLOPs an image on {images.count} images")
    for index, scale in enumerate(spotter.model.scales):
        print(f"  scale {scale:g}: {(choice == index).mean():.0%} of the images")
    print(f"-> {args.output}")
    return mu


def _measure_rows(spotter: StudiedSpotter, name: str) -> RowsLosses:
    """Measure what words of a data set lose at each height of strips; put it into configuration and model."""
    from dld.data.build import get_text_dataset
    from dld.engine.rows_losses import measure_rows_losses
    from dld.strips.rows_price import loss_table

    student, node = spotter.model.student, spotter.cfg.MODEL.STRIPS
    if student.reader is None:
        raise ValueError("--rows-from is for spotters that read strips")
    if getattr(spotter.model.selector, "words_per_score", None) is None:
        raise ValueError("--rows-from needs a selector whose scores are of words: MODEL.SELECTOR.NAME WordLossSelector")
    dataset = get_text_dataset(name)
    measured = measure_rows_losses(student.reader, dataset, student.strip_rows, spotter.cfg.MODEL.RECOGNITION.MAX_LENGTH)
    node.ROWS_LOSSES, node.HEIGHT_SHARES = measured.losses, measured.shares
    spotter.model.rows_losses = loss_table(measured.losses)
    spotter.model.height_shares = tuple(measured.shares)
    return measured


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld calibrate", __doc__, EPILOG, add_arguments, run, argv)
