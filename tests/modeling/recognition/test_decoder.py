import pytest
import torch
from torch import nn

from dld.modeling.recognition.column_decoder import ColumnDecoder
from dld.modeling.recognition.decoder import AttentionDecoder

R, L, C, V = 4, 7, 6, 9  # ids 0 (end) .. 8, start 9
START, END = 9, 0


def new_decoder(kind):
    torch.manual_seed(0)
    return kind(C, 8, num_inputs=V + 1, num_outputs=V, start=START, end=END)


@pytest.fixture(params=[AttentionDecoder, ColumnDecoder])
def decoder(request):
    return new_decoder(request.param)


@pytest.fixture
def context():
    return torch.randn(R, L, C, generator=torch.Generator().manual_seed(1))


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def never_ending(decoder):
    decoder.output.bias.data[END] = -1e4


def test_one_step_is_bahdanaus_attention(context):
    """e_l = v . tanh(W_k x_l + W_q h), a = softmax(e), LSTM([embed(y), sum_l a_l x_l])."""
    decoder = new_decoder(AttentionDecoder)
    memory = decoder.prepare(context)
    hidden, cell = torch.randn(R, 1, 8), torch.randn(R, 1, 8)
    state = decoder.initial_state(memory)._replace(hidden=hidden, cell=cell)
    logits, after = decoder.step(torch.full((R, 1), 5), state, memory)
    for r in range(R):
        energies = [
            decoder.energy.weight[0]
            @ torch.tanh(decoder.key.weight @ x + decoder.key.bias + decoder.query.weight @ hidden[r, 0])
            for x in context[r]
        ]
        weights = torch.stack(energies).softmax(0)
        glimpse = sum(a * x for a, x in zip(weights, context[r], strict=True))
        h, c = decoder.cell(torch.cat([decoder.embedding.weight[5], glimpse])[None], (hidden[r], cell[r]))
        torch.testing.assert_close(after.hidden[r], h)
        torch.testing.assert_close(after.cell[r], c)
        torch.testing.assert_close(logits[r, 0], decoder.output.weight @ h[0] + decoder.output.bias)


def test_forced_reading_is_the_same_as_feeding_the_prefix_step_by_step(decoder, context):
    targets = torch.randint(0, V, (R, 5))
    memory, previous = decoder.prepare(context), torch.full((R, 1), START)
    state, expected = decoder.initial_state(memory), []
    for t in range(5):
        logits, state = decoder.step(previous, state, memory)
        expected.append(logits[:, 0])
        previous = targets[:, t : t + 1]
    torch.testing.assert_close(decoder(context, targets), torch.stack(expected, 1))


def test_logits_of_a_step_do_not_see_its_own_or_later_targets(decoder, context):
    targets = torch.randint(0, V, (R, 5))
    changed = targets.clone()
    changed[:, 2:] = (changed[:, 2:] + 1) % V
    a, b = decoder(context, targets), decoder(context, changed)
    assert torch.equal(a[:, :3], b[:, :3]) and not torch.allclose(a[:, 3], b[:, 3])


def test_several_hypotheses_are_as_many_separate_readings(decoder, context):
    targets = torch.randint(0, V, (R, 3, 5))
    together = decoder(context, targets)
    assert together.shape == (R, 3, 5, V)
    for k in range(3):
        torch.testing.assert_close(together[:, k], decoder(context, targets[:, k]))


def test_keys_are_computed_once_however_many_steps_and_hypotheses(decoder, context):
    calls = count_calls(decoder.key)
    decoder(context, torch.randint(0, V, (R, 3, 6)))
    assert len(calls) == 1
    never_ending(decoder)
    decoder.greedy(context, 6)
    assert len(calls) == 2


def test_greedy_takes_the_most_probable_character_of_every_step(decoder, context):
    ids, probabilities = decoder.greedy(context, 12)
    memory, previous = decoder.prepare(context), torch.full((R, 1), START)
    state = decoder.initial_state(memory)
    ended = torch.zeros(R, dtype=torch.bool)
    for t in range(ids.shape[1]):
        logits, state = decoder.step(previous, state, memory)
        best = logits[:, 0].softmax(-1).max(-1)
        assert torch.equal(ids[:, t], torch.where(ended, END, best.indices))
        torch.testing.assert_close(probabilities[:, t], torch.where(ended, 1.0, best.values))
        ended |= best.indices == END
        previous = ids[:, t : t + 1]


