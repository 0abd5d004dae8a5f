"""Both heads together: against every path and every reading of small cases."""

import itertools

import numpy as np
import pytest
import torch

from dld.modeling.recognition.column_decoder import ColumnDecoder
from dld.modeling.recognition.ctc_beam_search import ctc_beam_search
from dld.modeling.recognition.joint_reading import aligned, joint_beams, read_jointly
from dld.strips.collapsing import collapse

V, C = 4, 6


@pytest.fixture
def case():
    """Logits (3, 4, 4) of CTC, columns (3, 4, 6), and a decoder of random weights."""
    torch.manual_seed(2)
    decoder = ColumnDecoder(C, 8, V + 1, V, V, 0).eval().requires_grad_(False)
    return 2 * torch.randn(3, 4, V), torch.randn(3, 4, C), decoder


def collapsed(path):
    return tuple(k for k, _ in itertools.groupby(path) if k)


def readings_by_hand(logits, decoder, columns, weight, allowed=None):
    """Return {reading: log p} of one word, of all paths that CTC can take and of every step of the decoder."""
    allowed = torch.ones(V, dtype=torch.bool) if allowed is None else allowed
    log_p = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
    ctc = {}
    for path in itertools.product(range(V), repeat=len(logits)):
        p = sum(float(log_p[t, k]) for t, k in enumerate(path))
        ctc[collapsed(path)] = np.logaddexp(ctc.get(collapsed(path), -np.inf), p)
    both = {}
    for reading, p in ctc.items():
        ids = torch.tensor([[*reading, 0]])
        said = decoder(columns[None], ids)[0].masked_fill(~allowed, -torch.inf).log_softmax(-1)
        both[reading] = (1 - weight) * p + weight * float(said[torch.arange(ids.shape[1]), ids[0]].sum())
    return both


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_readings_are_ranked_by_both_heads(case, weight):
    logits, columns, decoder = case
    # as many candidates as there are readings: nothing is missed
    beams = joint_beams(logits, decoder, columns, decoder_weight=weight, num_sequences=4, candidates=120)
    for r in range(3):
        wanted = sorted(readings_by_hand(logits[r], decoder, columns[r], weight).items(), key=lambda x: -x[1])[:4]
        for k, (reading, p) in enumerate(wanted):
            n = int(beams.lengths[r, k])
            assert tuple(beams.ids[r, k, :n].tolist()) == (*reading, 0) and (beams.ids[r, k, n:] == V).all()
            assert float(beams.log_probabilities[r, k]) == pytest.approx(p, abs=1e-4)


def test_all_readings_together_are_no_more_than_certain(case):
    logits, columns, decoder = case
    beams = joint_beams(logits, decoder, columns, decoder_weight=0.4, num_sequences=120)
    assert ((beams.log_probabilities.exp().sum(1) <= 1) & (beams.log_probabilities.exp().sum(1) > 0.1)).all()


def test_the_decoder_decides_between_what_ctc_proposes(case):
    """A CTC head that cannot tell 1 from 2, and a decoder that is sure of 2."""
    logits, columns, decoder = case
    logits = torch.zeros(1, 4, V)
    logits[:, :, 0] = 6
    logits[0, 1] = torch.tensor([0.0, 6.1, 6.0, 0.0])
    with torch.no_grad():
        decoder.output.bias.copy_(torch.tensor([0.0, 0.0, 4.0, 0.0]))
    (alone,), (both,) = (read_jointly(logits, decoder, columns[:1], w) for w in (0.0, 0.5))
    assert alone.ids.tolist() == [1] and both.ids.tolist() == [2]
    assert alone.columns.tolist() == both.columns.tolist() == [1]
    p = logits[0, 1].softmax(-1)
    np.testing.assert_allclose([alone.certainty[0], both.certainty[0]], [p[1], p[2]], rtol=1e-5)


