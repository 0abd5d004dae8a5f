"""Losses of the maps that say where a word's characters are: heat and order. R words, c cells; each is a mean over words."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["heat_loss", "order_loss"]

# the order counts in cells of at least this heat, and there grows linearly from this distance on
_HEAT, _BETA = 0.3, 0.1


def heat_loss(logits: torch.Tensor, heat: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the focal loss of maps of heat (Law and Deng 2018, equation 1, alpha 2, beta 4), by character.

    Of a word: -(1 - p)^2 ln p in cells of heat 1, -(1 - heat)^4 p^2 ln(1 - p) in the others, summed, divided by the number of
    the former.

    Args:
        logits: (R, c).
        heat: wanted, (R, c) in [0, 1].
        known: bool (R,); the others add nothing to the mean.
    """
    logits = logits.float()
    p = logits.sigmoid()
    middle = heat >= 1
    at_middles = -(1 - p).square() * F.logsigmoid(logits)
    elsewhere = -((1 - heat) ** 4) * p.square() * F.logsigmoid(-logits)
    words = torch.where(middle, at_middles, elsewhere).sum(1) / middle.sum(1).clamp(min=1)
    return torch.where(known, words, 0.0).sum() / max(len(words), 1)


def order_loss(logits: torch.Tensor, order: torch.Tensor, heat: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the smooth L1 distance of the order from the wanted one, a mean over the cells of a word that are warm.

    Args:
        logits: (R, c).
        order: wanted, (R, c) in [0, 1].
        heat: wanted, (R, c).
        known: bool (R,); the others add nothing to the mean.
    """
    distance = F.smooth_l1_loss(logits.float().sigmoid(), order, beta=_BETA, reduction="none")
    warm = (heat > _HEAT) & known[:, None]
    words = torch.where(warm, distance, 0.0).sum(1) / warm.sum(1).clamp(min=1)
    return words.sum() / max(len(words), 1)
