"""The configuration that a teacher is built from: its own where it is known."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from dld.config import chooses_scale, get_dld_cfg
from dld.config_files import merge_file
from dld.weights import stored_config

__all__ = ["teacher_config"]

# keys that say how a spotter reads, trains or is measured, not which network it is
NOT_THE_NETWORK = ("META_ARCHITECTURE", "WEIGHTS", "DEVICE", "CHANNELS_LAST", "INFERENCE_DTYPE")
NOT_THE_NETWORK += ("DISTILLATION", "SELECTOR", "STRIPS", "TRUST_PICKLE", "CHARSET_TRANSFER", "COMPRESSION")
HOW_WORDS_ARE_READ = ("ONLY", "READER", "SCORE_THRESH_TEST", "WORDS_PER_CHUNK")


def teacher_config(cfg: CfgNode) -> CfgNode | None:
    """Return the configuration that MODEL.DISTILLATION.TEACHER_CONFIG names, else the one inside TEACHER_WEIGHTS.

    Only the description of the network comes from the teacher (MODEL, without its distillation).

    Returns:
        the teacher's configuration; None if neither has one, or if it describes the same network as the student's.

    Raises:
        FileNotFoundError, ValueError, KeyError: the message names the file.
    """
    node = cfg.MODEL.DISTILLATION
    own = None
    if node.TEACHER_CONFIG:
        try:
            own = _read_config(node.TEACHER_CONFIG)
        except (OSError, KeyError, ValueError) as error:
            raise type(error)(f"MODEL.DISTILLATION.TEACHER_CONFIG: {error.args[0] if error.args else error}") from error
    elif node.TEACHER_WEIGHTS and PathManager.isfile(node.TEACHER_WEIGHTS):
        own = stored_config(node.TEACHER_WEIGHTS)
    if own is None:
        return None
    if not chooses_scale(own):
        own.MODEL.SPOTTER = own.MODEL.META_ARCHITECTURE
    merged = cfg.clone()
    merged.defrost()
    merged.MODEL = own.MODEL
    merged.MODEL.PARSIMONIOUS.FIT_BATCHES = cfg.MODEL.PARSIMONIOUS.FIT_BATCHES
    encoder = own.MODEL.STRIPS.ENCODER.NAME
    for name in NOT_THE_NETWORK:
        merged.MODEL[name] = cfg.MODEL[name]
    if own.MODEL.RECOGNITION.NAME == "StripRecognizer":
        # there the encoder is a part of the spotter
        merged.MODEL.STRIPS = cfg.MODEL.STRIPS.clone()
        merged.MODEL.STRIPS.defrost()
        merged.MODEL.STRIPS.ENCODER.NAME = encoder
    for name in HOW_WORDS_ARE_READ:
        merged.MODEL.RECOGNITION[name] = cfg.MODEL.RECOGNITION[name]
    return None if _plain(merged.MODEL) == _plain(cfg.MODEL) else merged


def _read_config(path: str) -> CfgNode:
    """Return the configuration of a yaml file, or inside weights."""
    if path.endswith((".yaml", ".yml")):
        own = get_dld_cfg()
        merge_file(own, path)
        return own
    stored = stored_config(path)
    if stored is None:
        raise ValueError(f"{path} holds no configuration")
    return stored


def _plain(value):
    """Return nested dicts and lists: a configuration that was written out has lists where the original has tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
