"""What every candidate scale loses on the words of an image: what a resolution selector learns from.

N images, S candidate scales; image i has r_i words that count (readable, and read right by the teacher).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

__all__ = ["ScaleComparison", "ScaleWords", "reading_lost"]


class ScaleWords(NamedTuple):
    """The words of one image that count, and the loss of each scale on them."""

    boxes: torch.Tensor  # (r, 4) in pixels of the image at the teacher's resolution
    loss: torch.Tensor  # (r, S): KL(teacher || student) in nats, mean over the characters, or `reading_lost`


class ScaleComparison(NamedTuple):
    """Measurements of every image at every candidate scale, all without gradient."""

    kl: torch.Tensor  # (N, S) KL(teacher || student), mean over the image's words; 0 for images without counted words
    cost: torch.Tensor  # (N, S) share of the teacher's cost
    counted: torch.Tensor  # bool (N,): images with words that the KL was taken over
    words: Sequence[ScaleWords] | None = None  # N; None where no selector asks for them
    # of the heights of strips that were tried, `reading_lost` of every word that counts, (sum of r_i,)
    lost_at_rows: Mapping[int, torch.Tensor] | None = None

    def to(self, device: torch.device) -> ScaleComparison:
        """Copy the comparison to another device."""
        words = None if self.words is None else [ScaleWords(*(x.to(device) for x in image)) for image in self.words]
        lost = None if self.lost_at_rows is None else {rows: x.to(device) for rows, x in self.lost_at_rows.items()}
        return ScaleComparison(self.kl.to(device), self.cost.to(device), self.counted.to(device), words, lost)

    def rows(self, index: Sequence[int]) -> ScaleComparison:
        """Select the rows of the images `index`; what heights of strips lose is not told apart by image, and stays behind."""
        index = list(index)
        words = None if self.words is None else [self.words[i] for i in index]
        return ScaleComparison(self.kl[index], self.cost[index], self.counted[index], words)

    @staticmethod
    def cat(parts: Sequence[ScaleComparison]) -> ScaleComparison:
        """Concatenate comparisons; the result has `words` only if all of them have it, and nothing of heights of strips."""
        words = None
        if all(part.words is not None for part in parts):
            words = [image for part in parts for image in part.words]
        return ScaleComparison(*(torch.cat([part[k] for part in parts]) for k in range(3)), words)


def reading_lost(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    ids: torch.Tensor,
    pad: int,
    found: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute how much less probable the annotated text is for the student than for the teacher, not below 0.

    The expected number of words that are no longer read. Unlike the KL divergence it is bounded: a word that is lost is
    lost once, however absurd what the student reads instead.

    Args:
        student_logits, teacher_logits: (R, T, V), both decoders fed the annotated prefix.
        ids: annotated characters with the end symbol, int64 (R, T), `pad` after it.
        found: bool (R,), words that the student finds; it cannot read the others. None: it finds all.

    Returns:
        float32 (R,) in [0, 1].
    """
    inside = ids != pad
    index = torch.where(inside, ids, torch.zeros_like(ids)).unsqueeze(-1)

    def probability(logits: torch.Tensor) -> torch.Tensor:
        steps = logits.float().log_softmax(-1).gather(-1, index).squeeze(-1)
        return torch.where(inside, steps, 0.0).sum(-1).exp()

    read = probability(student_logits)
    if found is not None:
        read = read * found
    return (probability(teacher_logits) - read).clamp(min=0)
