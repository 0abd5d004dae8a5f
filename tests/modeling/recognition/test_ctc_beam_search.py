"""Prefix beam search against the list of all paths, on columns and classes few enough to write it down."""

import itertools
import math

import pytest
import torch

from dld.modeling.recognition.ctc_beam_search import ctc_beam_search

EVERYTHING = 157  # more than there are readings in any of these tests


def columns(R, L, V, seed=0, spread=2.0, dtype=torch.float64):
    return torch.randn(R, L, V, generator=torch.Generator().manual_seed(seed), dtype=dtype) * spread


def all_readings(logits):
    """Every reading of logits (L, V) and its probability: the sum over its paths, each collapsed by hand."""
    p = logits.double().softmax(-1).tolist()
    found = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(p)):
        reading = tuple(c for c, _ in itertools.groupby(path) if c != 0)
        found[reading] = found.get(reading, 0.0) + math.prod(column[c] for column, c in zip(p, path, strict=True))
    return found


def best_readings(logits, K, max_length=EVERYTHING):
    some = {r: p for r, p in all_readings(logits).items() if len(r) <= max_length and p > 0}
    return sorted(some.items(), key=lambda pair: -pair[1])[:K]


def as_lists(beams, V):
    """The valid readings of every word and their probabilities; each has its end, then padding."""
    words = []
    for ids, log_p, lengths, valid in zip(*(x.tolist() for x in beams), strict=True):
        words.append([])
        for row, p, length, there in zip(ids, log_p, lengths, valid, strict=True):
            if there:
                assert row[length - 1 :] == [0] + [V] * (len(row) - length) and 0 not in row[: length - 1]
                words[-1].append((tuple(row[: length - 1]), math.exp(p)))
            else:
                assert row == [V] * len(row) and length == 0 and p == -math.inf
    return words


def assert_readings(got, expected, rel=1e-9):
    assert [r for r, _ in got] == [r for r, _ in expected]
    assert [p for _, p in got] == pytest.approx([p for _, p in expected], rel=rel)


@pytest.mark.parametrize(("V", "L"), [(2, 1), (2, 6), (3, 5), (4, 4), (6, 3)])
def test_a_wide_beam_finds_the_best_readings_with_their_whole_probabilities(V, L):
    for seed in range(3):
        logits = columns(4, L, V, seed)
        beams = as_lists(ctc_beam_search(logits, num_sequences=4, beam_width=EVERYTHING), V)
        for word, found in zip(logits, beams, strict=True):
            assert_readings(found, best_readings(word, 4))


def test_the_probabilities_of_all_readings_add_up_to_1():
    logits = columns(3, 4, 3)
    beams = ctc_beam_search(logits, num_sequences=EVERYTHING, beam_width=EVERYTHING)
    torch.testing.assert_close(beams.log_probabilities.exp().sum(1), torch.ones(3, dtype=torch.float64))
    assert beams.valid.sum(1).tolist() == [len(all_readings(word)) for word in logits]
    assert (beams.log_probabilities[:, 1:] <= beams.log_probabilities[:, :-1]).all()


def test_float32_is_as_exact_as_its_digits():
    logits = columns(4, 5, 3, dtype=torch.float32)
    beams = ctc_beam_search(logits, num_sequences=3, beam_width=EVERYTHING)
    assert beams.log_probabilities.dtype == torch.float32
    for word, found in zip(logits, as_lists(beams, 3), strict=True):
        assert_readings(found, best_readings(word, 3), rel=1e-4)
    assert ctc_beam_search(logits.bfloat16()).log_probabilities.dtype == torch.float32


def test_two_ways_to_one_prefix_are_one_prefix():
    """By hand: "a" is read from a-, -a and aa. No single path of it is as probable as the one of "", their sum is more so."""
    logits = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    (found,) = as_lists(ctc_beam_search(logits, num_sequences=2), 2)
    assert_readings(found, [((1,), 0.24 + 0.24 + 0.16), ((), 0.36)], rel=1e-5)


