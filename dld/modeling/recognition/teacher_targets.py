"""The teacher's targets for the words of a batch, from which the student learns."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from dld.modeling.recognition.beam_search import BeamSequences, beam_search
from dld.modeling.recognition.ctc_beam_search import ctc_beam_search
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.modeling.recognition.encoder import Layers
from dld.modeling.recognition.recognizer import RecognitionFeatures
from dld.text.charset import Charset

__all__ = ["BEAMS", "TeacherTargets", "teacher_targets"]

# heads of the teacher that give its best readings
BEAMS = ("attention", "ctc")


class Reads(Protocol):
    """The part of a teacher that this module needs."""

    decoder: AttentionDecoder
    charset: Charset
    max_length: int

    def ctc_logits(self, features: RecognitionFeatures) -> torch.Tensor: ...


class TeacherTargets(NamedTuple):
    """The teacher's view of R words; no gradient flows into any of it."""

    roi: torch.Tensor  # (R, C, H, W) masked crops
    context: torch.Tensor  # (R, L, C) context features
    logits: torch.Tensor  # float32 (R, T, V), with the ground-truth prefix fed to the decoder
    beams: BeamSequences  # the K best readings: of the decoder, each on its own prefix, or of the CTC head
    correct: torch.Tensor  # bool (R,), words that the teacher reads correctly
    layers: Layers | None = None  # what the layers of its recogniser gave, where they are asked for


@torch.no_grad()
def teacher_targets(
    reader: Reads,
    features: RecognitionFeatures,
    target_ids: torch.Tensor,
    num_sequences: int = 3,
    beam_width: int | None = None,
    beams: str = "attention",
) -> TeacherTargets:
    """Compute the targets of the feature, character and sequence distillation losses.

    The decoder is fed the ground-truth prefix. A word counts as read correctly if the most probable character equals the
    ground truth at every step, the end symbol included: then greedy decoding gives exactly this text. A row that consists
    of padding only (an ignored word) counts as misread.

    Args:
        reader: the teacher, in eval mode: a spotter, or its recogniser.
        features: the teacher's features of R words.
        target_ids: ground truth, int64 (R, T), padded as by `Charset.encode`.
        num_sequences: K sequences a word.
        beam_width: hypotheses kept, see :func:`beam_search`.
        beams: which head gives the sequences: "attention", or "ctc", see :func:`ctc_beam_search`. The other targets are the
            decoder's either way.
    """
    logits = reader.decoder(features.context, target_ids).float()
    valid = target_ids != reader.charset.pad
    agrees = logits.argmax(-1) == target_ids
    options = {"num_sequences": num_sequences, "beam_width": beam_width, "max_length": reader.max_length}
    if beams == "ctc":
        sequences = ctc_beam_search(reader.ctc_logits(features), **options)
    else:
        sequences = beam_search(reader.decoder, features.context, **options)
    return TeacherTargets(
        roi=features.roi.detach(),
        context=features.context.detach(),
        logits=logits,
        beams=sequences,
        correct=(agrees | ~valid).all(1) & valid.any(1),
        layers=features.layers,
    )
