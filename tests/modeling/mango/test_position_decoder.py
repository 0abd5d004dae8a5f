"""Positions as a decoder: sequences are products, beams are exact, greedy reading ends at the first end."""

import itertools

import pytest
import torch

from dld.modeling.losses.sequence_distillation import sequence_log_probabilities
from dld.modeling.mango.position_decoder import PositionDecoder
from dld.modeling.recognition.beam_search import beam_search

V, END, START, LENGTH = 4, 0, 4, 3


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    decoder = PositionDecoder(5, 8, V, START, END, LENGTH + 1)
    with torch.no_grad():
        decoder.output.weight.mul_(6)
        decoder.output.bias[END] += 1
    return decoder


def all_sequences():
    """Every reading of at most LENGTH characters and its end, and those that are cut without one."""
    for length in range(LENGTH + 1):
        for word in itertools.product(range(1, V), repeat=length):
            yield [*word, END] + [START] * (LENGTH - length)
    yield from ([*word] for word in itertools.product(range(1, V), repeat=LENGTH + 1))


@pytest.mark.parametrize("K", [1, 3, 6])
def test_beams_are_the_best_of_all_sequences(decoder, K):
    context = torch.randn(20, LENGTH + 1, 5)
    ids = torch.tensor(list(all_sequences()))
    log_probabilities = torch.stack([sequence_log_probabilities(decoder(c[None], ids[None])[0], ids, START) for c in context])
    torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(20))
    best = log_probabilities.topk(K, 1)
    found = beam_search(decoder, context, num_sequences=K, beam_width=K, max_length=LENGTH, check_every=1)
    torch.testing.assert_close(found.log_probabilities, best.values)
    padded = torch.nn.functional.pad(found.ids, (0, LENGTH + 1 - found.ids.shape[2]), value=START)
    assert torch.equal(padded, ids[best.indices])


def test_steps_read_positions_whatever_was_fed(decoder):
    context = torch.randn(2, LENGTH + 1, 5)
    memory = decoder.prepare(context)
    state = decoder.initial_state(memory, 3)
    logits = []
    for _ in range(LENGTH + 1):
        step, state = decoder.step(torch.randint(V, (2, 3)), state, memory)
        logits.append(step)
    torch.testing.assert_close(torch.stack(logits, 2), decoder(context, torch.zeros(2, 3, LENGTH + 1, dtype=torch.int64)))
    assert decoder(context, torch.zeros(2, 2, dtype=torch.int64)).shape == (2, 2, V)
    with pytest.raises(ValueError, match="a word of 5 steps is longer than the 4 positions"):
        decoder(context, torch.zeros(2, 5, dtype=torch.int64))


def test_an_ended_word_is_not_pushed_out_by_prefixes_that_lead_nowhere():
    """The empty word, 0.4, is best: "1", 0.6, has no continuation of more than a third."""
    decoder = PositionDecoder(1, 2, V, START, END, LENGTH + 1)
    probabilities = torch.full((1, LENGTH + 1, V), 1 / 3)
    probabilities[:, :, END] = 1e-9
    probabilities[0, 0] = torch.tensor([0.4, 0.6, 1e-9, 1e-9])
    decoder.logits = lambda context: probabilities.log()
    found = beam_search(decoder, torch.zeros(1, LENGTH + 1, 1), num_sequences=1, beam_width=1, max_length=LENGTH)
    assert found.ids.tolist() == [[[END]]] and float(found.log_probabilities.exp()) == pytest.approx(0.4)


def test_of_few_sequences_all_are_found(decoder):
    """Words of one character at most: the empty one, three that end, nine that are cut."""
    found = beam_search(decoder, torch.randn(2, LENGTH + 1, 5), num_sequences=20, beam_width=20, max_length=1)
    assert found.valid.sum(1).tolist() == [13, 13] and (found.lengths[:, 13:] == 0).all()
    torch.testing.assert_close(found.log_probabilities.exp().sum(1), torch.ones(2))
    only = torch.tensor([True, True, False, False])
    found = beam_search(decoder, torch.randn(2, LENGTH + 1, 5), num_sequences=3, beam_width=3, max_length=1, allowed=only)
    assert set(found.ids.flatten().tolist()) == {END, 1, START}


def test_greedy_reading_takes_the_best_of_each_position_and_ends(decoder):
    context = torch.randn(30, LENGTH + 1, 5)
    ids, probabilities = decoder.greedy(context, LENGTH)
    ended = (ids == END).cumsum(1) > 1
    assert ended.any() and (probabilities[ended] == 1).all() and (ids[ended] == END).all()
    best = decoder.logits(context).softmax(-1).max(-1)
    over = (ids == END).cumsum(1) - (ids == END).long() > 0
    assert torch.equal(ids[~over], best.indices[~over])
    torch.testing.assert_close(probabilities[~over], best.values[~over])


def test_no_words_are_read_and_the_graph_stays(decoder):
    context = torch.zeros(0, LENGTH + 1, 5, requires_grad=True)
    logits = decoder(context, torch.zeros(0, 2, dtype=torch.int64))
    logits.sum().backward()
    assert logits.shape == (0, 2, V) and all(p.grad is not None for p in decoder.parameters())
