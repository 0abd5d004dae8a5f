"""Reads the weights of PP-OCRv6's small detector from its ONNX file into a :class:`TextConvNetFPN`.

The file comes with the package rapidocr (PP-OCRv6_det_small.onnx; PaddleOCR, Apache-2.0). Training starts from them; at run
time nothing of that package is needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import nn

from dld.modeling.backbone.text_convnet_fpn import NECK, SeparableOutput, SqueezedLateral, TextConvNetFPN
from dld.modeling.onnx_graph import OnnxGraph, open_graph, set_weights
from dld.modeling.text_convnet import SqueezeExcitation

__all__ = ["read_ppocr_detector"]

# what it was trained on: x / 127.5 - 1, blue, green, red
_MEAN, _STD = 127.5, 127.5
# its neck's hard sigmoid rises by 0.2, ours by 1/6: its last convolution is scaled instead
_NECK_SLOPE = 0.2 * 6


def read_ppocr_detector(
    path: str | os.PathLike, fpn: TextConvNetFPN, pixel_mean: Sequence[float], pixel_std: Sequence[float]
) -> None:
    """Fill the bottom-up network, the lateral and the depth-wise output convolutions; the rest stays as it is.

    Parsimonious output convolutions are a part of that rest.

    Args:
        path: PP-OCRv6_det_small.onnx.
        fpn: of any number of output channels.
        pixel_mean, pixel_std: of blue, green and red, by which its images are normalised; the first convolution takes them
            over from the detector's own.

    Raises:
        ImportError: the onnx package is not installed.
        FileNotFoundError: the file does not exist.
        ValueError: the graph is of another network.
    """
    graph, _ = open_graph(path)
    try:
        _fill(fpn, graph)
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a detector of PP-OCRv6 small: {error or 'layers are missing'}") from error
    mean, std = (torch.tensor(list(x), dtype=torch.float32).view(1, 3, 1, 1) for x in (pixel_mean, pixel_std))
    stem = fpn.bottom_up.net.stem
    with torch.no_grad():
        shift = (stem.weight * ((mean - _MEAN) / _STD)).sum((1, 2, 3))
        stem.weight.mul_(std / _STD)
        stem.bias.add_(shift)


def _fill(fpn: TextConvNetFPN, graph: OnnxGraph) -> None:
    net = fpn.bottom_up.net
    layers: list[nn.Module] = [net.stem, *net.branch, *net.merge]
    for block in net.blocks:
        layers += [block.spatial, *_squeezing(block.squeeze), block.widen, block.narrow]
    laterals: list[SqueezedLateral] = list(fpn.lateral_convs)  # from the coarsest level to the finest, as in the graph
    for lateral in laterals:
        layers += [lateral.project, *_squeezing(lateral.squeeze)]
    nodes = list(graph.of("Conv"))
    if len(nodes) < len(layers):
        raise ValueError(f"{len(nodes)} convolutions, expected more than {len(layers)}")
    for layer, node in zip(layers, nodes, strict=False):
        set_weights(layer, graph.values[node.input[1]], graph.bias_of(node))
    with torch.no_grad():
        for lateral in laterals:
            lateral.squeeze.expand.weight.mul_(_NECK_SLOPE)
            lateral.squeeze.expand.bias.mul_(_NECK_SLOPE)
    outputs = list(fpn.output_convs)
    wide = [n for n in nodes[len(layers) :] if tuple(graph.values[n.input[1]].shape) == (NECK, 1, 7, 7)]
    for output, node in zip(outputs, wide, strict=True):
        if isinstance(output, SeparableOutput):  # else it is a block that no detector has
            set_weights(output[0], graph.values[node.input[1]], graph.bias_of(node))


def _squeezing(module: nn.Module) -> list[nn.Module]:
    return [module.reduce, module.expand] if isinstance(module, SqueezeExcitation) else []
