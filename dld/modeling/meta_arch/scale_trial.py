"""The student tries every candidate scale on the annotated words of a batch: step 2 of a training iteration."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import nn

from dld.modeling.losses.feature_distillation import character_kl, image_kl
from dld.modeling.meta_arch.annotated_batch import AnnotatedBatch, read_annotated
from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.recognition.teacher_targets import TeacherTargets
from dld.modeling.resolution.cost import CostTable
from dld.modeling.resolution.scale_comparison import ScaleComparison, ScaleWords, reading_lost

__all__ = ["batch_norm_in_eval", "try_scales"]


@contextmanager
def batch_norm_in_eval(model: nn.Module):
    """Run batch norm with its running statistics instead of those of the batch, and without changing them."""
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
    student: Spotter, batch: AnnotatedBatch, targets: TeacherTargets, cost_table: CostTable, word_loss: str | None = None
) -> ScaleComparison:
    """Measure what the student loses at every candidate scale against its teacher's reading at full resolution.

    One batched pass per scale (and padded size) runs through backbone, top-down path and recogniser. Both decoders are
    fed the annotated prefix. Words that the teacher itself misreads do not count. A student that reads strips of several
    heights tries these, too: strips are cut from the photos, so a pass for each height takes the place of one for each scale,
    and what a scale loses of reading is what the largest height loses.

    Args:
        batch: N images at the teacher's resolution with R readable words.
        targets: the teacher's targets for these words.
        cost_table: of the candidate scales S.
        word_loss: what is kept for each word, for selectors that learn from words: "reading" (`reading_lost`) or "spotting"
            (a word that the student does not find also counts as lost; this needs its proposals and boxes at every scale).
            None: nothing.
    """
    ids, inside, image_of = batch.texts, batch.texts != batch.pad, batch.image_of()
    columns, losses, counted = [], [], None
    finds = word_loss == "spotting"
    with batch_norm_in_eval(student):
        at_rows = {rows: _logits_at(student, batch, rows, cost_table.scales[0]) for rows in student.trial_rows}
        for scale in cost_table.scales:
            found = None
            if at_rows:
                logits = at_rows[student.trial_rows[0]]
                found = read_annotated(student, batch, scale, find=True).found if finds else None
            else:
                reading, found = read_annotated(student, batch, scale, find=finds)
                logits = student.decoder(reading.context, ids)
            kl = character_kl(logits, targets.logits, inside)
            per_image, counted = image_kl(kl, image_of, len(batch), targets.correct)
            columns.append(per_image)
            losses.append(reading_lost(logits, targets.logits, ids, batch.pad, found))
    cost = cost_table.costs(batch.sizes, [int((~x.gt_ignore).sum()) for x in batch.words])
    words = None
    if word_loss is not None:
        boxes = torch.cat([x.gt_boxes.tensor[x.gt_readable] for x in batch.words])
        loss = torch.stack(losses, 1)
        kept = [(image_of == i) & targets.correct for i in range(len(batch))]
        words = [ScaleWords(boxes[k], loss[k]) for k in kept]
    lost = {rows: reading_lost(x, targets.logits, ids, batch.pad)[targets.correct] for rows, x in at_rows.items()}
    return ScaleComparison(torch.stack(columns, 1), cost.to(ids.device), counted, words, lost or None)


def _logits_at(student: Spotter, batch: AnnotatedBatch, rows: int, scale: float) -> torch.Tensor:
    """Return the decoder's logits (R, T, V) of words read from strips of this height; the scale decides nothing."""
    with student.at_height(rows):
        return student.decoder(read_annotated(student, batch, scale).features.context, batch.texts)
