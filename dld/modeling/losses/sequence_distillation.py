"""Sequence-level distillation: the student learns the teacher's K most probable readings of a word.

R words, K sequences, T steps, V classes. The student must have been fed each sequence's own prefix:
`decoder(context, beams.ids)` with ids (R, K, T).
"""

from __future__ import annotations

import torch

__all__ = ["sequence_distillation_loss", "sequence_log_probabilities"]

FORMS = ("weighted", "paper")


def sequence_log_probabilities(logits: torch.Tensor, ids: torch.Tensor, pad: int) -> torch.Tensor:
    """Return log p(y) = sum over the steps of y of log p(y_t | y_<t), without the padding.

    Args:
        logits: (..., T, V).
        ids: int64 (..., T).
        pad: id of the steps that do not count.

    Returns:
        float32 (...), 0 for a row that consists of padding only.
    """
    log_probabilities = logits.float().log_softmax(-1)
    index = ids.clamp(max=logits.shape[-1] - 1).unsqueeze(-1)  # padding is masked below, but must be a class here
    chosen = log_probabilities.gather(-1, index).squeeze(-1)
    return torch.where(ids != pad, chosen, 0.0).sum(-1)


def sequence_distillation_loss(
    student_logits: torch.Tensor,
    ids: torch.Tensor,
    teacher_log_probabilities: torch.Tensor,
    valid: torch.Tensor,
    pad: int,
    form: str = "weighted",
    per_character: bool = True,
) -> torch.Tensor:
    """Return the mean over words of the distance between the student and the teacher's beams, in float32 log space.

    - "weighted": -sum_k w_k log p_student(y_k) / length(y_k), w = softmax over the valid k of log p_teacher(y_k). This
      is the first form in the paper, with the teacher's probabilities normalised over the K sequences. Its minimum is
      the teacher's distribution over the beams.
    - "paper": -log sum_k p_student(y_k), the approximation that the paper trains with. It does not contain the teacher's
      probabilities: its gradient weights the beams by the student's own, and any one beam with all the mass is a minimum.

    Args:
        student_logits: (R, K, T, V), position t predicts ids[..., t].
        ids: the teacher's sequences, int64 (R, K, T), with `pad` after their ends.
        teacher_log_probabilities: log p_teacher(y_k), (R, K); read where valid only.
        valid: bool (R, K), sequences that count; a word without any is left out of the mean.
        pad: padding id.
        form: "weighted" or "paper".
        per_character: divide log p_student(y_k) by the steps of y_k, the end included; "weighted" only, since the sum
            of probabilities in "paper" has no length.

    Returns:
        scalar; 0 (with a graph) when no word counts.

    Raises:
        ValueError: unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"form of the sequence distillation loss must be one of {FORMS}, got {form!r}")
    student = sequence_log_probabilities(student_logits, ids, pad)  # (R, K)
    counted = valid.any(1)
    # words that do not count keep all their sequences: a softmax over nothing would put NaN into the gradient
    absent = ~valid & counted.unsqueeze(1)
    if form == "paper":
        per_word = -student.masked_fill(absent, -torch.inf).logsumexp(1)
    else:
        scores = torch.where(valid, teacher_log_probabilities.detach().float(), 0.0)
        weights = scores.masked_fill(absent, -torch.inf).softmax(1)
        if per_character:
            student = student / (ids != pad).sum(-1).clamp(min=1)
        per_word = -(weights * student).sum(1)
    return torch.where(counted, per_word, 0.0).sum() / counted.sum().clamp(min=1)
