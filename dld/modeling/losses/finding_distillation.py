"""What a student that sees a small image learns about finding words from a teacher that sees the large one.

Both are asked about the same places: the teacher's proposals, and the words that it finds. So places count that nobody
annotated, and how sure the teacher is counts as well as what it says. N images, K proposals and M finds of all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

__all__ = ["BoxReadings", "FindingTargets", "finding_losses", "standardized"]

# from this distance on, in units of the box head's deltas, the loss of a box grows linearly
BETA = 1 / 9


class BoxReadings(NamedTuple):
    """What the box head of a spotter says of K boxes."""

    features: torch.Tensor  # (K, C, h, w), what it looked at
    logits: torch.Tensor  # (K, 2): word, background
    deltas: torch.Tensor  # (K, 4), from each box to the word


class FindingTargets(NamedTuple):
    """What a teacher says of one image; no gradient flows into any of it.

    The K boxes are its proposals, surest first. The M finds are what its box head makes of the surest of them.
    """

    image_size: tuple[int, int]  # (H, W), in whose pixels the boxes are
    boxes: torch.Tensor  # (K, 4)
    said: BoxReadings
    finds: torch.Tensor  # (M, 4)
    masks: torch.Tensor  # (M, h, w), logits
    certainty: torch.Tensor  # (M,), probability that it is a word

    def resized(self, image_size: tuple[int, int]) -> FindingTargets:
        """Return the same of the image resized to (H, W)."""
        factors = self.boxes.new_tensor([image_size[1] / self.image_size[1], image_size[0] / self.image_size[0]]).repeat(2)
        return self._replace(image_size=image_size, boxes=self.boxes * factors, finds=self.finds * factors)


def standardized(features: torch.Tensor) -> torch.Tensor:
    """Return features (K, C, h, w) with mean 0 and variance 1 over the cells of each crop and channel, float32.

    What is left is the pattern of a channel on a word. Its level and strength differ between scales for reasons that the
    heads have learned to live with.
    """
    flat = features.float().flatten(2)
    deviation = flat - flat.mean(-1, keepdim=True)
    # relative to the crop's own strength, so that channels that see nothing stay near 0
    floor = 1e-2 * flat.pow(2).mean((1, 2), keepdim=True) + 1e-6
    return (deviation / (deviation.pow(2).mean(-1, keepdim=True) + floor).sqrt()).view(features.shape)


def finding_losses(student: BoxReadings, student_masks: torch.Tensor, targets: list[FindingTargets]) -> dict[str, torch.Tensor]:
    """Compute four losses, each a mean over images of a mean over the places of an image.

    - `loss_kd_class`: KL(teacher || student) of word and background, over all proposals.
    - `loss_kd_box`: smooth L1 of the deltas, summed over the four, weighted by the teacher's probability of a word.
    - `loss_kd_feature`: mean squared difference of :func:`standardized` features, weighted alike.
    - `loss_kd_mask`: binary cross entropy to the teacher's soft mask less the entropy of that mask, so that 0 is agreement;
      weighted by the certainty of the find.

    Args:
        student: of the teacher's proposals, all images one after the other.
        student_masks: logits (M, h, w) of the teacher's finds, likewise.
        targets: N images, in the same order.

    Raises:
        ValueError: student and teacher differ in shape.
    """
    device = student.logits.device
    said = BoxReadings(*(torch.cat([getattr(t.said, field) for t in targets]) for field in BoxReadings._fields))
    masks = torch.cat([t.masks for t in targets])
    for what, own, other in (*zip(BoxReadings._fields, student, said, strict=True), ("masks", student_masks, masks)):
        if own.shape != other.shape:
            raise ValueError(f"{what} of student {tuple(own.shape)} and teacher {tuple(other.shape)} differ in shape")
    wanted = said.logits.float().log_softmax(-1)
    word = wanted[:, 0].exp()
    divergence = F.kl_div(student.logits.float().log_softmax(-1), wanted, reduction="none", log_target=True).sum(-1)
    distance = F.smooth_l1_loss(student.deltas.float(), said.deltas.float(), reduction="none", beta=BETA).sum(-1)
    pattern = (standardized(student.features) - standardized(said.features)).pow(2).mean((1, 2, 3))
    soft = masks.float().sigmoid()
    own, best = (
        F.binary_cross_entropy_with_logits(logits.float(), soft, reduction="none").mean((1, 2))
        for logits in (student_masks, masks)
    )
    of_proposals = _image_of([len(t.boxes) for t in targets], device)
    of_finds = _image_of([len(t.finds) for t in targets], device)
    certainty = torch.cat([t.certainty for t in targets])
    N = len(targets)
    return {
        "loss_kd_class": _mean(divergence, torch.ones_like(word), of_proposals, N),
        "loss_kd_box": _mean(distance, word, of_proposals, N),
        "loss_kd_feature": _mean(pattern, word, of_proposals, N),
        "loss_kd_mask": _mean(own - best, certainty, of_finds, N),
    }


def _image_of(counts: list[int], device: torch.device) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64)).to(device)


def _mean(values: torch.Tensor, weights: torch.Tensor, image_of: torch.Tensor, N: int) -> torch.Tensor:
    """Average over images the weighted means of each; weights of less than one word in all count as they are."""
    zeros = values.new_zeros(N)
    weights = weights.to(values)
    total = zeros.index_add(0, image_of, values * weights)
    return (total / zeros.index_add(0, image_of, weights).clamp(min=1)).sum() / max(N, 1)
