"""Parsimonious convolutions: blocks of 1x1 and depth-wise convolutions in the place of 3x3 ones of the same width.

Joint Architecture and Knowledge Distillation (Pattern Recognition 111:107722, arXiv 1912.07806). N images, H rows and W
columns, C channels; p groups, reduction m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.layers import get_norm
from torch import nn

__all__ = ["PLACES", "ParsimoniousConv", "Parsimony", "check_places", "make_parsimonious", "without_parsimony"]

# where there are convolutions to replace, by their names in MODEL.PARSIMONIOUS.WHERE
PLACES = ("fpn", "rpn", "stem", "encoder", "mask")
# of a block's inner norms where batch norm is frozen: new layers have no statistics to keep
NORM_GROUPS = 8


class ParsimoniousConv(nn.Module):
    """A stand-in for a 3x3 convolution (padding 1): (N, C, H, W) -> (N, C_out, H', W').

    After a shuffle of the channels in p groups the first C/p pass through 1x1 -> C/(p m), depth-wise 3x3, 1x1 -> C_out,
    with a norm after each of the first two; the others through one 1x1 -> C_out. Both are added. There is no activation
    inside. It has C^2/(p^2 m) + 9 C/(p m) + C C_out/(p m) + (1 - 1/p) C C_out weights beside norms and biases.

    Args:
        in_channels, out_channels: C and C_out.
        groups: p. The shuffle puts the first of p blocks of each of p groups in front: p^2 blocks of the channels, which are
            sliced.
        reduction: m.
        inner_norm: detectron2 name of the norm inside; "GN" and "FrozenBN" are a group norm of 8 groups, "" is none.
        bias: whether the sum has a bias.
        norm, activation: of the sum, as of detectron2's `Conv2d`.
        stride: of the depth-wise convolution and of the 1x1 beside it; the first 1x1 runs at full size.

    Raises:
        ValueError: the channels cannot be divided so.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int = 2,
        reduction: int = 2,
        inner_norm: str = "",
        bias: bool = True,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        if in_channels % groups**2 or in_channels % (groups * reduction):
            raise ValueError(
                f"{in_channels} channels must be multiples of {groups**2} (MODEL.PARSIMONIOUS.GROUPS squared) and of "
                f"{groups * reduction} (GROUPS x REDUCTION)"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        first, inner = in_channels // groups, in_channels // (groups * reduction)
        inner_bias = not inner_norm
        self.spatial = nn.Sequential(
            nn.Conv2d(first, inner, 1, bias=inner_bias),
            _inner_norm(inner_norm, inner),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=inner_bias),
            _inner_norm(inner_norm, inner),
            nn.Conv2d(inner, out_channels, 1, bias=False),
        )
        self.pointwise = nn.Conv2d(in_channels - first, out_channels, 1, stride, bias=bias)
        self.norm, self.activation = norm, activation
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                # what comes out varies as much as what goes in
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def divide(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the first C/p channels after the shuffle, and the others."""
        p, parts = self.groups, x.split(self.in_channels // self.groups**2, dim=1)
        others = [part for i, part in enumerate(parts) if i % p]
        return torch.cat(parts[::p], 1), torch.cat(others, 1) if others else x[:, :0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, others = self.divide(x)
        x = self.spatial(first) + self.pointwise(others)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)


class Parsimony(NamedTuple):
    """MODEL.PARSIMONIOUS: where blocks stand, and which."""

    where: tuple[str, ...] = ()
    groups: int = 2
    reduction: int = 2

    @classmethod
    def of(cls, cfg: CfgNode) -> Parsimony:
        """Read a configuration.

        Raises:
            ValueError: an unknown place, fewer than 2 groups, or a reduction below 1; the message names the key.
        """
        node = cfg.MODEL.PARSIMONIOUS
        for place in node.WHERE:
            if place not in PLACES:
                raise ValueError(f"MODEL.PARSIMONIOUS.WHERE must be of {', '.join(PLACES)}, got {place!r}")
        for key, least in (("GROUPS", 2), ("REDUCTION", 1), ("FIT_BATCHES", 0)):
            if node[key] < least:
                raise ValueError(f"MODEL.PARSIMONIOUS.{key} must be at least {least}, got {node[key]}")
        return cls(tuple(node.WHERE), node.GROUPS, node.REDUCTION)

    def conv(self, in_channels: int, out_channels: int, inner_norm: str = "", **options) -> ParsimoniousConv:
        """Make a block; arguments as of :class:`ParsimoniousConv`."""
        return ParsimoniousConv(in_channels, out_channels, self.groups, self.reduction, inner_norm, **options)

    def in_place_of(self, conv: nn.Conv2d, norm: str) -> ParsimoniousConv:
        """Make the block that stands for a 3x3 convolution, with its norm and activation.

        Args:
            conv: of detectron2 or torch.
            norm: name of the norm of the module that it is a part of.
        """
        return self.conv(
            conv.in_channels,
            conv.out_channels,
            norm,
            bias=conv.bias is not None,
            norm=getattr(conv, "norm", None),
            activation=getattr(conv, "activation", None),
        )


def make_parsimonious(cfg: CfgNode, place: str, module: nn.Module, norm: str) -> nn.Module:
    """Put blocks in the place of the 3x3 convolutions of stride 1 in a module, if `place` is one of MODEL.PARSIMONIOUS.WHERE.

    Args:
        place: one of `PLACES`.
        module: changed in place.
        norm: name of its norm, "" for none.

    Returns:
        the module, or the block if it is such a convolution itself.
    """
    parsimony = Parsimony.of(cfg)
    if place not in parsimony.where:
        return module
    if _is_spatial(module):
        return parsimony.in_place_of(module, norm)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if _is_spatial(child):
                setattr(parent, name, parsimony.in_place_of(child, norm))
    return module


def check_places(cfg: CfgNode, modules: Mapping[str, nn.Module | None]) -> None:
    """Check that blocks stand wherever they are asked for.

    Args:
        modules: those in which each of `PLACES` is; a place that the spotter does not have is left out, or None.

    Raises:
        ValueError: one of MODEL.PARSIMONIOUS.WHERE has none.
    """
    for place in Parsimony.of(cfg).where:
        module = modules.get(place)
        if module is None or not any(isinstance(part, ParsimoniousConv) for part in module.modules()):
            raise ValueError(f"MODEL.PARSIMONIOUS.WHERE {place}: this spotter has no 3x3 convolution there to replace")


def without_parsimony(cfg: CfgNode) -> CfgNode:
    """Return a copy of a configuration that asks for no blocks."""
    plain = cfg.clone()
    plain.defrost()
    plain.MODEL.PARSIMONIOUS.WHERE = []
    return plain


def _is_spatial(module: nn.Module) -> bool:
    plain = isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.stride == (1, 1)
    return plain and module.padding == (1, 1) and module.dilation == (1, 1) and module.groups == 1


def _inner_norm(name: str, channels: int) -> nn.Module:
    if name in ("GN", "FrozenBN"):
        return nn.GroupNorm(math.gcd(NORM_GROUPS, channels), channels)
    return get_norm(name, channels) or nn.Identity()
