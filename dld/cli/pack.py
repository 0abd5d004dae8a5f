"""Pack a checkpoint for use: half precision, no optimizer, no teacher, its configuration inside.

With --name the file is entered into index.json beside it, and the model card there (README.md) is written anew: hash, size,
parameters, charset and configuration come from the file, scores from the results of studies, the rest from about.yaml.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dld.cli.command import WEIGHTS, run_command

__all__ = ["add_arguments", "file_facts", "main", "run"]

PROGRAM = "python projects/DLD/tools/pack_weights.py"
EPILOG = f"""
examples:
  {PROGRAM} --checkpoint output/dld_tiny/model_best.pth --output dld_tiny.safetensors
  {PROGRAM} --checkpoint output/dld_tiny/model_best.pth --output dld/model_zoo/dld_tiny.safetensors \\
    --name dld_tiny --scores output/study/results.json output/photos/results.json
  {PROGRAM} --output dld/model_zoo/dld_tiny.safetensors --name dld_tiny --scores more/results.json --register-only
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--checkpoint", metavar="NAME|FILE", help=f"what is packed: {WEIGHTS}")
    parser.add_argument("--output", required=True, help="file to write, ending in .safetensors")
    parser.add_argument("--name", default="", help="also enter it under this name into index.json beside the output")
    parser.add_argument("--about", metavar="FILE", help="yaml with a section NAME; default: about.yaml beside the output")
    parser.add_argument(
        "--scores", nargs="+", default=[], metavar="FILE",
        help="results.json of studies (dld analyze) of the checkpoint or of the packed file; scores of other data sets that "
        "the index has of the same weights stay",
    )  # fmt: skip
    parser.add_argument(
        "--register-only", action="store_true",
        help="the output is there and is not written, only the index and the card are; a --checkpoint must hold its weights",
    )  # fmt: skip
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[],
        help="changes of the configuration that goes into the file, KEY VALUE ...: how it reads when nobody says otherwise",
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """The verb; returns its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld pack", __doc__, EPILOG, add_arguments, run, argv)


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that do not go together (ValueError), and a folder that is not there (FileNotFoundError)."""
    if not args.output.endswith(".safetensors"):
        raise ValueError(f"--output must end in .safetensors, got {args.output}")
    if not Path(args.output).parent.is_dir():
        raise FileNotFoundError(f"--output {args.output}: its folder does not exist")
    if not args.checkpoint and not args.register_only:
        raise ValueError("--checkpoint says what is packed; --register-only leaves the output as it is")
    if not args.name and (args.about or args.scores or args.register_only):
        raise ValueError("--about, --scores and --register-only are about an entry of the index: give its --name")
    if args.opts and args.register_only:
        raise ValueError("--opts change what is written into the file, --register-only leaves it as it is")


def run(args: argparse.Namespace) -> None:
    """Write the packed file and, with a name, its entry of the index and the card.

    Raises:
        OSError, KeyError, ValueError: naming the file, the key or the option.
    """
    from dld.model_zoo import find_weights
    from dld.model_zoo.index import read_about, read_index
    from dld.weights import save_safetensors

    check_options(args)
    if args.checkpoint:
        args.checkpoint = find_weights(args.checkpoint)
    output = Path(args.output)
    index, about = {}, {}
    if args.name:
        index = read_index(output.with_name("index.json"))
        about = read_about(Path(args.about) if args.about else output.with_name("about.yaml"), args.name)
    state, metadata, iteration = packed(args.checkpoint or args.output, args.opts)
    if args.register_only:
        same_weights(args.checkpoint, state, args.output)
        if args.name:
            register(args, output, index, about)
        return
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        # beside its place until all else is known to be right: weights that the index does not know are refused
        unfinished = Path(folder) / output.name
        save_safetensors(str(unfinished), state, metadata, half=False)
        size = unfinished.stat().st_size / 1e6
        if args.name:
            register(args, unfinished, index, about)
        else:
            os.replace(unfinished, output)
    print(f"{args.output}: {size:.1f} MB, iteration {iteration}")


