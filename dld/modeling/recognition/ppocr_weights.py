"""Reads the weights of PP-OCRv6's small recogniser from its ONNX file into a :class:`StripRecognizer`.

The file comes with the package rapidocr (PP-OCRv6_rec_small.onnx; PaddleOCR, Apache-2.0). It is needed only once: the
shipped weights were made from it.
"""

from __future__ import annotations

import os

import torch
from torch import nn

from dld.modeling.onnx_graph import OnnxGraph, open_graph, set_weights
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
    graph, metadata = open_graph(path)
    text = metadata.get("character")
    if text is None:
        raise ValueError(f"{path} {_WRONG}: its metadata hold no characters")
    try:
        reader = StripRecognizer(charset=Charset([*text.split("\n"), " "]))
        _fill(reader, graph)
    except (StopIteration, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} {_WRONG}: {error or 'layers are missing'}") from error
    return reader


@torch.no_grad()
def _fill(reader: StripRecognizer, graph: OnnxGraph) -> None:
    body, mixer = reader.body, reader.mixer
    convolutions = [body.stem, *body.branch, *body.merge]
    for block in body.blocks:
        squeeze = [] if isinstance(block.squeeze, nn.Identity) else [block.squeeze.reduce, block.squeeze.expand]
        convolutions += [block.spatial, *squeeze, block.widen, block.narrow]
    normed = [mixer.shortcut, mixer.inward, mixer.local]
    for module, node in zip([*convolutions, *normed], graph.of("Conv"), strict=True):
        set_weights(module, graph.values[node.input[1]], graph.bias_of(node) if module not in normed else None)
    for module, node in zip(normed, graph.of("BatchNormalization"), strict=True):
        gain, shift, mean, variance = (graph.values[name].double() for name in node.input[1:5])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = gain / (variance + epsilon).sqrt()
        module.weight.copy_(module.weight.double() * factor.view(-1, 1, 1, 1))
        module.bias.copy_(shift - mean * factor)
    linear = [m for block in mixer.blocks for m in (block.qkv, block.out, block.widen, block.narrow)]
    products = (node for node in graph.of("MatMul") if node.input[1] in graph.values)
    for module, node in zip([*linear, reader.head], products, strict=True):
        set_weights(module, graph.values[node.input[1]].T, graph.added[node.output[0]])
    norms = [m for block in mixer.blocks for m in (block.norm1, block.norm2)] + [mixer.norm]
    scaled = (n for n in graph.of("Mul") if any(_is_vector(graph.values.get(name)) for name in n.input))
    for module, node in zip(norms, scaled, strict=True):
        gain = next(graph.values[name] for name in node.input if name in graph.values)
        set_weights(module, gain, graph.added[node.output[0]])


def _is_vector(value: torch.Tensor | None) -> bool:
    return value is not None and tuple(value.shape) == (COLUMN_WIDTH,)
