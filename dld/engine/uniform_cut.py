"""A spotter thinned uniformly: the baseline of a search of widths, without any training."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

import dld.modeling  # noqa: F401  only registration
from dld.config import read_without_teacher
from dld.engine.checkpoint import WholeSpotterCheckpointer
from dld.engine.width_search import checked_share, searched_channels, spotter_of
from dld.modeling.compression.prunable import cut
from dld.modeling.compression.thinning import strongest, uniform_widths
from dld.modeling.compression.widths import cut_config

__all__ = ["thinned"]


def thinned(cfg: CfgNode, share: float) -> tuple[dict[str, torch.Tensor], CfgNode, float]:
    """Thin the weights MODEL.WEIGHTS until their own layers cost `share` of what they cost, as :func:`uniform_widths` does.

    The channels whose weights are strongest stay, wherever MODEL.COMPRESSION.WHERE says. Batch norm keeps its statistics.

    Returns:
        the weights, their configuration, and the share that they cost.

    Raises:
        ValueError, OSError, KeyError: what cannot be thinned, or not so far.
    """
    own = cfg.clone()
    own.defrost()
    read_without_teacher(own)
    own.MODEL.DEVICE = "cpu"
    model = build_model(own).eval()
    WholeSpotterCheckpointer(model, charset_transfer=own.MODEL.CHARSET_TRANSFER, trust_pickle=own.MODEL.TRUST_PICKLE).load(
        own.MODEL.WEIGHTS
    )
    spotter = spotter_of(model)
    channels, cost = searched_channels(own, spotter, tuple(own.MODEL.COMPRESSION.WHERE))
    widths = uniform_widths(channels, cost, share)
    kept = strongest(spotter, channels, widths)
    narrow = cut_config(own, kept, model)
    cut(spotter, channels, kept)
    return model.state_dict(), narrow, checked_share(own, spotter, channels, cost, widths)
