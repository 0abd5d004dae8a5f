"""The student tries every candidate scale on the annotated words of a batch: step 2 of a training iteration."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from detectron2.structures import Instances
from torch import nn

from dld.modeling.losses.feature_distillation import character_kl, image_kl
from dld.modeling.meta_arch.annotated_words import read_annotated, word_offsets, word_texts
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.teacher_targets import TeacherTargets
from dld.modeling.resolution.cost import CostTable
from dld.modeling.resolution.scale_comparison import ScaleComparison, ScaleWords, reading_lost

__all__ = ["WORD_LOSSES", "batch_norm_in_eval", "try_scales"]

WORD_LOSSES = ("reading", "spotting", "kl")


@contextmanager
def batch_norm_in_eval(model: nn.Module):
    """Run without touching the running statistics of batch norm, and with them instead of the batch's own."""
    touched = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for m in touched:
        m.eval()
    try:
        yield
    finally:
        for m in touched:
            m.train()


@torch.no_grad()
def try_scales(
    student: TextSpottingRCNN,
    images: list[torch.Tensor],
    words: list[Instances],
    targets: TeacherTargets,
    cost_table: CostTable,
    word_loss: str | None = None,
) -> ScaleComparison:
    """What the student loses at every candidate scale against what its teacher said at full resolution.

    One batched pass per scale (and padded size) through backbone, top-down path and recogniser. Both decoders are
    fed the annotated prefix. Words that the teacher itself misreads are not counted.

    Args:
        images: N normalised images (3, H_i, W_i) at the teacher's resolution.
        words: the annotated words of each, in its pixels.
        targets: the teacher's, of the readable words of the batch.
        cost_table: of the candidate scales S.
        word_loss: what is kept of each word, for selectors that learn from words: "reading" (`reading_lost`), "spotting"
            (a word that the student does not find is lost, too; takes its proposals and boxes at every scale), or "kl".
            None: nothing.
    """
    pad = student.charset.pad
    ids = word_texts(words, pad)
    device, N = ids.device, len(words)
    offsets = torch.tensor(word_offsets(words), device=device)
    image_of = torch.repeat_interleave(torch.arange(N, device=device), offsets.diff())
    columns, losses, counted = [], [], None
    with batch_norm_in_eval(student):
        for scale in cost_table.scales:
            reading, found = read_annotated(student, images, words, scale, find=word_loss == "spotting")
            logits = student.roi_heads.recognizer.decoder(reading.context, ids)
            kl = character_kl(logits, targets.logits, ids != pad)
            per_image, counted = image_kl(kl, image_of, N, targets.correct)
            columns.append(per_image)
            losses.append(kl if word_loss == "kl" else reading_lost(logits, targets.logits, ids, pad, found))
    cost = cost_table.costs([tuple(x.shape[-2:]) for x in images], [int((~x.gt_ignore).sum()) for x in words])
    found = None
    if word_loss is not None:
        boxes = torch.cat([x.gt_boxes.tensor[x.gt_readable] for x in words])
        loss = torch.stack(losses, 1)
        kept = [(image_of == i) & targets.correct for i in range(N)]
        found = [ScaleWords(boxes[k], loss[k]) for k in kept]
    return ScaleComparison(torch.stack(columns, 1), cost.to(device), counted, found)