def test_greedy_stops_when_every_word_has_ended(decoder, context):
    calls = count_calls(decoder.cell)
    decoder.output.bias.data[END] = 1e4
    ids, probabilities = decoder.greedy(context, 32, check_every=1)
    assert len(calls) == 1 and ids.tolist() == [[END]] * R
    ids, probabilities = decoder.greedy(context, 32, check_every=4)
    assert len(calls) == 5 and ids.shape == (R, 4)
    assert (ids == END).all() and (probabilities[:, 1:] == 1).all()


def test_greedy_gives_up_after_the_longest_word_and_its_end(decoder, context):
    never_ending(decoder)
    ids, probabilities = decoder.greedy(context, 6)
    assert ids.shape == probabilities.shape == (R, 7) and (ids != END).all()


def test_a_word_is_read_alike_alone_and_among_others(decoder, context):
    decoder.output.weight.data *= 20  # words of different lengths
    ids, probabilities = decoder.greedy(context, 10, check_every=1)
    for r in range(R):
        alone, p = decoder.greedy(context[r : r + 1], 10, check_every=1)
        n = alone.shape[1]
        assert torch.equal(alone[0], ids[r, :n]) and (ids[r, n:] == END).all()
        torch.testing.assert_close(p[0], probabilities[r, :n])


def test_words_that_ended_are_left_out_of_the_steps(decoder, monkeypatch):
    if isinstance(decoder, ColumnDecoder):
        nn.init.zeros_(decoder.glimpse.weight), nn.init.zeros_(decoder.glimpse.bias)
    # many words end at once, some later, some never
    decoder.output.weight.data *= 8
    decoder.output.bias.data[END] += 2
    decoder.cell.weight_ih.data *= 4
    many = 3 * torch.randn(60, L, C, generator=torch.Generator().manual_seed(5))
    rows, step = [], decoder.step
    monkeypatch.setattr(decoder, "step", lambda previous, *rest: rows.append(len(previous)) or step(previous, *rest))
    ids, probabilities = decoder.greedy(many, 30, check_every=2)
    assert rows[0] == 60 and rows == sorted(rows, reverse=True) and len(set(rows)) > 2 and rows[-1] < 10
    ends = (ids == END).float().argmax(1)
    assert len(ends.unique()) > 3, "words of several lengths"
    for r in (int(ends.argmin()), int(ends.argmax()), 30):
        alone, p = decoder.greedy(many[r : r + 1], 30, check_every=31)
        n = min(alone.shape[1], ids.shape[1])
        assert torch.equal(alone[0, :n], ids[r, :n])
        torch.testing.assert_close(p[0, :n], probabilities[r, :n])


def test_no_words_give_empty_results_and_zero_gradients(decoder):
    none = torch.zeros(0, L, C, requires_grad=True)
    assert [x.shape for x in decoder.greedy(none, 5)] == [(0, 0), (0, 0)]
    assert decoder(none, torch.zeros(0, 3, 2, dtype=torch.int64)).shape == (0, 3, 2, V)
    logits = decoder(none, torch.zeros(0, 5, dtype=torch.int64))
    assert logits.shape == (0, 5, V)
    logits.sum().backward()
    assert all((p.grad == 0).all() for p in decoder.parameters())


def test_autocast_changes_nothing(decoder, context):
    targets = torch.randint(0, V, (R, 5))
    with torch.autocast("cpu", torch.bfloat16):
        forced, read = decoder(context, targets), decoder.greedy(context, 5)
    assert torch.equal(forced, decoder(context, targets))
    assert torch.equal(read[1], decoder.greedy(context, 5)[1])


