"""Losses of MANGO against dense maps, by hand, and regrouped."""

import math

import pytest
import torch

from dld.modeling.losses.position_maps import category_loss, character_loss, position_loss
from dld.modeling.mango.targets import CharacterTargets

PAD = 9


def test_the_category_is_a_mean_over_counted_cells_then_over_images():
    logits = torch.zeros(2, 2, 2)
    logits[0, 0, 0] = 2.0
    wanted, weights = torch.zeros(2, 2, 2), torch.ones(2, 2, 2)
    wanted[0, 0, 0] = 1.0
    weights[0, 1], weights[1, 0, 0] = 0.0, 0.0
    first = (math.log1p(math.exp(-2)) + math.log(2)) / 2
    assert float(category_loss(logits, wanted, weights)) == pytest.approx((first + math.log(2)) / 2)


def test_character_maps_against_dense_ones():
    """Seven cells of three of four words, of which one has no character, with the gradient."""
    torch.manual_seed(0)
    R, L, P = 4, 6, 50
    masks, counted = torch.rand(R, L, P) < 0.2, torch.rand(R, L) < 0.6
    masks[3] = False
    word, maps = torch.tensor([1, 1, 2, 2, 2, 3, 1]), torch.rand(7, L, P, requires_grad=True)
    q = masks[word].float()
    dice = 1 - (2 * (maps * q).sum(-1) + 1) / (maps.square().sum(-1) + q.square().sum(-1) + 1)
    expected = (dice * counted[word]).sum() / counted[word].sum()
    found = character_loss(maps, word, CharacterTargets(*masks.nonzero(as_tuple=True), counted))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, maps)[0] for x in (found, expected)))


def test_maps_of_words_whose_characters_nobody_knows_cost_nothing():
    maps = torch.rand(2, 3, 5, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    targets = CharacterTargets(nothing, nothing, nothing, torch.zeros(1, 3, dtype=torch.bool))
    loss = character_loss(maps, torch.tensor([0, 0]), targets)
    loss.backward()
    assert float(loss) == 0 and (maps.grad == 0).all()


def test_steps_are_means_over_a_words_cells():
    """The first word is read by two cells, which differ; the second by one; the third has none that learns to read it."""
    logits = torch.randn(4, 3, 5)
    targets = torch.tensor([[1, 2, 0], [3, 0, PAD], [4, 0, PAD]])
    word, own = torch.tensor([0, 0, 1, 2]), torch.tensor([True, True, True, False])
    log = logits.log_softmax(-1)
    first = -(log[:2, 0, 1] + log[:2, 1, 2] + log[:2, 2, 0]).mean()
    second = -(log[2, 0, 3] + log[2, 1, 0])
    torch.testing.assert_close(position_loss(logits, targets, word, own, PAD), (first + second) / 7)


def test_a_batch_is_the_sum_of_its_parts_by_their_steps():
    torch.manual_seed(0)
    logits = torch.randn(6, 3, 5)
    targets = torch.tensor([[1, 2, 0], [3, 0, PAD], [4, 0, PAD], [0, PAD, PAD]])
    word, own = torch.tensor([0, 0, 1, 2, 2, 3]), torch.tensor([True, True, False, True, True, True])
    whole = position_loss(logits, targets, word, own, PAD)
    parts = 0
    for first, words, cells in ((0, slice(0, 2), slice(0, 3)), (2, slice(2, 4), slice(3, 6))):
        steps = (targets[words] != PAD).sum()
        parts = parts + position_loss(logits[cells], targets[words], word[cells] - first, own[cells], PAD) * steps / 8
    torch.testing.assert_close(parts, whole)


def test_no_words_give_zero_with_a_graph():
    logits = torch.zeros(0, 2, 5, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = position_loss(logits, none.view(0, 2), none, none.bool(), PAD)
    loss.backward()
    assert float(loss.detach()) == 0 and logits.grad is not None
