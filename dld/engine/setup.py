"""Turns a command line into a frozen configuration with its data sets registered."""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dld.config import get_dld_cfg, spotter_name, trains_reader
from dld.config_files import merge_file, merge_overrides
from dld.data.datasets.builtin import register_all
from dld.data.datasets.text_json import register_text_dataset
from dld.data.synthesis.synthstrips import register_synthstrips
from dld.data.synthesis.synthwords import register_synthwords
from dld.model_zoo import PREFIX
from dld.modeling.compression.widths import configured_widths
from dld.modeling.meta_arch.spotter import lacks, spotter_class
from dld.utils.device import present_device
from dld.weights import stored_config

__all__ = ["load_config", "register_datasets", "setup"]

logger = logging.getLogger(__name__)


def load_config(config_file: str, opts: list[str] = ()) -> CfgNode:
    """Load the configuration of a yaml file and overrides `KEY VALUE KEY VALUE ...`; not frozen.

    YAML is loaded safely: tags that build Python objects are refused. MODEL.DEVICE falls back to "cpu" without CUDA.

    Raises:
        FileNotFoundError, KeyError, ValueError: naming the file or the key.
    """
    cfg = get_dld_cfg()
    if config_file:
        config_file = find_config(config_file)
        merge_file(cfg, config_file)
    merge_overrides(cfg, opts)
    cfg.MODEL.DEVICE = present_device(cfg.MODEL.DEVICE)
    return cfg


def find_config(name: str) -> str:
    """Find a configuration file: as given, else one of ours, so that `configs/x.yaml` is found from any folder.

    Ours lie in `dld/configs` of an installed package and in `configs` of a checkout.

    Args:
        name: a path; the search among ours leaves out `configs/` in front.

    Raises:
        FileNotFoundError: there is none; the message lists ours.
    """
    if os.path.isfile(name):
        return name
    package = Path(__file__).resolve().parents[1]
    folder = next((f for f in (package / "configs", package.parent / "configs") if f.is_dir()), None)
    relative = Path(name.removeprefix(f"configs{os.sep}"))
    if folder is None or relative.is_absolute() or ".." in relative.parts or not (folder / relative).is_file():
        known = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.yaml")) if folder else []
        hint = f"; configs/ holds {', '.join(known)}" if known else ""
        raise FileNotFoundError(f"configuration file {name} does not exist{hint}")
    return str(folder / relative)


def adopt_widths(cfg: CfgNode, resume: bool = False) -> None:
    """Take MODEL.PRUNED_WIDTHS from the weights that a run starts or goes on from, in place.

    Raises:
        ValueError: the configuration names other widths than the weights have, or a spotter that cannot have any.
    """
    path = (last_checkpoint(cfg.OUTPUT_DIR) if resume else "") or cfg.MODEL.WEIGHTS
    elsewhere = "://" in path and not path.startswith(PREFIX)
    if not path or elsewhere or path.endswith(".pkl") or trains_reader(cfg):
        return
    stored = stored_config(path)
    widths = configured_widths(cfg)
    if stored is None or configured_widths(stored) == widths:
        return
    if widths:
        raise ValueError(f"MODEL.PRUNED_WIDTHS names other widths than {path} has: leave it out, and those are taken")
    if lacks(spotter_class(spotter_name(cfg)), "prunable_channels"):
        raise ValueError(
            f"{path} has searched widths (MODEL.PRUNED_WIDTHS), with which a {spotter_name(cfg)} cannot be built: start from "
            "weights that have all their channels"
        )
    cfg.MODEL.PRUNED_WIDTHS = stored.MODEL.PRUNED_WIDTHS
    logger.info("%s has searched widths, of %d layers: the spotter is built with them", path, len(cfg.MODEL.PRUNED_WIDTHS))


def last_checkpoint(folder: str) -> str:
    """Return the checkpoint that a run in this folder goes on from; empty: there is none."""
    note = os.path.join(folder, "last_checkpoint")
    if not os.path.exists(note):
        return ""
    with open(note) as f:
        return os.path.join(folder, f.read().strip())


def register_datasets(cfg: CfgNode) -> None:
    """Register the built-in data sets, the generated ones as configured, and those of DATASETS.REGISTER.

    Raises:
        KeyError, ValueError: an option of a generated one is unknown, out of range or no [name, value]; an entry of
            DATASETS.REGISTER is not [name, json, image folder] or with a protocol as fourth.
    """
    register_all()
    node, strips = cfg.DATASETS.SYNTHWORDS, cfg.DATASETS.SYNTHSTRIPS
    options = named_options("DATASETS.SYNTHWORDS.OPTIONS", node.OPTIONS)
    looks = {"fonts_dir": node.FONTS_DIR or None, "backgrounds_dir": node.BACKGROUNDS_DIR or None}
    register_synthwords(
        size=tuple(node.SIZE), val_length=node.VAL_LENGTH, seed=node.SEED, dense=node.DENSE, **{**looks, **options}
    )
    shared = {**looks, **{name: options[name] for name in ("fonts_dir", "backgrounds_dir", "words_file") if name in options}}
    own = named_options("DATASETS.SYNTHSTRIPS.OPTIONS", strips.OPTIONS)
    register_synthstrips(val_length=strips.VAL_LENGTH, **{"words": strips.WORDS, "seed": strips.SEED, **shared, **own})
    for entry in cfg.DATASETS.REGISTER:
        if not isinstance(entry, (list, tuple)) or len(entry) not in (3, 4):
            raise ValueError(f"DATASETS.REGISTER: {entry!r} is not [name, json file, image folder] or [.., .., .., protocol]")
        register_text_dataset(*entry)


def named_options(key: str, pairs: object) -> dict[str, Any]:
    """Return the options that a key of the configuration lists as [name, value].

    Raises:
        ValueError: it is no list of pairs; the message names the key and the form.
    """
    for pair in pairs if isinstance(pairs, (list, tuple)) else [pairs]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError(f"{key} must be a list of [name, value] such as [['effects', 0.5]], got {pairs!r}")
    return dict(pairs)


def setup(args: argparse.Namespace) -> CfgNode:
    """Set up configuration, log files and data sets of a run; what detectron2's project scripts call `setup`."""
    cfg = load_config(args.config_file, args.opts)
    adopt_widths(cfg, args.resume)
    cfg.freeze()
    if args.config_file:
        args.config_file = find_config(args.config_file)  # default_setup opens it too, for the log
    # torch and detectron2 about their own code: nothing a user could mend
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dld", abbrev_name="dld")
    if cfg.MODEL.DEVICE == "cpu":
        logger.info("no CUDA device in use: running on the CPU")
    register_datasets(cfg)
    return cfg
