"""Losses of maps of text: Dice of the classes, smooth L1 of the offsets. N images, h w cells; each is a mean over images."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["dice_losses", "offset_losses"]

# from this distance on, in units of the offsets, smooth L1 grows linearly
BETA = 0.11
# of a cell, so that large words do not outweigh everything: 16 / (256 x 64), and 8 images of the published batch, over which
# the published loss is a sum
CELL = 8 * 16 / (256 * 64)


def dice_losses(probabilities: torch.Tensor, masks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return 1 - (2 sum w p q + 1) / (sum (w p)^2 + sum (w q)^2 + 1) of each class, (C,), sums over the cells of an image.

    Args:
        probabilities, masks: p and q, (N, C, h, w).
        weights: w, (N, h, w), 0 or 1.
    """
    w = weights[:, None]
    p, q = (probabilities.float() * w).flatten(2), (masks * w).flatten(2)
    return (1 - (2 * (p * q).sum(-1) + 1) / (p.square().sum(-1) + q.square().sum(-1) + 1)).mean(0)


def offset_losses(offsets: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the smooth L1 of the four channels of each kind of cell, summed over the cells of an image, (G,).

    Args:
        offsets, wanted: (N, 4 G, h, w).
        weights: (N, G, h, w), 0 or 1.
    """
    N, G, h, w = weights.shape
    loss = F.smooth_l1_loss(offsets.float(), wanted, beta=BETA, reduction="none").view(N, G, 4, h, w)
    return CELL * (loss * weights[:, :, None]).sum((2, 3, 4)).mean(0)
