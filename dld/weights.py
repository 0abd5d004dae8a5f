"""Files of weights: read without running code in them, with the configuration they carry."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

import dld.model_zoo.paths  # noqa: F401  only registration of dld://NAME
from dld.config import forget_training_pages, get_dld_cfg
from dld.config_files import merge_overrides, merge_stored
from dld.model_zoo import find_weights, variant_options
from dld.utils.atomic_write import atomic_write

__all__ = ["OF_A_SEARCH", "config_from_checkpoint", "load_weights_file", "save_safetensors", "stored_config"]

OF_A_SEARCH = (
    "is of a search of widths and lacks the gates of its channels: the search writes what it found to model_cut.pth; --resume "
    "with MODEL.COMPRESSION.ENABLED True goes on with it"
)


def load_weights_file(path: str, trust_pickle: bool = False) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    `.safetensors` and `.pth` (`weights_only`) are safe. `.pkl` files are refused unless trusted. Shipped weights are named as
    :func:`dld.model_zoo.find_weights` takes them.

    Returns:
        dict with "model" and whatever else the file holds; its "config" knows nothing of the options of a variant, see
        :func:`stored_config`.

    Raises:
        FileNotFoundError, ValueError: naming the file.  KeyError: no shipped weights of that name.
    """
    path = find_weights(path)
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    if path.endswith(".pkl"):
        if not trust_pickle:
            raise ValueError(
                f"{path} is a pickle, which can run any code when it is loaded. If you trust its source, set "
                "MODEL.TRUST_PICKLE True; otherwise use .safetensors or .pth weights."
            )
        import pickle

        with open(path, "rb") as f:
            loaded = pickle.load(f, encoding="latin1")
        return _with_weights(loaded, path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint of plain tensors: {error}") from error
    return _with_weights(loaded, path)


def _with_weights(loaded: Any, path: str) -> dict[str, Any]:
    """Return a loaded file as a dict with "model", a dict of tensors (or arrays) by name; refuse anything else."""
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not a dict of tensors")
    checkpoint = loaded if "model" in loaded else {"model": loaded}
    weights = checkpoint["model"]
    odd = None if isinstance(weights, dict) else type(weights).__name__
    if odd is None:
        strange = ((k, v) for k, v in weights.items() if not (isinstance(k, str) and isinstance(v, (torch.Tensor, np.ndarray))))
        odd = next((f"{type(v).__name__} under {k!r}" for k, v in strange), None)
    if odd is not None:
        raise ValueError(f"{path} holds no weights: expected tensors by name, found a {odd}")
    return checkpoint


def _read_safetensors(path: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as f:
            loaded: dict[str, Any] = dict(f.metadata() or {})
            loaded["model"] = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    return loaded


def save_safetensors(path: str, state: dict[str, torch.Tensor], metadata: dict[str, str], half: bool = True) -> None:
    """Write weights in half precision with their configuration beside them, whole or not at all.

    Args:
        path: ends in .safetensors.
        state: tensors by name; floating-point ones become float16 if `half`.
        metadata: texts, "config" among them, which :func:`load_weights_file` gives back.
    """
    from safetensors.torch import save

    packed = {k: (v.half() if half and v.is_floating_point() else v).contiguous() for k, v in state.items()}
    atomic_write(path, lambda f: f.write(save(packed, metadata)))


def stored_config(path: str | os.PathLike) -> CfgNode | None:
    """Read the configuration that weights carry, of a shipped variant with its options; None if they carry none.

    Raises:
        FileNotFoundError, ValueError, KeyError: naming the file or the key.
    """
    text = load_weights_file(os.fspath(path)).get("config")
    if not isinstance(text, str):
        return None
    cfg = get_dld_cfg()
    merge_stored(cfg, text)
    merge_overrides(cfg, variant_options(path))
    return cfg


def config_from_checkpoint(path: str | os.PathLike) -> CfgNode:
    """Read the configuration that a checkpoint was trained with, pointed at that checkpoint.

    How its generated training images looked is left out: synthwords_val is one set for all weights.

    Raises:
        ValueError: the file holds none (weights of another program, say), or is of a search of widths that goes on.
    """
    cfg = stored_config(path)
    if cfg is None:
        raise ValueError(f"{os.fspath(path)} holds no configuration: give one with --config-file")
    if cfg.MODEL.COMPRESSION.ENABLED:
        raise ValueError(f"{os.fspath(path)} {OF_A_SEARCH}")
    cfg.MODEL.WEIGHTS = os.fspath(path)
    forget_training_pages(cfg)
    return cfg
