"""Differentiable feature aggregation (DFA, ECCV 2020, arXiv 2008.00506): which of the teacher's layers the student learns from.

The target of a group of layers of one shape is their weighted sum, A = sum_j softmax_j(beta) T^j. J layers, R words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = ["aggregate", "normalised_distance"]


def aggregate(layers: Sequence[torch.Tensor], beta: torch.Tensor) -> torch.Tensor:
    """Return sum_j softmax_j(beta) T^j, float32; the gradient reaches beta and no layer.

    Args:
        layers: J tensors of one shape (R, ...).
        beta: (J,).
    """
    shares = beta.float().softmax(0)
    return torch.stack([share * layer.detach().float() for share, layer in zip(shares, layers, strict=True)]).sum(0)


def normalised_distance(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean over words of |s / |s| - t / |t||^2, 0 to 4, where s and t are all features of a word.

    Lengths do not count: without the division beta could shorten the target instead of choosing among layers.

    Args:
        student, target: (R, ...); row r is the same word in both. The gradient reaches both.

    Returns:
        float32 scalar; 0 (with a graph) when there is no word.

    Raises:
        ValueError: the shapes differ.
    """
    if student.shape != target.shape:
        raise ValueError(f"features of student {tuple(student.shape)} and aggregate {tuple(target.shape)} differ in shape")
    if not student.numel():
        return student.float().sum() * 0 + target.float().sum() * 0
    own, wanted = (F.normalize(x.float().flatten(1), dim=1, eps=1e-6) for x in (student, target))
    return (own - wanted).square().sum(1).mean()
