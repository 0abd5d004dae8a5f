"""The published algorithm taken literally: one image, one scale, one word at a time. Our step is measured against it."""

from typing import NamedTuple

import torch

from dld.modeling.losses.feature_distillation import character_kl, image_kl
from dld.modeling.meta_arch.distill import READING_UNITS
from dld.modeling.meta_arch.scale_trial import batch_norm_in_eval
from dld.modeling.recognition.beam_search import BeamSequences
from dld.modeling.recognition.decoder import DecoderState
from dld.modeling.recognition.teacher_targets import TeacherTargets
from dld.modeling.resolution.scale_comparison import ScaleComparison
from dld.modeling.sampling import image_generators


class Hypothesis(NamedTuple):
    """A beginning of a word."""

    score: float  # log-probability
    prefix: list[int]  # ids
    row: int  # of the state that it continues


@torch.no_grad()
def search_word_by_word(decoder, context, K, B, max_length):
    """Find the beams of `beam_search` for context (R, L, C), each word by itself with its hypotheses batched."""
    ids = torch.full((len(context), K, max_length + 1), decoder.start, device=context.device)
    scores = torch.full((len(context), K), -torch.inf, device=context.device)
    for word in range(len(context)):
        memory = decoder.prepare(context[word : word + 1])
        state = decoder.initial_state(memory)
        beam = [Hypothesis(0.0, [], 0)]
        while any(h.prefix[-1:] != [decoder.end] and len(h.prefix) <= max_length for h in beam[:K]):
            last = torch.tensor([[h.prefix[-1] if h.prefix else decoder.start for h in beam]], device=context.device)
            logits, state = decoder.step(last, state, memory)
            best = logits[0].float().log_softmax(-1).topk(min(B, logits.shape[-1]))
            values, symbols = best.values.tolist(), best.indices.tolist()
            grown = []
            for row, (score, prefix, _) in enumerate(beam):
                if prefix[-1:] == [decoder.end]:
                    grown.append(Hypothesis(score, prefix, row))
                    continue
                for value, symbol in zip(values[row], symbols[row], strict=True):
                    grown.append(Hypothesis(score + value, [*prefix, symbol], row))
            beam = sorted(grown, key=lambda hypothesis: -hypothesis.score)[:B]
            state = DecoderState(*(x[:, [h.row for h in beam]] for x in state))
        for k, (score, prefix, _) in enumerate(beam[:K]):
            ids[word, k, : len(prefix)] = torch.tensor(prefix)
            scores[word, k] = score
    return BeamSequences(ids, scores, (ids != decoder.start).sum(-1), scores > -torch.inf)


def published_step(model, batched_inputs):
    """Compute losses of a `DistillMetaArch` by name, and its teacher's targets of each image; batch norm must be frozen."""
    images = [model.annotate([record]) for record in batched_inputs]
    targets, comparison = compare_image_by_image(model, images)
    selector, generators = model.selector, image_generators([image.seeds[0] for image in images])
    scores = torch.cat([model.score_scales(image.images) for image in images])
    loss, choice = selector.objective.learn(scores, comparison, selector.gamma, selector.uniform_share, generators)
    scales = [model.scales[c] for c in choice.tolist()]

    found, counts = [], []
    for image, said, scale in zip(images, targets, scales, strict=True):
        part = image.at_scale([0], scale, model.student)
        read = model.student.losses(part.images, part.words, part.seeds)
        every_word = torch.arange(len(image.texts))
        found.append({**read.losses, **model.distillation_losses(read.features, said, every_word, image.texts)})
        counts.append({"image": 1, **image.counts, **read.counts})

    return {"loss_selector": model.weights["selector"] * loss, **put_together(found, counts, model)}, targets


@torch.no_grad()
def compare_image_by_image(model, images):
    """Compute the teacher's targets of each image, and what every scale loses on it, one scale after another."""
    teacher, student = model.teacher, model.student
    targets, kl = [], []
    with batch_norm_in_eval(student):
        for image in images:
            ids, valid = image.texts, image.texts != image.pad
            part = image.at_scale([0], 1.0, student)
            seen = teacher.recognize(part.images, part.words)[0]
            logits = teacher.decoder(seen.context, ids).float()
            right = ((logits.argmax(-1) == ids) | ~valid).all(1) & valid.any(1)
            beams = search_word_by_word(
                teacher.decoder, seen.context, model.num_sequences, model.beam_width, teacher.max_length
            )
            targets.append(TeacherTargets(seen.roi, seen.context, logits, beams, right))
            for scale in model.scales:
                part = image.at_scale([0], scale, student)
                again = student.decoder(student.recognize(part.images, part.words)[0].context, ids)
                kl.append(image_kl(character_kl(again, logits, valid), ids.new_zeros(len(ids)), 1, right)[0])
    words = [int((~image.words[0].gt_ignore).sum()) for image in images]
    cost = model.cost_table.costs([image.sizes[0] for image in images], words).to(model.device)
    counted = torch.stack([x.correct.any() for x in targets])
    return targets, ScaleComparison(torch.cat(kl).view(cost.shape), cost, counted)


def put_together(found, counts, model):
    """Combine the losses of single images into those of the batch: means over images, words, characters or proposals."""
    total = {}
    for losses, own in zip(found, counts, strict=True):
        for name, value in losses.items():
            unit = model.loss_units.get(name, "image")
            share = own[unit] / max(sum(c[unit] for c in counts), 1)
            weight = model.weights["rec"] if model.student.loss_units.get(name) in READING_UNITS else 1
            total[name] = total.get(name, 0) + share * value * weight
    return total
