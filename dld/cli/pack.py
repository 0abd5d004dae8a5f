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
    from dld.engine.checkpoint import atomic_write, load_weights_file, save_safetensors
    from dld.inference.predictor import config_from_checkpoint
    from dld.model_zoo import sha256_of

    try:
        if not args.output.endswith(".safetensors"):
            raise ValueError(f"--output must end in .safetensors, got {args.output}")
        cfg = config_from_checkpoint(args.checkpoint)
        loaded = load_weights_file(args.checkpoint)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if cfg.MODEL.META_ARCHITECTURE == "DistillMetaArch":
        cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"
        cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = ""
    # paths of the training machine mean nothing to anybody else
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, cfg.DATASETS.REGISTER = "", "output", []
    save_safetensors(args.output, loaded["model"], {"config": cfg.dump()})
    size = os.path.getsize(args.output) / 1e6
    print(f"{args.output}: {size:.1f} MB, iteration {loaded.get('iteration', '?')}")
    if args.name:
        index_file = Path(args.output).with_name("index.json")
        index = json.loads(index_file.read_text(encoding="utf-8")) if index_file.exists() else {}
        about = dict(item.split("=", 1) for item in args.about)
        index[args.name] = {"file": Path(args.output).name, "sha256": sha256_of(args.output), **about}
        text = json.dumps(dict(sorted(index.items())), indent=2) + "\n"
        atomic_write(str(index_file), lambda f: f.write(text.encode("utf-8")))
    return 0
