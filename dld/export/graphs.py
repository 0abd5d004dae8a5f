"""The selector as a module from tensors to tensors, for its ONNX graph; a spotter brings its own (`Spotter.graph_parts`)."""

from __future__ import annotations

import torch
from torch import nn

from dld.modeling.resolution.selector import ScaleSelector

__all__ = ["SelectorGraph"]


class SelectorGraph(nn.Module):
    """Reduced normalised images of one size (N, 3, h, w) -> logits (N, S); a selector that cannot be exported says so."""

    def __init__(self, selector: ScaleSelector) -> None:
        super().__init__()
        self.selector = selector

    def forward(self, reduced: torch.Tensor) -> torch.Tensor:
        return self.selector.scores_of_reduced(reduced)
