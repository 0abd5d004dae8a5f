"""The graph of an ONNX file of PaddleOCR: its operators in their order, and its constants as tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["OnnxGraph", "open_graph", "set_weights"]


def open_graph(path: str | os.PathLike) -> tuple[OnnxGraph, dict[str, str]]:
    """Read an ONNX file.

    Returns:
        its graph, and its metadata by key.

    Raises:
        ImportError: the onnx package is not installed.
        FileNotFoundError, ValueError: the file does not exist, or is of another kind.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise ImportError('reading an ONNX file needs onnx: pip install "dld[export]"') from None
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} does not exist")
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's message names neither the file nor the cause
        raise ValueError(f"{path} is not an ONNX file: {error}") from error
    try:
        graph = OnnxGraph(model.graph, numpy_helper.to_array)
    except TypeError as error:
        raise ValueError(f"{path} is not a recogniser or detector of PP-OCRv6 small: {error}") from error
    return graph, {p.key: p.value for p in model.metadata_props}


class OnnxGraph:
    """Nodes of a graph by kind, and its constants as tensors."""

    def __init__(self, graph, to_array) -> None:
        self.nodes = list(graph.node)
        self.values = {x.name: torch.from_numpy(to_array(x).copy()) for x in graph.initializer}
        # name of an addition's input -> the constant that is added
        self.added = {
            name: self.values[other].flatten()
            for node in self.nodes
            if node.op_type == "Add"
            for name in node.input
            for other in node.input
            if other in self.values and name not in self.values
        }

    def of(self, kind: str) -> Iterator:
        return (node for node in self.nodes if node.op_type == kind)

    def bias_of(self, node) -> torch.Tensor | None:
        """Return the bias of a convolution: its third input, or what is added to its output."""
        return self.values[node.input[2]] if len(node.input) > 2 else self.added.get(node.output[0])


@torch.no_grad()
def set_weights(module: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Copy weight and bias (None: 0) into a convolution or linear layer.

    Raises:
        ValueError: they have another shape.
    """
    if module.weight.shape != weight.shape:
        raise ValueError(f"a {type(module).__name__} has weights {tuple(weight.shape)}, not {tuple(module.weight.shape)}")
    module.weight.copy_(weight)
    if bias is None:
        module.bias.zero_()
    else:
        module.bias.copy_(bias)