def test_greedy_tells_where_attention_looked(context):
    """The mean column under the weights a = softmax(v . tanh(W_k x + W_q h)) of each step, two from the peak, by hand."""
    decoder = new_decoder(AttentionDecoder)
    decoder.energy.weight.data *= 20
    ids, probabilities, columns = decoder.greedy_with_columns(context, 5, check_every=2)
    plain = decoder.greedy(context, 5, check_every=2)
    assert torch.equal(ids, plain[0]) and torch.equal(probabilities, plain[1])
    memory = decoder.prepare(context)
    state, previous = decoder.initial_state(memory), torch.full((R, 1), START)
    for t in range(ids.shape[1]):
        energy = decoder.energy(torch.tanh(memory.keys + decoder.query(state.hidden)))[..., 0]  # (R, L)
        mean = torch.zeros(R)
        for r, weights in enumerate(energy.softmax(-1).tolist()):
            near = [k for k in range(L) if abs(k - weights.index(max(weights))) <= 2]
            mean[r] = sum(k * weights[k] for k in near) / sum(weights[k] for k in near)
        over = (ids[:, :t] == END).any(1)
        torch.testing.assert_close(columns[:, t], mean.masked_fill(over, 0.0))
        _, state = decoder.step(previous, state, memory)
        previous = ids[:, t : t + 1]
    assert columns.std() > 0.1


def test_greedy_reads_allowed_classes_alone(decoder, context):
    never_ending(decoder)
    allowed = torch.tensor([True, False, True, True, *[False] * (V - 4)])
    assert set(decoder.greedy(context, 4)[0].unique().tolist()) - {2, 3}
    ids, probabilities, _ = decoder.greedy_with_columns(context, 4, allowed=allowed)
    assert set(ids.unique().tolist()) <= {2, 3}
    logits = decoder(context, ids)[..., [2, 3]]
    chosen = logits.softmax(-1).gather(-1, (ids - 2).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(probabilities, chosen, atol=1e-4, rtol=1e-4)


def test_one_step_of_a_column_decoder_sees_where_it_has_been(context):
    """e_l = v . tanh(W_k x_l + W_q h + W_s s_l), s = conv(what was seen); logits = W_o h + W_g g."""
    decoder = new_decoder(ColumnDecoder)
    memory = decoder.prepare(context)
    hidden, cell, seen = torch.randn(R, 1, 8), torch.randn(R, 1, 8), torch.rand(R, 1, L)
    state = decoder.initial_state(memory)
    assert state.seen.shape == (R, 1, L) and not state.seen.any()
    logits, after = decoder.step(torch.full((R, 1), 5), state._replace(hidden=hidden, cell=cell, seen=seen), memory)
    kernel = decoder.places.weight[:, 0]
    half = kernel.shape[1] // 2
    for r in range(R):
        energies = []
        for column, x in enumerate(context[r]):
            near = [(k, column + k - half) for k in range(kernel.shape[1]) if 0 <= column + k - half < L]
            places = sum(kernel[:, k] * seen[r, 0, at] for k, at in near)
            inside = (
                decoder.key.weight @ x + decoder.key.bias + decoder.query.weight @ hidden[r, 0] + decoder.place.weight @ places
            )
            energies.append(decoder.energy.weight[0] @ torch.tanh(inside))
        weights = torch.stack(energies).softmax(0)
        glimpse = weights @ context[r]
        h, c = decoder.cell(torch.cat([decoder.embedding.weight[5], glimpse])[None], (hidden[r], cell[r]))
        torch.testing.assert_close(after.hidden[r], h)
        torch.testing.assert_close(after.cell[r], c)
        torch.testing.assert_close(after.seen[r, 0], seen[r, 0] + weights)
        expected = decoder.output.weight @ h[0] + decoder.output.bias + decoder.glimpse.weight @ glimpse + decoder.glimpse.bias
        torch.testing.assert_close(logits[r, 0], expected)


def test_a_column_decoder_starts_as_the_head_of_what_it_looks_at(context):
    decoder, head = new_decoder(ColumnDecoder), nn.Linear(C, V)
    decoder.read_as(head)
    nn.init.zeros_(decoder.output.weight), nn.init.zeros_(decoder.output.bias)
    nn.init.zeros_(decoder.energy.weight)  # it looks at all columns alike
    logits, _ = decoder.step(torch.full((R, 1), START), decoder.initial_state(memory := decoder.prepare(context)), memory)
    expected = head(context.mean(1))
    torch.testing.assert_close(logits[:, 0, 1:], expected[:, 1:])
    assert not logits[:, 0, END].any(), "the blank of a head is no end"
