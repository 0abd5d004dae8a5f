"""What a configuration asks of a search of widths."""

from __future__ import annotations

from typing import Any, NamedTuple

from detectron2.config import CfgNode

from dld.config import spotter_name, trains_reader
from dld.modeling.compression.prunable import PLACES
from dld.modeling.meta_arch.spotter import NO_WIDTHS, Spotter, spotter_class

__all__ = ["KEY", "SearchOptions", "validation_config"]

KEY = "MODEL.COMPRESSION"
# the sum of all steps of the indicators' alpha, were they all in one direction
TRAVEL = 15.0


class SearchOptions(NamedTuple):
    """MODEL.COMPRESSION."""

    where: tuple[str, ...]
    rho: float
    tolerance: float
    cost_weight: float
    mean_weight: float
    rate: float
    last_temperature: float
    norm_batches: int
    first: int  # iteration from which on the indicators learn
    steps: int  # how often they do

    @classmethod
    def of(cls, cfg: CfgNode) -> SearchOptions | None:
        """Read a configuration; None where no widths are searched.

        Raises:
            ValueError: a value that makes no sense, or a training that a search does not go with; the message names the key.
        """
        node = cfg.MODEL.COMPRESSION
        if not node.ENABLED:
            return None
        for place in node.WHERE:
            if place not in PLACES:
                raise ValueError(f"{KEY}.WHERE must be of {', '.join(PLACES)}, got {place!r}")
        for key, low, high in (("RHO", 0, 1), ("TEMPERATURE", 0, 1)):
            if not low < node[key] < high:
                raise ValueError(f"{KEY}.{key} must be between {low} and {high}, got {node[key]:g}")
        for key in ("TOLERANCE", "WARMUP"):
            if not 0 <= node[key] < 1:
                raise ValueError(f"{KEY}.{key} must be from 0 to less than 1, got {node[key]:g}")
        for key in ("COST_WEIGHT", "MEAN_WEIGHT", "ALPHA_LR", "NORM_BATCHES"):
            if node[key] < 0:
                raise ValueError(f"{KEY}.{key} must be at least 0, got {node[key]:g}")
        _check_training(cfg)
        first = round(node.WARMUP * cfg.SOLVER.MAX_ITER)
        steps = max(cfg.SOLVER.MAX_ITER - first, 1)
        return cls(
            tuple(node.WHERE),
            node.RHO,
            node.TOLERANCE,
            node.COST_WEIGHT,
            node.MEAN_WEIGHT,
            node.ALPHA_LR or TRAVEL / steps,
            node.TEMPERATURE,
            node.NORM_BATCHES,
            first,
            steps,
        )


def _check_training(cfg: CfgNode) -> None:
    if trains_reader(cfg):
        raise ValueError(f"a reader of strips {NO_WIDTHS}")
    spotter = spotter_class(spotter_name(cfg))
    if spotter.prunable_channels is Spotter.prunable_channels:
        raise ValueError(f"{spotter.__name__} {NO_WIDTHS}")
    if cfg.SOLVER.MAX_MINUTES:
        raise ValueError(
            f"SOLVER.MAX_MINUTES must be 0 with {KEY}.ENABLED: indicators harden from step to step until SOLVER.MAX_ITER"
        )
    for name in ("RECOGNITION.ONLY", "STRIPS.LOCATOR.ONLY", "DISTILLATION.AGGREGATION.ENABLED"):
        node: Any = cfg.MODEL
        for part in name.split("."):
            node = node[part]
        if node:
            raise ValueError(f"MODEL.{name} must be False with {KEY}.ENABLED: the whole spotter is searched, by one search")


def validation_config(cfg: CfgNode) -> CfgNode:
    """Return the configuration of the loader of what teaches the indicators."""
    own = cfg.clone()
    own.defrost()
    if cfg.MODEL.COMPRESSION.VALIDATION:
        own.DATASETS.TRAIN, own.DATASETS.TRAIN_WEIGHTS = tuple(cfg.MODEL.COMPRESSION.VALIDATION), []
    return own
