"""Pack a checkpoint for use: half precision, no optimizer, no teacher, its configuration inside.

With --name the file is entered into index.json beside it, and the model card there (README.md) is written anew: hash, size,
parameters, charset and configuration come from the file, scores from the results of studies, the rest from about.yaml. With
--of a variant of weights of that index is entered: the same file, read with other options.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dld.cli.command import WEIGHTS, run_command
from dld.cli.index_entries import enter_variant, register

if TYPE_CHECKING:
    import torch
    from detectron2.config import CfgNode

__all__ = ["add_arguments", "main", "run"]

PROGRAM = "python projects/DLD/tools/pack_weights.py"
EPILOG = f"""
examples:
  {PROGRAM} --checkpoint output/dld_tiny/model_best.pth --output dld_tiny.safetensors
  {PROGRAM} --checkpoint output/dld_tiny/model_best.pth --output dld/model_zoo/dld_tiny.safetensors \\
    --name dld_tiny --scores output/study/results.json output/photos/results.json
  {PROGRAM} --output dld/model_zoo/dld_tiny.safetensors --name dld_tiny --scores more/results.json --register-only
  {PROGRAM} --checkpoint dld_tiny --output thin.safetensors --thin 0.6
  {PROGRAM} --name dld_tiny_gamma03 --of dld_tiny --opts MODEL.DISTILLATION.GAMMA 0.3 MODEL.SELECTOR.MU 3.0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--checkpoint", metavar="NAME|FILE", help=f"what is packed: {WEIGHTS}")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="file to write, ending in .safetensors; with --of the index.json that is changed, by default that of the package",
    )
    parser.add_argument("--name", default="", help="also enter it under this name into index.json beside the output")
    parser.add_argument(
        "--of",
        default="",
        metavar="NAME",
        help="enter a variant: these weights of the index, which have a file, with --opts; without --opts those it has there",
    )
    parser.add_argument("--about", metavar="FILE", help="yaml with a section NAME; default: about.yaml beside the output")
    parser.add_argument(
        "--scores",
        nargs="+",
        default=[],
        metavar="FILE",
        help="results.json of studies (dld analyze) of the checkpoint or of the packed file; scores of other data sets that "
        "the index has of the same weights stay",
    )
    parser.add_argument(
        "--thin",
        type=float,
        metavar="SHARE",
        help="leave out the channels with the weakest weights, the same share of all layers that allow it, until the spotter's "
        "own layers cost this share: the baseline of a search of widths",
    )
    parser.add_argument(
        "--register-only",
        action="store_true",
        help="the output is there and is not written, only the index and the card are; a --checkpoint must hold its weights",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="changes of the configuration of the file or variant, KEY VALUE ...: how it reads when nobody says otherwise",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld pack", __doc__, EPILOG, add_arguments, run, argv)


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that do not go together (ValueError), and a folder that is not there (FileNotFoundError)."""
    if args.of:
        _check_variant(args)
        return
    if not args.output:
        raise ValueError("--output says which file is written")
    if not args.output.endswith(".safetensors"):
        raise ValueError(f"--output must end in .safetensors, got {args.output}")
    if not Path(args.output).parent.is_dir():
        raise FileNotFoundError(f"--output {args.output}: its folder does not exist")
    if not args.checkpoint and not args.register_only:
        raise ValueError("--checkpoint says what is packed; --register-only leaves the output as it is")
    if not args.name and (args.about or args.scores or args.register_only):
        raise ValueError("--about, --scores and --register-only are about an entry of the index: give its --name")
    if args.thin is not None and (args.register_only or not 0 < args.thin < 1):
        raise ValueError(f"--thin must be between 0 and 1, and does not go with --register-only, got {args.thin:g}")
    if args.opts and args.register_only:
        raise ValueError("--opts change what is written into the file, --register-only leaves it as it is")


def _check_variant(args: argparse.Namespace) -> None:
    if not args.name or args.name == args.of:
        raise ValueError(f"--of {args.of}: give the variant a --name of its own")
    if args.checkpoint or args.register_only or args.thin is not None:
        raise ValueError("a variant has no file: --of takes neither --checkpoint nor --register-only nor --thin")
    if args.output and Path(args.output).name != "index.json":
        raise ValueError(f"--output with --of is the index.json that the variant is entered into, got {args.output}")


def run(args: argparse.Namespace) -> None:
    """Write the packed file and, with a name, its entry of the index and the card; for a variant only entry and card.

    Raises:
        OSError, KeyError, ValueError: naming the file, the key or the option.
    """
    from dld.model_zoo import weights_address
    from dld.model_zoo.index import read_about, read_index
    from dld.weights import save_safetensors

    check_options(args)
    if args.of:
        enter_variant(args)
        return
    if args.checkpoint:
        args.checkpoint = weights_address(args.checkpoint)
    output = Path(args.output)
    index, about = {}, {}
    if args.name:
        index = read_index(output.with_name("index.json"))
        about = read_about(Path(args.about) if args.about else output.with_name("about.yaml"), args.name)
    state, metadata, iteration = packed(args.checkpoint or args.output, args.opts, args.thin)
    if args.register_only:
        same_weights(args.checkpoint, state, args.output)
        if args.name:
            register(args, output, index, about)
        return
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        # beside its place until all else is right: weights that the index does not know are refused
        unfinished = Path(folder) / output.name
        save_safetensors(str(unfinished), state, metadata, half=False)
        size = unfinished.stat().st_size / 1e6
        if args.name:
            register(args, unfinished, index, about)
        else:
            os.replace(unfinished, output)
    print(f"{args.output}: {size:.1f} MB, iteration {iteration}")


def packed(checkpoint: str, opts: Sequence[str] = (), thin: float | None = None) -> tuple[dict, dict[str, str], Any]:
    """Return weights in half precision, what is stored beside them, and the iteration if the checkpoint knows it.

    Args:
        opts: changes of its configuration, KEY VALUE KEY VALUE ...
        thin: thin it uniformly to this share of its cost; None: all channels stay.

    Raises:
        KeyError: an unknown key.  ValueError: a key without value, a file that is no checkpoint of ours, or a spotter that
            cannot be thinned so far.
    """
    from dld.config_files import merge_overrides
    from dld.inference.predictor import portable_config
    from dld.weights import config_from_checkpoint, load_weights_file

    cfg = config_from_checkpoint(checkpoint)
    merge_overrides(cfg, opts)
    loaded = load_weights_file(checkpoint)
    if thin is not None:
        # what a packed file left out before stays out
        loaded["model"], cfg = _thinned(cfg, loaded["model"], thin)
    # single numbers stay as they are: mu was calibrated more finely than half precision allows
    state = {n: v.half() if v.is_floating_point() and v.dim() else v for n, v in loaded["model"].items()}
    # what was calibrated or fitted, and on which images, stays with the weights
    known = {key: loaded[key] for key in ("budget", "selector") if isinstance(loaded.get(key), str)}
    return state, {"config": portable_config(cfg).dump(), **known}, loaded.get("iteration", "?")


def _thinned(cfg: CfgNode, given: dict[str, torch.Tensor], share: float) -> tuple[dict[str, torch.Tensor], CfgNode]:
    from dld.engine.uniform_cut import thinned

    try:
        state, narrow, found = thinned(cfg, share)
    except ValueError as error:
        raise ValueError(f"--thin {share:g}: {error}") from error
    print(f"{len(narrow.MODEL.PRUNED_WIDTHS)} layers with fewer channels, the spotter's own layers cost {found:.3f} of all")
    return {name: value for name, value in state.items() if name in given}, narrow


def same_weights(checkpoint: str | None, state: dict, output: str) -> None:
    """Refuse a checkpoint other than the one packed into the output (ValueError)."""
    import torch

    from dld.weights import load_weights_file

    there = load_weights_file(output)["model"]
    different = sorted(set(there) ^ set(state)) or [n for n, v in state.items() if not torch.equal(v, there[n])]
    if different:
        raise ValueError(f"{output} does not hold the weights of {checkpoint}: {different[0]} differs")
