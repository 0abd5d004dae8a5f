"""Writes index and card of shipped weights: an entry describes a packed file, or other options of one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["enter_variant", "file_facts", "register"]


def register(args: argparse.Namespace, file: Path, index: dict, about: dict) -> None:
    """Enter a packed file, move it to its place, and write index and card.

    Scores stay with the weights that they were measured on: other weights under the same name keep none of them, nor do
    their variants.
    """
    from dld.model_zoo import weights_id
    from dld.model_zoo.index import read_scores

    output = Path(args.output)
    facts = file_facts(file)
    before = index.get(args.name, {})
    if before.get("sha256") != facts["sha256"]:
        before = {}
        for variant in (entry for entry in index.values() if entry.get("of") == args.name):
            variant["scores"] = {}
            variant.pop("packed_from", None)
    source = weights_id(args.checkpoint) if args.checkpoint else before.get("packed_from", facts["sha256"])
    scores = {**before.get("scores", {}), **read_scores(args.scores, {source, facts["sha256"]})}
    config, charset = facts.pop("config"), facts.pop("charset")
    index[args.name] = {
        "what": about.pop("what"),
        **facts,
        "packed_from": source,
        **about,
        "scores": dict(sorted(scores.items())),
        "charset": charset,
        "config": config,
    }
    write_index(index, args.name, output, file)


def write_index(index: dict, name: str, output: Path, file: Path) -> None:
    """Move `file` to `output` if it is another, then write index.json and card beside it; print what was entered."""
    from dld.model_zoo.card import model_card
    from dld.model_zoo.index import index_text
    from dld.utils.atomic_write import atomic_write_text

    texts = {"index.json": index_text(index), "README.md": model_card(index)}
    if file != output:
        os.replace(file, output)
    for text_file, text in texts.items():
        atomic_write_text(output.with_name(text_file), text)
    scores = ", ".join(index[name]["scores"]) or "no data set"
    print(f"{name}: entered into {output.with_name('index.json')}, scores on {scores}")


def enter_variant(args: argparse.Namespace) -> None:
    """Enter other options of weights of the index under a name of their own, and write index and card.

    Scores stay with the options that they were measured with.

    Raises:
        OSError, KeyError, ValueError: naming the file, the key or the option.
    """
    from dld import model_zoo
    from dld.model_zoo.index import VARIANT_KEYS, read_about, read_index, read_scores

    output = Path(args.output) if args.output else model_zoo.FOLDER / "index.json"
    index = read_index(output)
    about = read_about(Path(args.about) if args.about else output.with_name("about.yaml"), args.name, VARIANT_KEYS)
    base, before = index.get(args.of, {}), index.get(args.name, {})
    if "file" not in base:
        known = ", ".join(sorted(name for name, entry in index.items() if "file" in entry)) or "none"
        raise KeyError(f"--of {args.of}: {output} has no file of weights under that name; there are: {known}")
    if any(entry.get("of") == args.name for entry in index.values()):
        raise ValueError(f"{output} has variants of {args.name}, which must keep its file")
    file = output.with_name(base["file"])
    if model_zoo.sha256_of(file) != base["sha256"]:
        raise ValueError(f"{file} is not the one that {output} speaks of: enter it with --register-only")
    words = args.opts or [word for pair in before.get("options", {}).items() for word in pair]
    options = changed_options(file, words)
    if (before.get("of"), before.get("options")) != (args.of, options):
        before = {}
    known_as = {"packed_from": before["packed_from"]} if "packed_from" in before else {}
    checkpoints = {model_zoo.variant_id(base["sha256"], options), *known_as.values()}
    scores = {**before.get("scores", {}), **read_scores(args.scores, checkpoints)}
    index[args.name] = {
        "what": about["what"],
        "of": args.of,
        "options": options,
        **known_as,
        "recipe": about["recipe"],
        "scores": dict(sorted(scores.items())),
    }
    write_index(index, args.name, output, output)


def changed_options(file: str | Path, opts: Sequence) -> dict[str, Any]:
    """Return what overrides change in the configuration of a packed file: KEY -> VALUE in json types, keys by current name.

    Raises:
        KeyError, ValueError: an unknown key, a key without value, nothing that changes, or other networks.
    """
    import yaml

    from dld.config_files import merge_overrides
    from dld.inference.predictor import TextSpotter
    from dld.weights import stored_config

    cfg = stored_config(file)
    if cfg is None:
        raise ValueError(f"{file} holds no configuration")
    before = _leaves(yaml.safe_load(cfg.dump()))
    merge_overrides(cfg, opts)
    after = _leaves(yaml.safe_load(cfg.dump()))
    options = {key: value for key, value in after.items() if before.get(key) != value}
    if not options:
        raise ValueError("--opts change nothing: a variant is the weights with other options")
    TextSpotter.from_checkpoint(file, opts, device="cpu", fuse=False)  # the options must fit the weights
    return options


def _leaves(config: dict, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to values under `A.B.C`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def file_facts(path: str | Path) -> dict[str, Any]:
    """Return what a packed file says of itself, after loading it as a spotter.

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
