"""Fit the resolution selector of a trained student again, for any gamma, without training the student."""

from __future__ import annotations

import argparse
import itertools
import json

from dld.cli.command import WEIGHTS, run_command

__all__ = ["add_arguments", "main", "run"]

# far behind every iteration of a training: the generated images are not those that the student was trained on
FIRST_ITERATION = 1_000_000

EPILOG = """
example:
  python projects/DLD/tools/fit_selector.py --student output/dld_tiny/model_final.pth \\
    --teacher output/teacher_tiny/model_best.pth --gamma 0.3 --output dld_tiny_gamma03.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--student",
        required=True,
        metavar="NAME|FILE",
        help=f"a student: {WEIGHTS}. One without a selector gets one, on the stages of its own backbone",
    )
    parser.add_argument("--teacher", required=True, metavar="NAME|FILE", help="weights of its teacher")
    parser.add_argument("--gamma", type=float, help="weight of cost against accuracy; default: the student's")
    parser.add_argument("--images", type=int, default=800, help="training images to compare the scales on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--output", required=True, metavar="FILE", help="weights to write, ending in .safetensors")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def run(args: argparse.Namespace):
    """Fit and write; return the report on the held-out images.

    Raises:
        ValueError, KeyError, FileNotFoundError: naming the file or the option.
    """
    from detectron2.modeling import build_model

    import dld.modeling  # noqa: F401  only registration
    from dld.config import DISTILLER, chooses_scale
    from dld.config_files import merge_overrides
    from dld.data.build import build_train_loader
    from dld.engine.checkpoint import WholeSpotterCheckpointer
    from dld.engine.selector_fit import compare_images, fit_selector
    from dld.engine.setup import register_datasets
    from dld.engine.train_step import amp_dtype
    from dld.inference.predictor import portable_config
    from dld.model_zoo import weights_address
    from dld.utils.device import present_device
    from dld.weights import config_from_checkpoint, load_weights_file, save_safetensors

    if not args.output.endswith(".safetensors"):
        raise ValueError(f"--output must end in .safetensors, got {args.output}")
    args.teacher, args.student = weights_address(args.teacher), weights_address(args.student)
    if args.gamma is not None and args.gamma < 0:
        raise ValueError(f"--gamma must not be negative, got {args.gamma}")
    cfg = config_from_checkpoint(args.student)
    if not chooses_scale(cfg):
        raise ValueError(f"{args.student} is a plain spotter, which has no resolution selector: distil it first")
    fresh = not cfg.MODEL.SELECTOR.ENABLED
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.SELECTOR.FIXED_SCALE, cfg.MODEL.SELECTOR.ENABLED = DISTILLER, 0.0, True
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = args.teacher
    if args.gamma is not None:
        cfg.MODEL.DISTILLATION.GAMMA = args.gamma
    merge_overrides(cfg, args.opts)
    cfg.MODEL.DEVICE = present_device(cfg.MODEL.DEVICE)
    register_datasets(cfg)
    model = build_model(cfg)
    WholeSpotterCheckpointer(model.teacher, trust_pickle=cfg.MODEL.TRUST_PICKLE).load(args.teacher)
    state = dict(load_weights_file(args.student, cfg.MODEL.TRUST_PICKLE)["model"])
    if fresh:
        model.student.load_state_dict({n.removeprefix("student."): v for n, v in state.items() if n.startswith("student.")})
        model.selector.start_from_spotter(cfg, model.student.bottom_up.state_dict())
    else:
        WholeSpotterCheckpointer(model, trust_pickle=cfg.MODEL.TRUST_PICKLE).load(args.student)
    model.mu.zero_()  # the old mu was calibrated on the earlier scores
    model.train()
    loader = build_train_loader(cfg)
    loader.batch_sampler.start_iteration = FIRST_ITERATION
    count = -(-args.images // cfg.SOLVER.IMS_PER_BATCH)
    dtype = amp_dtype(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE, model.device)
    compared = compare_images(model, itertools.islice(loader, count), count, dtype)
    report = fit_selector(model, compared, epochs=args.epochs, learning_rate=args.learning_rate, seed=max(cfg.SEED, 0))

    state.update({f"selector.{name}": value.cpu() for name, value in model.selector.state_dict().items()})
    state["mu"] = model.mu.cpu().clone()  # the old mu was calibrated on the earlier scores
    about = {
        "gamma": cfg.MODEL.DISTILLATION.GAMMA,
        "images": len(compared.images),
        "epochs": args.epochs,
        "datasets": list(cfg.DATASETS.TRAIN),
        "held_out": report._asdict(),
    }
    cfg.MODEL.SELECTOR.MU = float(model.mu)
    save_safetensors(args.output, state, {"config": portable_config(cfg).dump(), "selector": json.dumps(about)}, half=False)
    print(
        f"risk on {report.images} images held out: selector {report.chosen:.4f}, one scale for all {report.best_constant:.4f}, "
        f"best scale of each {report.oracle:.4f}"
    )
    for scale, number in zip(model.scales, report.histogram, strict=True):
        print(f"  scale {scale:g}: {number / report.images:.0%} of them")
    print(f"-> {args.output}")
    return report


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld fit", __doc__, EPILOG, add_arguments, run, argv, progress=True)
