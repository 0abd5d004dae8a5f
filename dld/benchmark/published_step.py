"""The published algorithm read plainly: one image, one scale, one word at a time. Our training step is measured against it."""

import torch

from dld.modeling.losses.feature_distillation import character_kl, image_kl
from dld.modeling.meta_arch.annotated_words import at_scale
from dld.modeling.meta_arch.scale_trial import batch_norm_in_eval
from dld.modeling.recognition.beam_search import BeamSequences
from dld.modeling.recognition.decoder import DecoderState
from dld.modeling.recognition.recognizer import trim
from dld.modeling.recognition.teacher_targets import TeacherTargets
from dld.modeling.resolution.rescale import group_by_scale
from dld.modeling.resolution.scale_comparison import ScaleComparison

MEAN_OVER = {"loss_rec": "steps", "loss_cls": "proposals", "loss_box_reg": "proposals", "loss_mask": "foreground",
             **dict.fromkeys(("loss_ctc", "loss_kd_roi", "loss_kd_context", "loss_kd_sequence"), "words")}  # fmt: skip


@torch.no_grad()
def search_word_by_word(decoder, context, K, B, max_length):
    """The beams of `beam_search` for context (R, L, C), each word by itself with its hypotheses batched."""
    ids = torch.full((len(context), K, max_length + 1), decoder.start, device=context.device)
    scores = torch.full((len(context), K), -torch.inf, device=context.device)
    for word in range(len(context)):
        memory, beam = decoder.prepare(context[word : word + 1]), [(0.0, [], 0)]
        state = decoder.initial_state(memory)
        while any(p[-1:] != [decoder.end] and len(p) <= max_length for _, p, _ in beam[:K]):
            last = torch.tensor([[p[-1] if p else decoder.start for _, p, _ in beam]], device=context.device)
            logits, state = decoder.step(last, state, memory)
            best = logits[0].float().log_softmax(-1).topk(min(B, logits.shape[-1]))
            values, symbols, grown = best.values.tolist(), best.indices.tolist(), []
            for row, (score, prefix, _) in enumerate(beam):
                more = [(score + v, [*prefix, s], row) for v, s in zip(values[row], symbols[row], strict=True)]
                grown += [(score, prefix, row)] if prefix[-1:] == [decoder.end] else more
            beam = sorted(grown, key=lambda hypothesis: -hypothesis[0])[:B]
            state = DecoderState(*(x[:, [row for *_, row in beam]] for x in state))
        for k, (score, prefix, _) in enumerate(beam[:K]):
            ids[word, k, : len(prefix)], scores[word, k] = torch.tensor(prefix), score
    return BeamSequences(ids, scores, (ids != decoder.start).sum(-1), scores > -torch.inf)


def published_step(model, batched_inputs):
    """Losses of a `DistillMetaArch` by name, and what its teacher said of each image; batch norm must be frozen."""
    student, recognizer, pad = model.student, model.teacher.roi_heads.recognizer, model.charset.pad
    images, words = model.normalize(batched_inputs), [x["instances"].to(model.device) for x in batched_inputs]
    search = (model.num_sequences, model.beam_width, recognizer.max_length)
    texts, sizes = [trim(x.gt_text[x.gt_readable], pad) for x in words], [tuple(x.shape[-2:]) for x in images]

    targets, kl = [], []
    with torch.no_grad(), batch_norm_in_eval(student):
        for i, ids in enumerate(texts):
            batch, here = at_scale(student, images[i : i + 1], words[i : i + 1], 1.0)
            seen, valid = model.teacher.recognize(batch.tensor, here)[0], ids != pad
            logits = recognizer.decoder(seen.context, ids).float()
            right = ((logits.argmax(-1) == ids) | ~valid).all(1) & valid.any(1)
            beams = search_word_by_word(recognizer.decoder, seen.context, *search)
            targets.append(TeacherTargets(seen.roi, seen.context, logits, beams, right))
            for batch, here in (at_scale(student, images[i : i + 1], words[i : i + 1], scale) for scale in model.scales):
                again = student.roi_heads.recognizer.decoder(student.recognize(batch.tensor, here)[0].context, ids)
                kl.append(image_kl(character_kl(again, logits, valid), ids.new_zeros(len(ids)), 1, right)[0])
    cost = model.cost_table.costs(sizes, [int((~x.gt_ignore).sum()) for x in words]).to(model.device)
    comparison = ScaleComparison(torch.cat(kl).view(cost.shape), cost, torch.stack([x.correct.any() for x in targets]))
    scores = torch.cat([model.score_scales([image]) for image in images])
    loss, choice = model.objective.of_scores(scores, comparison, float(model.temperature))
    found, counts, total, scales = [], [], {}, [model.scales[c] for c in choice.tolist()]
    for i, ids in enumerate(texts):
        losses, reading, _ = student.losses(*at_scale(student, images[i : i + 1], words[i : i + 1], scales[i]))
        found.append({**losses, **model.distillation_losses(reading, targets[i], torch.arange(len(ids)), ids)})
        sampled = dict(zip(("proposals", "foreground"), student.roi_heads.sampled, strict=True))
        counts.append({"images": 1, "words": len(ids), "steps": (ids != pad).sum(), **sampled})
    for together in group_by_scale(sizes, scales, student.backbone.size_divisibility).values():
      for i in together:
        for name, value in found[i].items():
            of = MEAN_OVER.get(name, "images")  # what the loss is a mean over
            all_of_it = sum(c[of] for c in counts) if of in ("words", "steps") else sum(counts[j][of] for j in together)
            share = counts[i][of] / max(all_of_it, 1) * (1 if of in ("words", "steps") else len(together) / len(images))
            total[name] = total.get(name, 0) + share * value * (model.weights["rec"] if name in ("loss_rec", "loss_ctc") else 1)
    return {"loss_selector": model.weights["selector"] * loss, **total}, targets
