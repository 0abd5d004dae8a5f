"""Reads the weights of PP-OCRv6's small recogniser from its ONNX file into a :class:`StripRecognizer`.

The file comes with the package rapidocr (PP-OCRv6_rec_small.onnx; PaddleOCR, Apache-2.0). It is needed only once: the
shipped weights were made from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import nn

from dld.modeling.recognition.strip_network import COLUMN_WIDTH
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.text.charset import Charset

__all__ = ["read_ppocr"]

_WRONG = "is not a recogniser of PP-OCRv6 small"


def read_ppocr(path: str | os.PathLike) -> StripRecognizer:
    """Read the whole recogniser in float32; its head has all characters of the file.

    It takes the graph's operators in their order: convolutions, batch norms, products with a matrix, scalings.

    Raises:
        ImportError: the onnx package is not installed.
        FileNotFoundError: the file does not exist.
        ValueError: the graph is of another network.
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
    text = next((p.value for p in model.metadata_props if p.key == "character"), None)
    if text is None:
        raise ValueError(f"{path} {_WRONG}: its metadata hold no characters")
    try:
        graph = _Graph(model.graph, numpy_helper.to_array)
        reader = StripRecognizer(charset=Charset([*text.split("\n"), " "]))
        _fill(reader, graph)
    except (StopIteration, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} {_WRONG}: {error or 'layers are missing'}") from error
    return reader


class _Graph:
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


@torch.no_grad()
def _fill(reader: StripRecognizer, graph: _Graph) -> None:
    body, mixer = reader.body, reader.mixer
    convolutions = [body.stem, *body.branch, *body.merge]
    for block in body.blocks:
        squeeze = [] if isinstance(block.squeeze, nn.Identity) else [block.squeeze.reduce, block.squeeze.expand]
        convolutions += [block.spatial, *squeeze, block.widen, block.narrow]
    normed = [mixer.shortcut, mixer.inward, mixer.local]
    for module, node in zip([*convolutions, *normed], graph.of("Conv"), strict=True):
        bias = graph.values[node.input[2]] if len(node.input) > 2 else graph.added.get(node.output[0])
        _set(module, graph.values[node.input[1]], bias if module not in normed else None)
    for module, node in zip(normed, graph.of("BatchNormalization"), strict=True):
        gain, shift, mean, variance = (graph.values[name].double() for name in node.input[1:5])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = gain / (variance + epsilon).sqrt()
        module.weight.copy_(module.weight.double() * factor.view(-1, 1, 1, 1))
        module.bias.copy_(shift - mean * factor)
    linear = [m for block in mixer.blocks for m in (block.qkv, block.out, block.widen, block.narrow)]
    products = (node for node in graph.of("MatMul") if node.input[1] in graph.values)
    for module, node in zip([*linear, reader.head], products, strict=True):
        _set(module, graph.values[node.input[1]].T, graph.added[node.output[0]])
    norms = [m for block in mixer.blocks for m in (block.norm1, block.norm2)] + [mixer.norm]
    scaled = (n for n in graph.of("Mul") if any(_is_vector(graph.values.get(name)) for name in n.input))
    for module, node in zip(norms, scaled, strict=True):
        _set(module, next(graph.values[name] for name in node.input if name in graph.values), graph.added[node.output[0]])


def _is_vector(value: torch.Tensor | None) -> bool:
    return value is not None and tuple(value.shape) == (COLUMN_WIDTH,)


def _set(module: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    if module.weight.shape != weight.shape:
        raise ValueError(f"a {type(module).__name__} has weights {tuple(weight.shape)}, not {tuple(module.weight.shape)}")
    module.weight.copy_(weight)
    if bias is None:
        module.bias.zero_()
    else:
        module.bias.copy_(bias)