def test_gaps_between_words_are_those_of_ctc(case):
    """Where CTC sees a gap nothing changes; elsewhere no reading with one is chosen, whatever the decoder says."""
    logits, columns, decoder = case
    logits = torch.full((2, 4, V), 0.0)
    logits[:, :, 0] = 6
    logits[0, 1] = torch.tensor([0.0, 6.1, 6.0, 0.0])
    logits[1, 1] = torch.tensor([0.0, 6.0, 6.1, 0.0])
    with torch.no_grad():
        decoder.output.bias.copy_(torch.tensor([0.0, 0.0, 6.0, 0.0]))
    for gap, wanted in ((None, [2, 2]), (2, [1, 2]), (1, [1, 2])):
        found = read_jointly(logits, decoder, columns[:2], 0.5, gap=gap)
        assert [x.ids.tolist() for x in found] == [[i] for i in wanted]
        p = [float(logits[r, 1].softmax(-1)[i]) for r, i in enumerate(wanted)]
        np.testing.assert_allclose([float(x.certainty[0]) for x in found], p, rtol=1e-5)


def test_only_allowed_classes_are_read(case):
    logits, columns, decoder = case
    allowed = torch.tensor([True, False, True, True])
    beams = joint_beams(logits, decoder, columns, decoder_weight=0.3, num_sequences=2, candidates=60, allowed=allowed)
    assert not (beams.ids == 1).any()
    wanted = max(readings_by_hand(logits[0], decoder, columns[0], 0.3, allowed).values())
    assert float(beams.log_probabilities[0, 0]) == pytest.approx(wanted, abs=1e-4)
    for read in read_jointly(logits, decoder, columns, 0.3, allowed):
        assert 1 not in read.ids and ((read.certainty > 0) & (read.certainty <= 1)).all()


def test_without_words_nothing_is_read(case):
    logits, columns, decoder = case
    assert read_jointly(logits[:0], decoder, columns[:0], 0.2) == []
    assert joint_beams(logits[:0], decoder, columns[:0], decoder_weight=0.2).ids.shape[:2] == (0, 3)


def test_arguments_out_of_range_are_named(case):
    logits, columns, decoder = case
    with pytest.raises(ValueError, match=r"decoder_weight must be in \[0, 1\], got 1.5"):
        joint_beams(logits, decoder, columns, decoder_weight=1.5)
    with pytest.raises(ValueError, match="candidates must be at least num_sequences = 3, got 2"):
        joint_beams(logits, decoder, columns, decoder_weight=0.5, candidates=2)


def test_a_reading_is_placed_by_its_most_probable_path():
    rng = np.random.default_rng(0)
    for _ in range(20):
        log_p = torch.from_numpy(2 * rng.standard_normal((5, 3))).log_softmax(-1).numpy()
        for reading in [(1,), (2, 1), (1, 1), (1, 2, 1), (2, 2, 1)]:
            paths = [p for p in itertools.product(range(3), repeat=5) if collapsed(p) == reading]
            best = max(paths, key=lambda p: sum(log_p[t, k] for t, k in enumerate(p)))
            runs, t = [], 0
            for k, run in itertools.groupby(best):
                size = len(list(run))
                if k:
                    runs.append((t, t + size, k))
                t += size
            found = aligned(log_p, np.array(reading))
            assert found.ids.tolist() == [k for *_, k in runs]
            assert found.columns.tolist() == [(a + b - 1) / 2 for a, b, _ in runs]
            np.testing.assert_allclose(found.certainty, [np.exp(log_p[a:b, k].max()) for a, b, k in runs], rtol=1e-6)


def test_the_reading_of_the_best_path_lies_where_it_collapses():
    logits = 3 * torch.randn(8, 12, 5, generator=torch.Generator().manual_seed(1))
    log_p = logits.log_softmax(-1)
    best = log_p.max(-1)
    for row, seen in zip(log_p, collapse(best.indices.numpy(), best.values.exp().numpy()), strict=True):
        found = aligned(row.numpy(), seen.ids)
        assert found.ids.tolist() == seen.ids.tolist() and found.columns.tolist() == seen.columns.tolist()
        assert (found.certainty >= seen.certainty - 1e-6).all()
    assert len(aligned(log_p[0].numpy(), np.zeros(0, int)).ids) == 0


def test_beams_of_ctc_alone_keep_their_order(case):
    logits, columns, decoder = case
    alone = ctc_beam_search(logits, num_sequences=3, beam_width=8)
    both = joint_beams(logits, decoder, columns, decoder_weight=0.0)
    assert torch.equal(alone.ids, both.ids[:, :, : alone.ids.shape[2]])
    torch.testing.assert_close(alone.log_probabilities, both.log_probabilities)
