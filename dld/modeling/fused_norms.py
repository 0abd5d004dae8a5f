"""Batch norm folded into the convolution before it, for reading only."""

from __future__ import annotations

import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

__all__ = ["fuse_norms"]

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)


@torch.no_grad()
def fuse_norms(model: nn.Module) -> int:
    """Fold every batch norm that follows a convolution into the weights of that convolution, in place.

    w' = w g / sqrt(var + eps), b' = (b - mean) g / sqrt(var + eps) + beta. Results change only by rounding. The function
    handles detectron2's convolutions with a `norm`, and a batch norm next to a convolution in an `nn.Sequential`. Afterwards
    the model cannot be trained, and its state no longer fits a checkpoint.

    Args:
        model: in eval mode.

    Returns:
        the number of batch norms that were folded.

    Raises:
        ValueError: the model is in training mode, where batch norm uses other numbers.
    """
    if any(m.training for m in model.modules() if isinstance(m, _NORMS)):
        raise ValueError("batch norm in training mode cannot be folded into convolutions: call model.eval() first")
    folded = 0
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d) and isinstance(getattr(module, "norm", None), _NORMS):
            _fold(module, module.norm)
            module.norm = None
            folded += 1
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                conv, norm = module[i], module[i + 1]
                plain = isinstance(conv, nn.Conv2d) and getattr(conv, "norm", None) is None
                # detectron2's convolution may have its activation inside: the norm then does not follow the convolution
                if plain and getattr(conv, "activation", None) is None and isinstance(norm, _NORMS):
                    _fold(conv, norm)
                    module[i + 1] = nn.Identity()
                    folded += 1
    return folded


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    # in double precision, so that only the new weights are rounded
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    bias = -norm.running_mean.double() if conv.bias is None else conv.bias.double() - norm.running_mean.double()
    bias = bias * factor
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    weight = (conv.weight.double() * factor.view(-1, 1, 1, 1)).to(conv.weight.dtype)
    conv.weight.copy_(weight)  # into the same memory, which keeps its layout
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
