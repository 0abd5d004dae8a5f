"""Widths of a spotter in its configuration."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from detectron2.config import CfgNode
from torch import nn

from dld.config import chooses_scale
from dld.modeling.compression.prunable import cut, prunable_channels

__all__ = ["configured_widths", "cut_config", "thin_as_configured"]

KEY = "MODEL.PRUNED_WIDTHS"


def configured_widths(cfg: CfgNode) -> dict[str, int]:
    """Return MODEL.PRUNED_WIDTHS by name.

    Raises:
        ValueError: it is no list of [name, width], or a name comes twice.
    """
    pairs = cfg.MODEL.PRUNED_WIDTHS
    for pair in pairs if isinstance(pairs, (list, tuple)) else [pairs]:
        right = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not (right and isinstance(pair[0], str) and type(pair[1]) is int):
            raise ValueError(f"{KEY} must be a list of [name, width], got {pair!r} in it")
    widths = dict(pairs)
    if len(widths) < len(pairs):
        raise ValueError(f"{KEY} names a layer twice")
    return widths


def thin_as_configured(cfg: CfgNode, parts: Mapping[str, nn.Module]) -> None:
    """Give the untrained parts of a spotter the widths of MODEL.PRUNED_WIDTHS, in place.

    Args:
        parts: its `backbone`, `proposal_generator` and `roi_heads`.

    Raises:
        ValueError: a name that this spotter does not have, or a width that is not from 1 to the full one.
    """
    widths = configured_widths(cfg)
    if not widths:
        return
    spotter = nn.ModuleDict(parts)
    channels = prunable_channels(spotter)
    for name, width in widths.items():
        if name not in channels:
            raise ValueError(f"{KEY}: this spotter has no channels {name!r} that can be cut; it has {', '.join(channels)}")
        if not 1 <= width <= channels[name].channels:
            raise ValueError(f"{KEY}: {name} must have from 1 to {channels[name].channels} channels, got {width}")
    cut(spotter, channels, {name: torch.arange(width) for name, width in widths.items()})


def cut_config(cfg: CfgNode, kept: Mapping[str, torch.Tensor], model: nn.Module) -> CfgNode:
    """Return the configuration of a spotter of which these channels stay.

    Args:
        cfg: of the wider one.
        kept: indices by name.
        model: the wider one, or what chooses its scale: shares of the cost stay shares of what its teacher costs.
    """
    narrow = cfg.clone()
    narrow.defrost()
    before = configured_widths(cfg)
    narrow.MODEL.PRUNED_WIDTHS = [[n, w] for n, w in {**before, **{name: len(index) for name, index in kept.items()}}.items()]
    narrow.MODEL.COMPRESSION.ENABLED = False
    if chooses_scale(cfg) and not cfg.MODEL.DISTILLATION.TEACHER_COST:
        narrow.MODEL.DISTILLATION.TEACHER_COST = model.cost_table.teacher.numbers()
    return narrow