def packed(checkpoint: str, opts: Sequence[str] = ()) -> tuple[dict, dict[str, str], Any]:
    """Weights in half precision, what is stored beside them, and the iteration, as far as the checkpoint knows it.

    Args:
        opts: changes of its configuration, KEY VALUE KEY VALUE ...

    Raises:
        KeyError: an unknown key.  ValueError: a key without value, or a file that is no checkpoint of ours.
    """
    from dld.config import merge_overrides
    from dld.inference.predictor import portable_config
    from dld.weights import config_from_checkpoint, load_weights_file

    cfg = config_from_checkpoint(checkpoint)
    merge_overrides(cfg, opts)
    loaded = load_weights_file(checkpoint)
    # single numbers stay as they are: mu was calibrated more finely than half precision is
    state = {n: v.half() if v.is_floating_point() and v.dim() else v for n, v in loaded["model"].items()}
    # what was calibrated or fitted on which images stays with the weights
    known = {key: loaded[key] for key in ("budget", "selector") if isinstance(loaded.get(key), str)}
    return state, {"config": portable_config(cfg).dump(), **known}, loaded.get("iteration", "?")


def same_weights(checkpoint: str | None, state: dict, output: str) -> None:
    """Refuse a checkpoint that is not what was packed into the output (ValueError)."""
    import torch

    from dld.weights import load_weights_file

    there = load_weights_file(output)["model"]
    different = sorted(set(there) ^ set(state)) or [n for n, v in state.items() if not torch.equal(v, there[n])]
    if different:
        raise ValueError(f"{output} does not hold the weights of {checkpoint}: {different[0]} differs")


def register(args: argparse.Namespace, file: Path, index: dict, about: dict) -> None:
    """Enter a packed file, move it to its place, and write index and card.

    Scores stay with the weights that they were measured on: of other weights under the same name none is kept.
    """
    from dld.model_zoo import sha256_of
    from dld.model_zoo.card import model_card
    from dld.model_zoo.index import index_text, read_scores
    from dld.utils.atomic_write import atomic_write_text

    output = Path(args.output)
    facts = file_facts(file)
    before = index.get(args.name, {})
    before = before if before.get("sha256") == facts["sha256"] else {}
    source = sha256_of(args.checkpoint) if args.checkpoint else before.get("packed_from", facts["sha256"])
    scores = {**before.get("scores", {}), **read_scores(args.scores, {source, facts["sha256"]})}
    config, charset = facts.pop("config"), facts.pop("charset")
    index[args.name] = {
        "what": about.pop("what"), **facts, "packed_from": source, **about,
        "scores": dict(sorted(scores.items())), "charset": charset, "config": config,
    }  # fmt: skip
    texts = {"index.json": index_text(index), "README.md": model_card(index)}
    if file != output:
        os.replace(file, output)
    for name, text in texts.items():
        atomic_write_text(output.with_name(name), text)
    print(f"{args.name}: entered into {output.with_name('index.json')}, scores on {', '.join(scores) or 'no data set'}")


def file_facts(path: str | Path) -> dict[str, Any]:
    """What a packed file says of itself, after it was loaded as a spotter.

    Returns:
        file, sha256, bytes, parameters of spotter and selector, charset as one string, and config as nested dicts.
    """
    import yaml

    from dld.config import configured_charset
    from dld.inference.predictor import TextSpotter
    from dld.model_zoo import sha256_of
    from dld.weights import load_weights_file

    path = Path(path)
    spotter = TextSpotter.from_checkpoint(str(path), device="cpu", fuse=False)
    parts = {"spotter": getattr(spotter.model, "student", spotter.model), "selector": getattr(spotter.model, "selector", None)}
    return {
        "file": path.name,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "parameters": {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part is not None},
        "charset": "".join(configured_charset(spotter.cfg).characters),
        "config": yaml.safe_load(load_weights_file(str(path))["config"]),
    }