def test_a_prefix_that_left_the_beam_and_comes_back_is_one_with_its_child():
    """ "a" gives way while "aa" stays; found again, it must grow into the "aa" that is there, not into a second one."""
    for seed in range(25):
        logits = columns(2, 7, 3, seed, spread=1.0)
        for B in (2, 3, 4):
            for word, found in zip(logits, as_lists(ctc_beam_search(logits, num_sequences=B, beam_width=B), 3), strict=True):
                readings = [r for r, _ in found]
                assert len(set(readings)) == len(readings) == B
                exact = all_readings(word)
                assert all(p <= exact[r] * (1 + 1e-9) for r, p in found)


@pytest.mark.parametrize("B", [1, 2, 3, 5, 9])
def test_a_narrow_beam_never_claims_more_than_there_is(B):
    logits = columns(6, 5, 4, seed=B)
    for word, found in zip(logits, as_lists(ctc_beam_search(logits, num_sequences=1, beam_width=B), 4), strict=True):
        exact = all_readings(word)
        assert found and all(p <= exact[r] * (1 + 1e-9) for r, p in found)


def test_repeated_characters_need_a_blank_between_them():
    a, b = torch.tensor([0.0, 1, 0]), torch.tensor([1.0, 0, 0])  # the character for certain, the blank for certain
    words = torch.stack([torch.stack(w) for w in ([a, a, a], [a, b, a], [b, a, a], [b, b, b])]).log()
    found = as_lists(ctc_beam_search(words), 3)
    assert found == [[((1,), 1.0)], [((1, 1), 1.0)], [((1,), 1.0)], [((), 1.0)]]


def test_what_cannot_be_has_no_probability_and_makes_no_nan():
    logits = columns(8, 4, 4)
    logits[torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.65] = -math.inf
    logits[0, 2] = -math.inf  # nothing is possible in this column, so no reading is
    beams = ctc_beam_search(logits, num_sequences=5, beam_width=EVERYTHING)
    assert not beams.log_probabilities.isnan().any() and not beams.valid[0].any()
    found = as_lists(beams, 4)
    for word, own in zip(logits[1:], found[1:], strict=True):
        possible = (word > -math.inf).any(1).all()
        assert_readings(own, best_readings(word, 5) if possible else [])
    assert any(0 < len(own) < 5 for own in found)


def test_fewer_characters_are_allowed():
    logits = columns(5, 4, 5)
    allowed = torch.tensor([True, False, True, False, True])
    beams = ctc_beam_search(logits, num_sequences=4, beam_width=EVERYTHING, allowed=allowed)
    kept = logits.masked_fill(~allowed, -math.inf)  # probabilities are those among what is allowed
    for word, found in zip(kept, as_lists(beams, 5), strict=True):
        assert_readings(found, best_readings(word, 4))
    narrow = ctc_beam_search(logits, allowed=allowed)
    assert set(narrow.ids.unique().tolist()) <= {0, 2, 4, 5}


def test_each_word_has_its_own_columns():
    logits, lengths = columns(4, 5, 3), torch.tensor([5, 2, 0, 3])
    together = ctc_beam_search(logits, num_sequences=3, beam_width=EVERYTHING, lengths=lengths)
    for word, n, found in zip(logits, lengths.tolist(), as_lists(together, 3), strict=True):
        assert_readings(found, best_readings(word[:n], 3) if n else [((), 1.0)])
    noise = torch.where(torch.arange(5)[:, None] < lengths[:, None, None], logits, torch.nan)
    for one, other in zip(
        together, ctc_beam_search(noise, num_sequences=3, beam_width=EVERYTHING, lengths=lengths), strict=True
    ):
        assert torch.equal(one, other), "nothing beyond a word's columns counts"


