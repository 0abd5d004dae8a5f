"""Beam search against the list of all sequences, on vocabularies small enough to write it down."""

import itertools
import math

import pytest
import torch

from dld.modeling.recognition.beam_search import FEW, beam_search, select_best
from dld.modeling.recognition.column_decoder import ColumnDecoder
from dld.modeling.recognition.decoder import AttentionDecoder

END = 0


def random_decoder(V, seed=0, sharpness=4.0, dim=6, kind=AttentionDecoder):
    """A decoder whose distributions depend on the context and on the prefix; END and V - 1 characters."""
    torch.manual_seed(seed)
    decoder = kind(dim, dim, num_inputs=V + 1, num_outputs=V, start=V, end=END)
    with torch.no_grad():
        decoder.output.weight.mul_(sharpness)
        decoder.embedding.weight.mul_(2)
    return decoder


def constant_decoder(*probabilities):
    """A decoder with the same distribution at every step, of every word."""
    decoder = random_decoder(len(probabilities))
    with torch.no_grad():
        decoder.output.weight.zero_()
        decoder.output.bias.copy_(torch.tensor(probabilities).log())
    return decoder


def words(R, dim=6, seed=1):
    return torch.randn(R, 5, dim, generator=torch.Generator().manual_seed(seed))


def all_sequences(V, max_length, pad):
    """Every sequence of at most max_length characters and an end, and every unended one of max_length + 1."""
    rows = []
    for length in range(max_length + 1):
        rows += [[*c, END] for c in itertools.product(range(1, V), repeat=length)]
    rows += [list(c) for c in itertools.product(range(1, V), repeat=max_length + 1)]
    return torch.tensor([row + [pad] * (max_length + 1 - len(row)) for row in rows])


@torch.no_grad()
def score(decoder, context, ids):
    """log p of sequences (R, K, T) by forced reading, in float64."""
    log_p = decoder(context, ids).double().log_softmax(-1)
    chosen = log_p.gather(-1, ids.clamp(max=decoder.num_outputs - 1).unsqueeze(-1)).squeeze(-1)
    return (chosen * (ids != decoder.start)).sum(-1)


def as_lists(beams, pad):
    """The valid sequences of every word without their padding."""
    return [[[i for i in row if i != pad] for row in word if row[0] != pad] for word in beams.ids.tolist()]


def readings_by_brute_force(decoder, context, K, max_length, length_power=0.0):
    sequences = all_sequences(decoder.num_outputs, max_length, decoder.start)
    R = len(context)
    log_p = score(decoder, context, sequences.expand(R, -1, -1))
    lengths = (sequences != decoder.start).sum(-1)
    best = (log_p / lengths**length_power).topk(K, dim=1).indices
    texts = [[[i for i in sequences[j].tolist() if i != decoder.start] for j in row] for row in best.tolist()]
    return texts, log_p.gather(1, best).float()


@pytest.mark.parametrize("kind", [AttentionDecoder, ColumnDecoder])
@pytest.mark.parametrize(("V", "max_length"), [(2, 4), (3, 4), (4, 3), (5, 4)])
def test_wide_beam_finds_the_k_best_of_all_sequences(V, max_length, kind):
    K, context = 3, words(4)
    for seed in range(3):
        decoder = random_decoder(V, seed, kind=kind)
        # every live prefix and K ended sequences fit: the narrowest width for which the docstring promises the truth
        width = (V - 1) ** max_length + K
        beams = beam_search(decoder, context, num_sequences=K, beam_width=width, max_length=max_length, check_every=1)
        texts, log_p = readings_by_brute_force(decoder, context, K, max_length)
        assert as_lists(beams, decoder.start) == texts
        torch.testing.assert_close(beams.log_probabilities, log_p, rtol=1e-5, atol=1e-5)
        assert beams.lengths.tolist() == [[len(t) for t in word] for word in texts]
        assert beams.valid.all()


def test_probabilities_of_all_sequences_add_up_to_one():
    decoder, context = random_decoder(3), words(2)
    count = len(all_sequences(3, 3, pad=3))
    beams = beam_search(decoder, context, num_sequences=count, beam_width=count, max_length=3)
    assert beams.valid.all()
    torch.testing.assert_close(beams.log_probabilities.exp().sum(1), torch.ones(2))


