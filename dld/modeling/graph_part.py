"""A piece of a network that becomes one ONNX graph."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

__all__ = ["GraphPart"]


class GraphPart(NamedTuple):
    """A graph to write: its module, the names of its inputs and outputs, and example inputs.

    `axes` names the dimensions of each input that may differ from call to call; None: those that inputs of so many dimensions
    usually have.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: tuple[torch.Tensor, ...]
    axes: dict[str, dict[int, str]] | None = None
