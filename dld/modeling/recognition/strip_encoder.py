"""Encoders of strips by name: what turns the pixels of a strip into the features that the reader mixes into columns.

A reader's file says which encoder it has, and holds the part of the configuration that builds it. N strips, H rows and W
columns of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.utils.registry import Registry
from torch import nn

from dld.config import get_dld_cfg
from dld.config_files import refuse_expanding_yaml, upgrade_config
from dld.model_zoo import find_weights
from dld.strips.heights import FORMS
from dld.weights import load_weights_file

__all__ = [
    "DEFAULT_ENCODER",
    "ENCODER_WIDTH",
    "STRIP_ENCODER_REGISTRY",
    "StripEncoder",
    "build_strip_encoder",
    "described_encoder",
    "encoder_description",
    "named_encoder",
    "start_encoder",
]

STRIP_ENCODER_REGISTRY = Registry("STRIP_ENCODER")
STRIP_ENCODER_REGISTRY.__doc__ = "Encoders of strips, each a :class:`StripEncoder`; called as `cls(cfg)`."

# channels that the mixer of columns takes
ENCODER_WIDTH = 384
DEFAULT_ENCODER = "ppocr"
# names of MODEL.STRIPS.ENCODER.NAME
NAMES = {DEFAULT_ENCODER: "StripBody", "pyramid": "PyramidEncoder", "stem": "StemEncoder"}


class StripEncoder(nn.Module):
    """Normalised strips (N, 3, H, W), BGR, x / 127.5 - 1 -> features (N, 384, h, W / 4) with any number h of rows.

    The rows are averaged by the reader, and so are neighbouring columns where a height has more of them than columns of the
    text (`dld.strips.heights.FORMS`). H is of `FORMS`, W a multiple of 4.

    Attributes:
        column_multiple: columns of pixels are padded inside to multiples of this; the cost counts them.
        last_layer_group: number and channels of :meth:`last_layers`.
    """

    column_multiple: int = 1
    last_layer_group: tuple[int, int] = (1, ENCODER_WIDTH)

    def last_layers(self, strips: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the features of the layers that have the last one's shape, the shallowest first; by default the last alone."""
        return (self(strips),)

    def start_from(self, spotter: Mapping[str, torch.Tensor]) -> None:
        """Take what fits of the weights of a spotter, by their names in it; by default nothing.

        Raises:
            ValueError: they are of another network.
        """


def known_encoders() -> list[str]:
    """Return the names that MODEL.STRIPS.ENCODER.NAME can have."""
    return sorted(set(NAMES) | ({name for name, _ in STRIP_ENCODER_REGISTRY} - set(NAMES.values())))


def named_encoder(cfg) -> str:
    """Return MODEL.STRIPS.ENCODER.NAME.

    Raises:
        ValueError: no encoder has this name.
    """
    name = cfg.MODEL.STRIPS.ENCODER.NAME
    if NAMES.get(name, name) not in STRIP_ENCODER_REGISTRY:
        raise ValueError(f"MODEL.STRIPS.ENCODER.NAME must be one of {', '.join(known_encoders())}, got {name!r}")
    return name


def build_strip_encoder(cfg) -> StripEncoder:
    """Build the encoder that MODEL.STRIPS.ENCODER.NAME names, with random weights.

    Raises:
        ValueError: no encoder has this name, or its features have another shape than :class:`StripEncoder` says.
    """
    name = named_encoder(cfg)
    encoder = STRIP_ENCODER_REGISTRY.get(NAMES.get(name, name))(cfg)
    if name != DEFAULT_ENCODER:
        _check_shapes(name, encoder)
    return encoder


@torch.no_grad()
def _check_shapes(name: str, encoder: StripEncoder) -> None:
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    for rows, form in FORMS.items():
        columns = int(form.columns(96))
        shape = tuple(encoder(torch.zeros(1, 3, rows, columns)).shape)
        if len(shape) != 4 or shape[:2] != (1, ENCODER_WIDTH) or shape[3] != columns // 4:
            raise ValueError(
                f"MODEL.STRIPS.ENCODER.NAME {name} gives features {shape} of a strip (1, 3, {rows}, {columns}), "
                f"not (1, {ENCODER_WIDTH}, rows, {columns // 4})"
            )
    for module, mode in modes:
        module.training = mode


def start_encoder(cfg, encoder: StripEncoder) -> None:
    """Start an encoder from the spotter's weights MODEL.STRIPS.ENCODER.WEIGHTS, where the key is not empty.

    Raises:
        FileNotFoundError, KeyError: there are no such weights.  ValueError: they are of another network.
    """
    path = cfg.MODEL.STRIPS.ENCODER.WEIGHTS
    if not path or isinstance(encoder, STRIP_ENCODER_REGISTRY.get(NAMES[DEFAULT_ENCODER])):
        return
    try:
        file = find_weights(path)
    except (OSError, KeyError, ValueError) as error:
        raise type(error)(f"MODEL.STRIPS.ENCODER.WEIGHTS: {error.args[-1] if error.args else error}") from error
    loaded = load_weights_file(file, cfg.MODEL.TRUST_PICKLE)["model"]
    # of a distilled spotter the student's
    own = {k.removeprefix("student."): torch.as_tensor(v) for k, v in loaded.items() if not k.startswith("teacher.")}
    try:
        encoder.start_from(own)
    except ValueError as error:
        raise ValueError(f"MODEL.STRIPS.ENCODER.WEIGHTS {path}: {error}") from error


def encoder_description(cfg) -> dict[str, str]:
    """Return what the metadata of a reader's file say of the configured encoder; nothing of the default one."""
    name = named_encoder(cfg)
    if name == DEFAULT_ENCODER:
        return {}
    node = cfg.clone()
    node.defrost()
    # a network is not described by the files that it started from
    node.MODEL.WEIGHTS = node.MODEL.DISTILLATION.TEACHER_WEIGHTS = node.MODEL.STRIPS.ENCODER.WEIGHTS = ""
    node.MODEL.STRIPS.WEIGHTS = node.MODEL.STRIPS.LOW_WEIGHTS = node.MODEL.RECOGNITION.CHARSET_FILE = ""
    node.MODEL.DEVICE = "cpu"
    return {"encoder": name, "encoder_config": CfgNode({"MODEL": node.MODEL}).dump()}


def described_encoder(metadata: Mapping[str, str]) -> StripEncoder | None:
    """Build the encoder that the metadata of a reader's file describe, with random weights; None: the default one.

    Raises:
        ValueError, KeyError: it is not registered here, or its configuration is none.
    """
    name = metadata.get("encoder", DEFAULT_ENCODER)
    if name == DEFAULT_ENCODER:
        return None
    if NAMES.get(name, name) not in STRIP_ENCODER_REGISTRY:
        raise ValueError(
            f"its encoder {name!r} is not in STRIP_ENCODER_REGISTRY, which has {', '.join(known_encoders())}: "
            "import what registers it first"
        )
    loaded = yaml.safe_load(metadata.get("encoder_config", ""))
    if not isinstance(loaded, dict):
        raise ValueError(f"the configuration of its encoder {name!r} does not hold keys and their values")
    refuse_expanding_yaml(loaded)
    upgrade_config(loaded)
    cfg = get_dld_cfg()
    # an encoder from elsewhere has keys of its own
    cfg.set_new_allowed(True)
    cfg.merge_from_other_cfg(CfgNode(loaded))
    cfg.MODEL.STRIPS.ENCODER.NAME, cfg.MODEL.DEVICE = name, "cpu"
    return build_strip_encoder(cfg)