@pytest.mark.parametrize("width", [3, 4, 7])
def test_narrow_beam_returns_distinct_sequences_with_exact_log_probabilities(width):
    decoder, context = random_decoder(12, sharpness=3.0), words(16)
    beams = beam_search(decoder, context, num_sequences=3, beam_width=width, max_length=7)
    torch.testing.assert_close(beams.log_probabilities, score(decoder, context, beams.ids).float(), rtol=1e-5, atol=1e-5)
    assert (beams.log_probabilities.diff(dim=1) <= 0).all()
    for word in as_lists(beams, decoder.start):
        assert len({tuple(row) for row in word}) == 3
        for row in word:
            assert END not in row[:-1] and (row[-1] == END or len(row) == 8)


def test_worked_by_hand():
    # end .6, a .4: "" .6, "a" .24, "aa" .096
    beams = beam_search(constant_decoder(0.6, 0.4), words(1), num_sequences=3, max_length=5)
    assert beams.ids.tolist() == [[[0, 2, 2], [1, 0, 2], [1, 1, 0]]]
    torch.testing.assert_close(beams.log_probabilities.exp(), torch.tensor([[0.6, 0.24, 0.096]]))
    assert beams.lengths.tolist() == [[1, 2, 3]]


def test_narrowest_beam_is_greedy_decoding():
    for seed in range(4):
        decoder, context = random_decoder(9, seed), words(20)
        beams = beam_search(decoder, context, num_sequences=1, beam_width=1, max_length=6)
        ids, probabilities = decoder.greedy(context, max_length=6)
        ids = ids[:, : beams.ids.shape[2]]
        first_end = ((ids == END).cumsum(1) - (ids == END).long()) == 0  # greedy repeats the end id, beams pad
        assert torch.equal(beams.ids[:, 0], torch.where(first_end, ids, decoder.start))
        torch.testing.assert_close(beams.log_probabilities[:, 0], probabilities.log().sum(1))


def test_wider_than_greedy_finds_what_greedy_misses():
    # "a" is the likeliest first letter, .5, but its mass is split between "ab" and "ac"; "b", .4, surely ends
    decoder = random_decoder(4)
    with torch.no_grad():
        for p in decoder.parameters():
            p.zero_()
        # the gates pass the one-hot embedding of the previous symbol straight to the output: a table of next symbols
        H = decoder.hidden_dim
        decoder.cell.bias_ih[:H] = 20.0  # input gate open
        decoder.cell.bias_ih[H : 2 * H] = -20.0  # forget gate shut
        decoder.cell.bias_ih[3 * H :] = 20.0  # output gate open
        decoder.cell.weight_ih[2 * H : 3 * H, :H] = 20.0 * torch.eye(H)
        saturated = math.tanh(1.0)
        for symbol, row in {4: 0, 1: 1, 2: 2, 3: 3}.items():
            decoder.embedding.weight[symbol, row] = 1.0
        sure_end = [0.97, 0.01, 0.01, 0.01]
        for row, table in enumerate([[0.05, 0.5, 0.4, 0.05], [0.02, 0.02, 0.48, 0.48], sure_end, sure_end]):
            decoder.output.weight[:, row] = torch.tensor(table).log() / saturated
    greedy = beam_search(decoder, words(1), num_sequences=1, beam_width=1, max_length=3)
    wider = beam_search(decoder, words(1), num_sequences=1, beam_width=2, max_length=3)
    assert as_lists(greedy, 4) == [[[1, 2, 0]]]
    assert as_lists(wider, 4) == [[[2, 0]]]
    assert greedy.log_probabilities.exp().item() == pytest.approx(0.5 * 0.48 * 0.97, rel=1e-3)
    assert wider.log_probabilities.exp().item() == pytest.approx(0.4 * 0.97, rel=1e-3)


def test_ties_go_to_the_better_prefix_then_to_the_smaller_id():
    # end, a, b equally likely: "" 1/3, then every word of one letter 1/9 (with its end) like every unended one
    decoder = constant_decoder(1 / 3, 1 / 3, 1 / 3)
    beams = beam_search(decoder, words(5), num_sequences=4, beam_width=9, max_length=1)
    assert as_lists(beams, decoder.start) == [[[0], [1, 0], [1, 1], [1, 2]]] * 5