def test_a_word_reads_the_same_alone():
    logits, lengths = columns(6, 8, 7), torch.tensor([8, 3, 5, 1, 8, 6])
    together = ctc_beam_search(logits, num_sequences=2, beam_width=4, lengths=lengths)
    for r, n in enumerate(lengths.tolist()):
        alone = ctc_beam_search(logits[r : r + 1, :n], num_sequences=2, beam_width=4)
        assert as_lists(alone, 7)[0] == as_lists(together, 7)[r]


@pytest.mark.parametrize("longest", [0, 1, 2])
def test_longer_readings_are_left_out_and_the_others_stay_exact(longest):
    logits = columns(3, 4, 3)
    beams = ctc_beam_search(logits, num_sequences=3, beam_width=EVERYTHING, max_length=longest)
    assert beams.ids.shape[2] <= longest + 1
    for word, found in zip(logits, as_lists(beams, 3), strict=True):
        assert_readings(found, best_readings(word, 3, longest))


def test_of_many_classes_the_same_readings_as_of_all():
    """A prefix grows by the best characters of a column only: with a beam of 2 three of 40 are looked at."""
    logits = columns(5, 6, 40, spread=3.0)
    for word, found in zip(logits, as_lists(ctc_beam_search(logits, num_sequences=2, beam_width=2), 40), strict=True):
        assert_readings(found, plain_search(word, 2))


def plain_search(logits, B):
    """The same search written with a dictionary, one word and one class at a time."""
    beam = {(): (1.0, 0.0)}
    for p in logits.softmax(-1).tolist():
        grown = {}

        def add(prefix, blank, letter, grown=grown):
            old = grown.get(prefix, (0.0, 0.0))
            grown[prefix] = (old[0] + blank, old[1] + letter)

        for prefix, (blank, letter) in beam.items():
            add(prefix, (blank + letter) * p[0], letter * p[prefix[-1]] if prefix else 0.0)
            for c in range(1, len(p)):
                add((*prefix, c), 0.0, (blank if prefix and c == prefix[-1] else blank + letter) * p[c])
        beam = dict(sorted(grown.items(), key=lambda pair: -sum(pair[1]))[:B])
    return [(prefix, sum(p)) for prefix, p in beam.items()]


@pytest.mark.parametrize("B", [2, 3, 5, 12])
def test_like_the_search_with_a_dictionary(B):
    logits = columns(8, 12, 6, seed=B)
    for word, found in zip(logits, as_lists(ctc_beam_search(logits, num_sequences=B, beam_width=B), 6), strict=True):
        assert_readings(found, plain_search(word, B))


def test_ties_are_decided_in_one_way():
    even = torch.zeros(2, 2, 3)
    beams = ctc_beam_search(even, num_sequences=7, beam_width=20)
    assert torch.equal(beams.ids[0], beams.ids[1])
    (found, _) = as_lists(beams, 3)
    # "a" and "b" have three of nine paths each, the others one: the empty one has not grown, "ab" is the smaller
    assert [r for r, _ in found] == [(1,), (2,), (), (1, 2), (2, 1)]


def test_no_words_no_columns():
    none = ctc_beam_search(torch.zeros(0, 5, 4))
    assert none.ids.shape == (0, 3, 0) and none.log_probabilities.shape == none.lengths.shape == none.valid.shape == (0, 3)
    assert as_lists(ctc_beam_search(torch.zeros(2, 0, 4)), 4) == [[((), 1.0)]] * 2


def test_no_gradient_flows():
    assert not ctc_beam_search(columns(2, 3, 4).requires_grad_()).log_probabilities.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_sequences": 0}, "num_sequences must be at least 1, got 0"),
        ({"beam_width": 2}, "beam_width must be at least num_sequences = 3, got 2"),
        ({"max_length": -1}, "max_length must not be negative, got -1"),
        ({"allowed": torch.ones(3, dtype=torch.bool)}, "one value for each of 4 classes, got the shape"),
    ],
)
def test_arguments_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ctc_beam_search(torch.zeros(1, 2, 4), **options)
    with pytest.raises(ValueError, match="a blank and at least one character, got 1 classes"):
        ctc_beam_search(torch.zeros(1, 2, 1))
