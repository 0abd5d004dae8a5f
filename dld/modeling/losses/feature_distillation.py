"""Distances between student and teacher, word by word: features, and the distributions of the characters.

N images, R words, L encoder columns, T steps, V classes, C channels, H W rows and columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["character_kl", "context_feature_loss", "image_kl", "roi_feature_loss"]


def mean_squared_difference(student: torch.Tensor, teacher: torch.Tensor, what: str, weight: str) -> torch.Tensor:
    if student.shape != teacher.shape:
        # broadcasting would hide a word that only one of the two has seen
        raise ValueError(
            f"{what} of student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ in shape: "
            f"MODEL.DISTILLATION.{weight} 0 leaves them out"
        )
    if not student.numel():
        return student.float().sum() * 0
    return F.mse_loss(student.float(), teacher.detach().float())


def roi_feature_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Compute L_roi: mean over words, channels, rows and columns of (F_student - F_teacher)^2.

    Args:
        student: masked crops (R, C, H, W); row r is the same word in both.
        teacher: the same shape; no gradient flows into it.

    Returns:
        float32 scalar; 0 (with a graph) when there is no word.

    Raises:
        ValueError: the shapes differ.
    """
    return mean_squared_difference(student, teacher, "RoI features", "ROI_WEIGHT")


def context_feature_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Compute L_context: :func:`roi_feature_loss` on context features (R, L, C)."""
    return mean_squared_difference(student, teacher, "context features", "CONTEXT_WEIGHT")


def character_kl(student_logits: torch.Tensor, teacher_logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || student) = sum_v p_teacher log(p_teacher / p_student), mean over the valid steps of each word.

    Both decoders must have been fed the same prefixes, so that both answer the same question at step t.

    Args:
        student_logits: (R, T, V).
        teacher_logits: (R, T, V), finite; no gradient flows into it.
        mask: bool (R, T), valid steps.

    Returns:
        float32 (R,) in nats; 0 for a word without valid steps.
    """
    student = student_logits.float().log_softmax(-1)
    teacher = teacher_logits.detach().float().log_softmax(-1)
    per_step = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)  # (R, T)
    return torch.where(mask, per_step, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


def image_kl(
    per_word: torch.Tensor, image_index: torch.Tensor, num_images: int, counted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute L_acc of each image: the mean of :func:`character_kl` over its counted words.

    Args:
        per_word: (R,).
        image_index: int64 (R,), the image of each word, 0 to N - 1.
        num_images: N.
        counted: bool (R,), words that count: not ignored and read right by the teacher.

    Returns:
        float (N,), 0 for an image without counted words, and bool (N,), which images have any.
    """
    zeros = per_word.new_zeros(num_images)
    total = zeros.index_add(0, image_index, torch.where(counted, per_word, 0.0))
    count = zeros.index_add(0, image_index, counted.to(zeros.dtype))
    return total / count.clamp(min=1), count > 0