def test_words_that_never_end_are_cut_with_the_log_probability_of_their_characters():
    decoder = constant_decoder(1.0, 0.6, 0.4)
    with torch.no_grad():
        decoder.output.bias[END] = -1e9
    beams = beam_search(decoder, words(2), num_sequences=3, beam_width=8, max_length=2)
    assert beams.ids[0, 0].tolist() == [1, 1, 1]
    assert beams.lengths.tolist() == [[3, 3, 3]] * 2
    assert not (beams.ids == END).any() and beams.valid.all()
    torch.testing.assert_close(beams.log_probabilities[0].exp(), torch.tensor([0.216, 0.144, 0.144]))


def test_words_that_end_at_once_are_empty():
    beams = beam_search(constant_decoder(1 - 2e-6, 1e-6, 1e-6), words(3), num_sequences=1, max_length=30)
    assert beams.ids.tolist() == [[[END]]] * 3
    assert beams.lengths.tolist() == [[1]] * 3


class StepCounter(AttentionDecoder):
    steps = 0

    def step(self, *args):
        self.steps += 1
        return super().step(*args)


@pytest.mark.parametrize(("check_every", "steps"), [(1, 3), (2, 4), (4, 4), (7, 7), (50, 31)])
def test_stops_at_the_first_look_after_the_k_best_ended(check_every, steps):
    # the three best, "", "a" and "aa", have ended after three steps although "aaa" is still alive in the beam
    decoder = StepCounter(6, 6, 3, 2, start=2, end=END)
    decoder.load_state_dict(constant_decoder(0.9, 0.1).state_dict())
    beams = beam_search(decoder, words(2), num_sequences=3, max_length=30, check_every=check_every)
    assert decoder.steps == steps
    assert beams.ids.tolist() == [[[0, 2, 2], [1, 0, 2], [1, 1, 0]]] * 2


def test_fewer_sequences_than_asked_for():
    # at most no characters: the end or one unended character
    beams = beam_search(constant_decoder(0.7, 0.3), words(2), num_sequences=3, max_length=0)
    assert beams.valid.tolist() == [[True, True, False]] * 2
    assert beams.ids.tolist() == [[[0], [1], [2]]] * 2
    assert beams.lengths.tolist() == [[1, 1, 0]] * 2
    torch.testing.assert_close(beams.log_probabilities[:, :2].exp(), torch.tensor([[0.7, 0.3]] * 2))
    assert torch.isneginf(beams.log_probabilities[:, 2]).all()


def test_impossible_characters_are_never_returned():
    # only "" is possible; the beam stays filled with nothing and still stops at the first look
    decoder = StepCounter(6, 6, 4, 3, start=3, end=END)
    decoder.load_state_dict(constant_decoder(1.0, 0.0, 0.0).state_dict())
    beams = beam_search(decoder, words(1), num_sequences=2, max_length=20)
    assert decoder.steps == 4
    assert beams.valid.tolist() == [[True, False]]
    assert beams.ids.tolist() == [[[0], [3]]]


def test_broken_words_are_invalid_and_leave_the_others_alone():
    decoder, context = random_decoder(5), words(3)
    whole = beam_search(decoder, context, max_length=4)
    context[1] = torch.nan
    broken = beam_search(decoder, context, max_length=4)
    assert broken.valid.tolist() == [[True] * 3, [False] * 3, [True] * 3]
    assert as_lists(broken, 5)[0] == as_lists(whole, 5)[0] and as_lists(broken, 5)[2] == as_lists(whole, 5)[2]
    assert not broken.log_probabilities.isnan().any()


def test_no_words():
    beams = beam_search(random_decoder(5), words(0), num_sequences=3, max_length=4)
    assert [x.shape[:2] for x in beams] == [(0, 3)] * 4
    assert beams.ids.dim() == 3
    assert [x.dtype for x in beams] == [torch.int64, torch.float32, torch.int64, torch.bool]
    assert random_decoder(5)(words(0), beams.ids).shape[:2] == (0, 3)


