"""Pack a checkpoint for use: half precision, no optimizer, no teacher, its configuration inside."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--checkpoint", required=True, help="checkpoint written by train_net.py")
    parser.add_argument("--output", required=True, help="file to write, ending in .safetensors")
    parser.add_argument("--name", default="", help="also enter it under this name into index.json beside the output")
    parser.add_argument("--about", action="append", default=[], metavar="KEY=VALUE", help="facts for the index entry")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 with a message for a file that is no checkpoint of ours."""
    parser = argparse.ArgumentParser(prog="dld pack", description=__doc__)
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        pack(args)
    except (OSError, KeyError, ValueError) as error:
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 2
    return 0


def pack(args: argparse.Namespace) -> None:
    """Write the packed file and, with a name, its entry of the index.

    Raises:
        OSError, KeyError, ValueError: naming the file, the key or the option.
    """
    from dld.engine.checkpoint import atomic_write, load_weights_file, save_safetensors
    from dld.inference.predictor import config_from_checkpoint, portable_config
    from dld.model_zoo import sha256_of

    if not args.output.endswith(".safetensors"):
        raise ValueError(f"--output must end in .safetensors, got {args.output}")
    without = [item for item in args.about if "=" not in item]
    if without:
        raise ValueError(f"--about takes KEY=VALUE, got {without[0]!r}")
    about = dict(item.split("=", 1) for item in args.about)
    index_file = Path(args.output).with_name("index.json")
    index = {}
    if args.name and index_file.exists():
        try:
            index = json.loads(index_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{index_file} is not json: {error}") from error
    cfg = config_from_checkpoint(args.checkpoint)
    loaded = load_weights_file(args.checkpoint)
    # single numbers stay as they are: mu was calibrated more finely than half precision is
    state = {n: v.half() if v.is_floating_point() and v.dim() else v for n, v in loaded["model"].items()}
    # what was calibrated or fitted on which images stays with the weights
    known = {key: loaded[key] for key in ("budget", "selector") if isinstance(loaded.get(key), str)}
    save_safetensors(args.output, state, {"config": portable_config(cfg).dump(), **known}, half=False)
    size = os.path.getsize(args.output) / 1e6
    print(f"{args.output}: {size:.1f} MB, iteration {loaded.get('iteration', '?')}")
    if args.name:
        index[args.name] = {"file": Path(args.output).name, "sha256": sha256_of(args.output), **about}
        text = json.dumps(dict(sorted(index.items())), indent=2) + "\n"
        atomic_write(str(index_file), lambda f: f.write(text.encode("utf-8")))
