"""Which channels of a spotter can be searched and cut, and how layers are made narrower.

They are channels that no other layer's output is added to: what lies between two layers of a block or of a head, and the neck
of :class:`~dld.modeling.backbone.text_convnet_fpn.TextConvNetFPN`, whose levels are added up and therefore have one indicator
for all of them. Outputs of the backbone's stages and of the pyramid stay as wide as they are, and so do the features that
distillation compares. C channels of one kind, C' of them kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, StandardROIHeads
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from torch import nn

from dld.modeling.backbone.text_convnet_fpn import SeparableOutput, TextConvNetFPN
from dld.modeling.backbone.tiny_resnet import MIN_WIDTH, TwoConvStem
from dld.modeling.recognition.encoder import RecognitionEncoder
from dld.modeling.text_convnet import ConvBlock

__all__ = ["MULTIPLE", "PLACES", "Prunable", "cut", "prunable_channels", "rounded_width"]

# where there are such channels, by their names in MODEL.COMPRESSION.WHERE
PLACES = ("backbone", "neck", "rpn", "box", "mask", "encoder")
# widths that convolutions on CPUs are fast with
MULTIPLE = 8

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)
_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class Prunable(NamedTuple):
    """Channels that one indicator each stands for. Layers are named as in the spotter."""

    channels: int
    place: str  # one of PLACES
    made: tuple[str, ...]  # layers and norms whose outputs they are
    read: tuple[str, ...]  # layers whose inputs they are
    gated: tuple[str, ...]  # modules whose outputs are multiplied: after the norm, before the activation


def prunable_channels(spotter: nn.Module) -> dict[str, Prunable]:
    """Find the channels that can be cut, by name.

    Layers with a norm over groups of channels, parsimonious convolutions and layers of at most `MIN_WIDTH` channels are left
    out.

    Args:
        spotter: a `TextSpottingRCNN`, or a module with its `backbone`, `proposal_generator` and `roi_heads`.
    """
    modules = {n: m for n, m in spotter.named_modules() if n.split(".")[0] in ("backbone", "proposal_generator", "roi_heads")}
    found = {}
    for name, module in modules.items():
        if name.startswith("roi_heads.recognizer.") and not isinstance(module, RecognitionEncoder):
            continue  # a reader of strips has layers of the backbone's kind
        for kind, rule in _RULES.items():
            if isinstance(module, kind):
                for key, place, made, read, gated in rule(f"{name}.", module):
                    layers = [modules[layer] for layer in (*made, *read)]
                    if all(_can_be_cut(layer) for layer in layers) and (channels := _outputs(layers[0])) > MIN_WIDTH:
                        found[key] = Prunable(channels, place, made, read, gated or made[:1])
    return found


Found = Iterator[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]]


def _in_conv_block(name: str, block: ConvBlock) -> Found:
    yield f"{name}widen", "backbone", (f"{name}widen",), (f"{name}narrow",), ()


def _in_basic_block(name: str, block: BasicBlock | TwoConvStem) -> Found:
    yield f"{name}conv1", "backbone", (f"{name}conv1",), (f"{name}conv2",), ()


def _in_bottleneck(name: str, block: BottleneckBlock) -> Found:
    if block.conv2.groups == 1:
        yield from _in_basic_block(name, block)
        yield f"{name}conv2", "backbone", (f"{name}conv2",), (f"{name}conv3",), ()


def _in_neck(name: str, fpn: TextConvNetFPN) -> Found:
    if not all(isinstance(output, SeparableOutput) for output in fpn.output_convs):
        return
    made, read, gated = [], [], []
    for child, module in fpn.named_children():
        if module in fpn.lateral_convs:
            made += [f"{name}{child}.project", f"{name}{child}.squeeze.expand"]
            read += [f"{name}{child}.squeeze.reduce"]
            gated += [f"{name}{child}.project"]
        elif module in fpn.output_convs:
            # the depth-wise convolution has a bias: of a channel without input it would make a constant
            made += [f"{name}{child}.0"]
            read += [f"{name}{child}.1"]
            gated += [f"{name}{child}.0"]
    yield f"{name}neck", "neck", tuple(made), tuple(read), tuple(gated)


def _in_rpn(name: str, head: StandardRPNHead) -> Found:
    convs = [f"{name}conv"]
    if isinstance(head.conv, nn.Sequential):
        convs = [f"{name}conv.{child}" for child, _ in head.conv.named_children()]
    predictors = (f"{name}objectness_logits", f"{name}anchor_deltas")
    for conv, read in zip(convs, [*((c,) for c in convs[1:]), predictors], strict=True):
        yield conv, "rpn", (conv,), read, ()


def _in_roi_heads(name: str, heads: StandardROIHeads) -> Found:
    if not isinstance(heads.box_head, FastRCNNConvFCHead):
        return
    layers = [f"{name}box_head.fc{i + 1}" for i in range(len(heads.box_head.fcs))]
    predictors = (f"{name}box_predictor.cls_score", f"{name}box_predictor.bbox_pred")
    for layer, read in zip(layers, [*((f,) for f in layers[1:]), predictors][: len(layers)], strict=True):
        yield layer, "box", (layer,), read, ()


def _in_mask_head(name: str, head: MaskRCNNConvUpsampleHead) -> Found:
    layers = [f"{name}mask_fcn{i + 1}" for i in range(len(head.conv_norm_relus))] + [f"{name}deconv", f"{name}predictor"]
    for layer, following in zip(layers[:-1], layers[1:], strict=True):
        yield layer, "mask", (layer,), (following,), ()


def _in_encoder(name: str, encoder: RecognitionEncoder) -> Found:
    for i, block in enumerate(encoder.convs):
        conv, norm = f"{name}convs.{i}.0", f"{name}convs.{i}.1"
        following = f"{name}convs.{i + 1}.0" if i + 1 < len(encoder.convs) else f"{name}squeeze.1.0"
        made = (conv,) if isinstance(block[1], nn.Identity) else (conv, norm)
        yield f"{name}convs.{i}", "encoder", made, (following,), (norm,)


_RULES = {
    ConvBlock: _in_conv_block,
    BasicBlock: _in_basic_block,
    TwoConvStem: _in_basic_block,
    BottleneckBlock: _in_bottleneck,
    TextConvNetFPN: _in_neck,
    StandardRPNHead: _in_rpn,
    StandardROIHeads: _in_roi_heads,
    MaskRCNNConvUpsampleHead: _in_mask_head,
    RecognitionEncoder: _in_encoder,
}


def _can_be_cut(module: nn.Module) -> bool:
    if isinstance(module, _NORMS):
        return True
    norm = getattr(module, "norm", None)
    return isinstance(module, _LAYERS) and (norm is None or isinstance(norm, _NORMS))


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def rounded_width(count: float, channels: int) -> int:
    """Return to how many so many of `channels` are rounded: a multiple of 8, at least `MIN_WIDTH`, not above `channels`."""
    return min(max(MULTIPLE * int(count / MULTIPLE + 0.5), MIN_WIDTH), channels)


@torch.no_grad()
def cut(spotter: nn.Module, channels: Mapping[str, Prunable], kept: Mapping[str, torch.Tensor]) -> None:
    """Make layers narrower, in place: all channels but those that are kept go, with the weights that make and read them.

    Args:
        spotter: see :func:`prunable_channels`.
        channels: of that function.
        kept: indices int64 (C',) of those that stay, by name; channels that are not named all stay.
    """
    for name, index in kept.items():
        for layer in channels[name].made:
            _keep_outputs(spotter.get_submodule(layer), index)
        for layer in channels[name].read:
            _keep_inputs(spotter.get_submodule(layer), index)


def _keep_outputs(layer: nn.Module, index: torch.Tensor) -> None:
    if isinstance(layer, _NORMS):
        for name in ("weight", "bias", "running_mean", "running_var"):
            _take(layer, name, 0, index)
        layer.num_features = len(index)
        return
    _take(layer, "weight", int(isinstance(layer, nn.ConvTranspose2d)), index)
    _take(layer, "bias", 0, index)
    if isinstance(layer, nn.Linear):
        layer.out_features = len(index)
        return
    layer.out_channels = len(index)
    if layer.groups > 1:
        # depth-wise: each output has an input of its own
        layer.in_channels = layer.groups = len(index)
    if getattr(layer, "norm", None) is not None:
        _keep_outputs(layer.norm, index)


def _keep_inputs(layer: nn.Module, index: torch.Tensor) -> None:
    _take(layer, "weight", int(not isinstance(layer, nn.ConvTranspose2d)), index)
    if isinstance(layer, nn.Linear):
        layer.in_features = len(index)
    else:
        layer.in_channels = len(index)


def _take(layer: nn.Module, name: str, dim: int, index: torch.Tensor) -> None:
    value = getattr(layer, name)
    if value is None:
        return
    taken = value.detach().index_select(dim, index.to(value.device))
    if isinstance(value, nn.Parameter):
        taken = nn.Parameter(taken, requires_grad=value.requires_grad)
    setattr(layer, name, taken)
