"""The teacher's targets: what it calls a word read right, and what its beams are."""

import pytest
import torch
from torch import nn

from dld.modeling.poolers.masked_roi_pooler import MaskedRoIPooler
from dld.modeling.recognition.beam_search import beam_search
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.modeling.recognition.encoder import RecognitionEncoder
from dld.modeling.recognition.recognizer import RecognitionFeatures, TextRecognizer
from dld.modeling.recognition.teacher_targets import teacher_targets
from dld.text.charset import Charset

CHARSET = Charset("abc")


@pytest.fixture
def recognizer():
    torch.manual_seed(3)
    decoder = AttentionDecoder(8, 8, CHARSET.num_inputs, CHARSET.num_outputs, CHARSET.start, CHARSET.end)
    with torch.no_grad():
        decoder.output.weight.mul_(6)
    return TextRecognizer(
        stem=nn.Identity(),
        pooler=MaskedRoIPooler(),
        encoder=RecognitionEncoder(4, 8, norm="BN", num_convs=1),
        decoder=decoder,
        charset=CHARSET,
        max_length=5,
    ).eval()


def features(recognizer, R):
    roi = torch.randn(R, 4, 8, 32, generator=torch.Generator().manual_seed(0))
    return RecognitionFeatures(roi, recognizer.encoder(roi))


def own_readings(recognizer, context):
    """What the recogniser reads, written as ground truth is: padding after the end."""
    ids, _ = recognizer.decoder.greedy(context, recognizer.max_length)
    after_end = (ids == CHARSET.end).cumsum(1) - (ids == CHARSET.end).long() > 0
    return ids.masked_fill(after_end, CHARSET.pad)


def test_a_teacher_reads_its_own_greedy_readings_right_and_nothing_else(recognizer):
    seen = features(recognizer, 6)
    own = own_readings(recognizer, seen.context)
    assert teacher_targets(recognizer, seen, own).correct.all()
    for t in range(own.shape[1]):
        other = own.clone()
        other[:, t] = (own[:, t] + 1) % CHARSET.num_outputs
        changed = own[:, t] != CHARSET.pad
        assert not teacher_targets(recognizer, seen, other).correct[changed].any()


def test_an_ignored_word_is_not_read_right(recognizer):
    seen = features(recognizer, 2)
    own = own_readings(recognizer, seen.context)
    own[1] = CHARSET.pad
    assert teacher_targets(recognizer, seen, own).correct.tolist() == [True, False]


def test_targets_are_the_teachers_and_carry_no_gradient(recognizer):
    seen = features(recognizer, 3)
    assert seen.context.requires_grad
    ids = torch.stack([CHARSET.encode(text, 5) for text in ("ab", "", "cabba")])
    targets = teacher_targets(recognizer, seen, ids, num_sequences=2, beam_width=4)
    assert torch.equal(targets.logits, recognizer.decoder(seen.context, ids))
    expected = beam_search(recognizer.decoder, seen.context, num_sequences=2, beam_width=4, max_length=5)
    assert all(torch.equal(a, b) for a, b in zip(targets.beams, expected, strict=True))
    assert torch.equal(targets.roi, seen.roi) and torch.equal(targets.context, seen.context)
    for x in (targets.roi, targets.context, targets.logits, targets.beams.log_probabilities):
        assert not x.requires_grad


def test_no_words(recognizer):
    targets = teacher_targets(recognizer, features(recognizer, 0), torch.zeros((0, 6), dtype=torch.int64))
    assert targets.correct.shape == (0,)
    assert targets.logits.shape == (0, 6, CHARSET.num_outputs)
    assert targets.beams.ids.shape[:2] == (0, 3)
