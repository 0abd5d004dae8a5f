"""From a command line to a frozen configuration with its data sets registered."""

from __future__ import annotations

import argparse
import logging
import os
import warnings

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dld.config import get_dld_cfg
from dld.data.datasets.builtin import register_all
from dld.data.datasets.text_json import register_text_dataset
from dld.data.synthesis.synthwords import register_synthwords

__all__ = ["load_config", "register_datasets", "setup"]

logger = logging.getLogger(__name__)


def load_config(config_file: str, opts: list[str] = ()) -> CfgNode:
    """Configuration of a yaml file and overrides `KEY VALUE KEY VALUE ...`; not frozen.

    YAML is loaded safely: tags that build Python objects are refused. MODEL.DEVICE falls back to "cpu" without CUDA.

    Raises:
        FileNotFoundError, KeyError, ValueError: naming the file or the key.
    """
    cfg = get_dld_cfg()
    if config_file:
        if not os.path.isfile(config_file):
            raise FileNotFoundError(f"configuration file {config_file} does not exist")
        try:
            cfg.merge_from_file(config_file, allow_unsafe=False)
        except Exception as error:
            raise ValueError(f"configuration file {config_file}: {error}") from error
    opts = list(opts)
    if len(opts) % 2:
        raise ValueError(f"overrides come as KEY VALUE pairs, got an odd number of words: {' '.join(opts)}")
    try:
        cfg.merge_from_list(whole_numbers_as_floats(cfg, opts))
    except (KeyError, AssertionError) as error:
        raise KeyError(f"override: {error}") from error
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def whole_numbers_as_floats(cfg: CfgNode, opts: list[str]) -> list[str]:
    """Overrides in which `5` is written `5.0` where the key holds a float: yacs would refuse it."""
    out = list(opts)
    for i in range(0, len(out), 2):
        node = cfg
        for part in str(out[i]).split("."):
            node = node.get(part) if isinstance(node, CfgNode) else None
        if isinstance(node, float) and str(out[i + 1]).lstrip("+-").isdigit():
            out[i + 1] = f"{out[i + 1]}.0"
    return out


def register_datasets(cfg: CfgNode) -> None:
    """Register the built-in data sets, the generated one as configured, and those of DATASETS.REGISTER.

    Raises:
        ValueError: an entry of DATASETS.REGISTER is not [name, json, image folder] or with a protocol as fourth.
    """
    register_all()
    node = cfg.DATASETS.SYNTHWORDS
    register_synthwords(
        size=tuple(node.SIZE),
        val_length=node.VAL_LENGTH,
        seed=node.SEED,
        dense=node.DENSE,
        fonts_dir=node.FONTS_DIR or None,
        backgrounds_dir=node.BACKGROUNDS_DIR or None,
        **dict(node.OPTIONS),
    )
    for entry in cfg.DATASETS.REGISTER:
        if not isinstance(entry, (list, tuple)) or len(entry) not in (3, 4):
            raise ValueError(
                f"DATASETS.REGISTER: {entry!r} is not [name, json file, image folder] or [.., .., .., protocol]"
            )
        register_text_dataset(*entry)


def setup(args: argparse.Namespace) -> CfgNode:
    """Configuration, log files and data sets of a run; what detectron2's project scripts call `setup`."""
    cfg = load_config(args.config_file, args.opts)
    cfg.freeze()
    # torch and detectron2 about their own code: nothing a user could mend
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dld", abbrev_name="dld")
    if cfg.MODEL.DEVICE == "cpu":
        logger.info("no CUDA device in use: running on the CPU")
    register_datasets(cfg)
    return cfg
