"""Losses of the recogniser. R words, T steps, V classes, L columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["attention_loss", "ctc_loss"]


def attention_loss(logits: torch.Tensor, targets: torch.Tensor, pad: int) -> torch.Tensor:
    """Compute the cross entropy of the decoder, mean over all valid steps of all words, end symbols included.

    Args:
        logits: (R, T, V).
        targets: ids (R, T), `pad` after the end symbol.

    Returns:
        scalar; 0 (with a graph) when there is no word.
    """
    valid = targets != pad
    if not bool(valid.any()):
        return logits.sum() * 0
    return F.cross_entropy(logits[valid].float(), targets[valid])


def ctc_loss(logits: torch.Tensor, targets: torch.Tensor, pad: int, end: int) -> torch.Tensor:
    """Compute the loss of connectionist temporal classification (Graves et al. 2006) on the context feature, per character.

    Blank is the end id, which no CTC target contains. Words too long for L columns (repeated characters need a
    blank between them) count 0 (`zero_infinity`).

    Args:
        logits: (R, L, V).
        targets: ids (R, T): characters, one end, padding.

    Returns:
        scalar; 0 (with a graph) when there is no word.
    """
    R, L, _ = logits.shape
    characters = (targets != pad) & (targets != end)
    lengths = characters.sum(1)
    if R == 0 or int(lengths.max()) == 0:
        return logits.sum() * 0
    log_probabilities = logits.float().log_softmax(-1).transpose(0, 1)  # (L, R, V)
    columns = torch.full((R,), L, dtype=torch.int64, device=logits.device)
    labels = targets.clamp(max=logits.shape[-1] - 1)  # padding stands behind every length, but must be a class
    loss = F.ctc_loss(log_probabilities, labels, columns, lengths, blank=end, reduction="none", zero_infinity=True)
    return (loss / lengths.clamp(min=1)).mean()
