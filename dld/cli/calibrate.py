"""Store a wanted mean cost with the weights: the selector's scores are shifted until a validation set keeps to it."""

from __future__ import annotations

import argparse
import json

from dld.cli.command import WEIGHTS, run_command

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
    parser.add_argument("--output", required=True, metavar="FILE", help="weights to write, ending in .safetensors")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def run(args: argparse.Namespace) -> float:
    """Calibrate and write; return mu.

    Raises:
        ValueError, KeyError, FileNotFoundError: naming the file, or the costs that can be reached.
    """
    from dld.engine.setup import register_datasets
    from dld.inference.budget import Budget, choose_scales, gather_scores
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
    spotter = StudiedSpotter.load("spotter", weights, args.opts)
    if not spotter.selects:
        raise ValueError(f"{args.weights} has no resolution selector: it reads every image at one scale")
    register_datasets(spotter.cfg)
    images = study_set(spotter.cfg, args.dataset, args.limit)
    records = (images.mapper(images.images[index]) for index in range(images.count))
    scores = gather_scores(spotter.model, records, images.count)
    mu = budget.calibrate(scores)

    choice = choose_scales(scores.log_probabilities, scores.costs, mu)
    rows = range(images.count)
    share, gflops = scores.costs[rows, choice].mean(), scores.gflops[rows, choice].mean()
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
        "table": mu_table(scores),
    }
    cfg = portable_config(spotter.cfg)
    cfg.MODEL.SELECTOR.MU = mu
    # types stay as they are: half precision would round mu
    save_safetensors(args.output, state, {"config": cfg.dump(), "budget": json.dumps(about)}, half=False)
    print(f"mu {mu:.4f}: {share:.1%} of the teacher's cost, {gflops:.2f} GFLOPs an image on {images.count} images")
    for index, scale in enumerate(spotter.model.scales):
        print(f"  scale {scale:g}: {(choice == index).mean():.0%} of the images")
    print(f"-> {args.output}")
    return mu


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld calibrate", __doc__, EPILOG, add_arguments, run, argv)