def test_a_word_reads_the_same_alone_and_in_a_batch():
    decoder, context = random_decoder(8), words(12)
    batch = beam_search(decoder, context, max_length=6)
    for r in range(12):
        alone = beam_search(decoder, context[r : r + 1], max_length=6)
        assert as_lists(alone, 8)[0] == as_lists(batch, 8)[r]
        torch.testing.assert_close(alone.log_probabilities[0], batch.log_probabilities[r], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length_power", [0.0, 1.0])
def test_words_that_are_settled_leave_the_search(length_power, monkeypatch):
    """And what they are read as stays: with and without looks, few words at a time and all of them."""
    decoder, context = random_decoder(6, sharpness=8), words(40) * 3
    with torch.no_grad():
        decoder.output.bias[END] += 3.0  # some end soon, some late
    read = []
    step = decoder.step
    monkeypatch.setattr(decoder, "step", lambda p, s, m: read.append(len(p)) or step(p, s, m))
    options = {"num_sequences": 2, "beam_width": 3, "max_length": 24, "length_power": length_power}
    looked = beam_search(decoder, context, check_every=1, **options)
    assert read[0] == 40 and read[-1] < 20 and read == sorted(read, reverse=True)
    read.clear()
    whole = beam_search(decoder, context, check_every=100, **options)
    assert read == [40] * 25
    assert as_lists(looked, 6) == as_lists(whole, 6)
    torch.testing.assert_close(looked.log_probabilities, whole.log_probabilities)
    assert looked.ids.shape == whole.ids.shape and torch.equal(looked.lengths, whole.lengths)


@pytest.mark.parametrize("count", [1, 3, FEW, FEW + 1])
def test_the_best_are_found_in_the_order_of_a_stable_sort(count):
    scores = torch.randint(0, 6, (50, 12), generator=torch.Generator().manual_seed(3)).float()
    scores[:, 5] = -torch.inf
    values, index = select_best(scores, count)
    expected, places = scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, expected[:, :count]) and torch.equal(index, places[:, :count])
    few = torch.full((2, 12), -torch.inf)
    few[:, 7] = 1.0
    assert select_best(few, 3)[0].tolist() == [[1.0, -torch.inf, -torch.inf]] * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_context_is_read_by_a_float32_decoder(dtype):
    decoder, context = random_decoder(6), words(4).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        beams = beam_search(decoder, context, max_length=5)
    expected = beam_search(decoder, context.float(), max_length=5)
    assert torch.equal(beams.ids, expected.ids)
    assert torch.equal(beams.log_probabilities, expected.log_probabilities)
    assert beams.log_probabilities.dtype == torch.float32


def test_length_power_prefers_longer_words_in_the_last_ranking_only():
    # sums: "" -.51, "a" -1.43, "aa" -2.34, unended "aaa" -2.75; a step: -.51, -.71, -.78, -.92
    decoder = constant_decoder(0.6, 0.4)
    plain = beam_search(decoder, words(1), num_sequences=4, beam_width=8, max_length=2)
    assert plain.lengths.tolist() == [[1, 2, 3, 3]]
    for power in (0.5, 1.0, 2.0):
        decoder, context = random_decoder(4, seed=5), words(6)
        beams = beam_search(decoder, context, num_sequences=3, beam_width=200, max_length=3, length_power=power, check_every=1)
        texts, log_p = readings_by_brute_force(decoder, context, 3, 3, length_power=power)
        assert as_lists(beams, 4) == texts
        torch.testing.assert_close(beams.log_probabilities, log_p, rtol=1e-5, atol=1e-5)


def test_carries_no_gradient():
    context = words(2).requires_grad_()
    assert not beam_search(random_decoder(4), context, max_length=3).log_probabilities.requires_grad


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"num_sequences": 0}, "num_sequences"),
        ({"beam_width": 2}, "beam_width"),
        ({"max_length": -1}, "max_length"),
        ({"check_every": 0}, "check_every"),
        ({"length_power": -0.5}, "length_power"),
    ],
)
def test_arguments_out_of_range_are_named(wrong, name):
    with pytest.raises(ValueError, match=name):
        beam_search(random_decoder(4), words(1), **{"num_sequences": 3, "max_length": 4, **wrong})


def test_allowed_classes_are_the_only_ones():
    """As if the decoder had no others: the readings of one whose outputs are cut to the end and two characters."""
    decoder, context = random_decoder(5), words(4)
    allowed = torch.tensor([True, False, True, False, True])
    beams = beam_search(decoder, context, num_sequences=3, beam_width=40, max_length=3, allowed=allowed)
    decoder.output.bias.data[~allowed] = -torch.inf
    expected = beam_search(decoder, context, num_sequences=3, beam_width=40, max_length=3)
    assert all(torch.equal(a, b) for a, b in zip(beams, expected, strict=True))
    assert set(beams.ids.unique().tolist()) <= {0, 2, 4, 5} and beams.valid.all()
