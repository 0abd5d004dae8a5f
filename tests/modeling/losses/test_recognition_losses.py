import itertools
import math

import pytest
import torch

from dld.modeling.losses.recognition import attention_loss, ctc_loss

PAD, END = 9, 0


def ids(*rows):
    longest = max(len(r) for r in rows) + 1
    return torch.tensor([[*r, END] + [PAD] * (longest - len(r) - 1) for r in rows])


def test_attention_loss_is_the_mean_over_all_characters_and_ends():
    # V = 4, uniform but for one step: -log(1/4) at every step, and at the last -log(3/6) (logit log 3 against three ones)
    logits = torch.zeros(2, 3, 4)
    logits[1, 0, 2] = math.log(3)
    targets = torch.tensor([[1, 3, END], [2, END, PAD]])
    expected = (4 * math.log(4) + math.log(2)) / 5
    assert attention_loss(logits, targets, PAD).item() == pytest.approx(expected)
    logits[1, 2] = 1000  # a step of padding
    assert attention_loss(logits, targets, PAD).item() == pytest.approx(expected)


def brute_force_ctc(probabilities, word):
    """Sum over all alignments that collapse to `word` when repeats and then blanks (id 0) are dropped."""
    L, V = probabilities.shape
    total = 0.0
    for path in itertools.product(range(V), repeat=L):
        collapsed = [p for p, before in zip(path, (None, *path[:-1]), strict=True) if p != before and p != END]
        if collapsed == list(word):
            total += math.prod(probabilities[i, p].item() for i, p in enumerate(path))
    return total


def test_ctc_loss_sums_all_alignments_and_divides_by_the_length():
    logits = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    words = [(1, 2), (3,), (2, 2)]
    expected = [-math.log(brute_force_ctc(row, word)) / len(word) for row, word in zip(logits.softmax(-1), words, strict=True)]
    assert ctc_loss(logits, ids(*words), PAD, END).item() == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_a_word_that_needs_more_columns_than_there_are_counts_zero():
    # "aaa" needs a blank between repeated characters: 5 columns, there are 4
    logits = torch.randn(1, 4, 4, requires_grad=True)
    loss = ctc_loss(logits, ids((1, 1, 1)), PAD, END)
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()
    both = ctc_loss(logits.detach().repeat(2, 1, 1), ids((1, 1, 1), (1, 2)), PAD, END)
    alone = ctc_loss(logits.detach(), ids((1, 2)), PAD, END)
    torch.testing.assert_close(both, alone / 2)


def test_padding_changes_no_loss():
    logits = torch.randn(2, 6, 9)
    short = ids((1, 2), (3, 4))
    long = torch.cat([short, torch.full((2, 5), PAD)], 1)
    torch.testing.assert_close(ctc_loss(logits, long, PAD, END), ctc_loss(logits, short, PAD, END))


@pytest.mark.parametrize("count", [0, 2])
def test_without_characters_the_losses_are_zero_but_have_a_graph(count):
    logits = torch.randn(count, 5, 9, requires_grad=True)
    nothing = torch.full((count, 5), PAD)
    for loss in (attention_loss(logits, nothing, PAD), ctc_loss(logits, nothing, PAD, END)):
        assert loss.item() == 0
        loss.backward()
    assert (logits.grad == 0).all()


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.randn(2, 6, 9).bfloat16()
    targets = ids((1, 2), (3, 4))
    assert ctc_loss(logits, targets, PAD, END).dtype == torch.float32
    assert attention_loss(logits[:, :3], targets, PAD).dtype == torch.float32
