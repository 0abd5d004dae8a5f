"""Losses of MANGO's grid, maps of characters and positions. N images, G rows and columns of the grid, R words, K cells of
words, L positions, T steps, V classes, P cells of the level in one image."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

__all__ = ["category_loss", "character_loss", "position_loss"]


class CharacterCells(Protocol):
    """What :class:`~dld.modeling.mango.targets.CharacterTargets` has, sorted by word."""

    word: torch.Tensor
    position: torch.Tensor
    place: torch.Tensor
    counted: torch.Tensor


def category_loss(logits: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the binary cross entropy of the grid's cells: a mean over the cells that count in an image, then over images.

    Args:
        logits, wanted: (N, G, G).
        weights: (N, G, G), 0 or 1.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none") * weights
    return (loss.sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)).mean()


def character_loss(maps: torch.Tensor, word: torch.Tensor, targets: CharacterCells) -> torch.Tensor:
    """Return the Dice loss 1 - (2 sum p q + 1) / (sum p^2 + sum q^2 + 1) of maps of one image, a mean over the positions that
    count.

    q is 1 under the character of that position, else 0; it is never made as a map.

    Args:
        maps: p, (K, L, P).
        word: int64 (K,), the word that each cell reads.

    Returns:
        scalar; 0 (with a graph) where no position counts.
    """
    K, L, _ = maps.shape
    counted = targets.counted[word]
    size = targets.counted.numel()
    both = torch.bincount(targets.word * L + targets.position, minlength=size).view(-1, L)[word]  # sum q^2
    first = torch.searchsorted(targets.word, word)
    number = torch.searchsorted(targets.word, word, right=True) - first
    cell = torch.repeat_interleave(torch.arange(K, device=maps.device), number)
    at = torch.arange(len(cell), device=maps.device) - (number.cumsum(0) - number)[cell] + first[cell]
    position = targets.position[at]
    seen = maps[cell, position, targets.place[at]]
    overlap = maps.new_zeros(K * L).index_add(0, cell * L + position, seen).view(K, L)
    loss = 1 - (2 * overlap + 1) / (maps.square().sum(-1) + both + 1)
    return (loss * counted).sum() / counted.sum().clamp(min=1)


def position_loss(logits: torch.Tensor, targets: torch.Tensor, word: torch.Tensor, own: torch.Tensor, pad: int) -> torch.Tensor:
    """Return the cross entropy of the characters: of each step a mean over the cells that read its word, then over all steps.

    Words without a cell of their own add nothing, and their steps count: so the loss of a batch is the sum of those of its
    parts, each weighted by its share of the steps.

    Args:
        logits: (K, T, V).
        targets: ids (R, T), `pad` after the end symbol.
        word: int64 (K,).
        own: bool (K,), cells that learn to read their word.

    Returns:
        scalar; 0 (with a graph) when there is no word.
    """
    steps = (targets != pad).sum()
    wanted = targets[word]
    loss = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=pad, reduction="none")
    per_cell = loss.view(wanted.shape).sum(1) * own
    cells = torch.bincount(word[own], minlength=len(targets)).clamp(min=1)
    return (per_cell / cells[word]).sum() / steps.clamp(min=1)
