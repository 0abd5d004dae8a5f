import pytest
import torch

from dld.modeling.losses.word_maps import WordMaps, word_map_targets, word_maps_loss

LOSSES = torch.tensor([[0.8, 0.2], [0.4, 0.0]])


def test_every_word_weighs_one_and_lies_where_it_is():
    """An image of 80 x 160 pixels on a map of 10 x 20 cells of 8 pixels."""
    boxes = torch.tensor([[16.0, 8, 96, 24], [100, 40, 140, 80]])
    density, losses = word_map_targets(boxes, LOSSES, (80, 160), (10, 20))
    # 2..12 less a tenth of ten cells on each side; 1..3 less 0.2 of a cell, rounded
    assert density[1:3, 3:11].unique().tolist() == [1 / 16] and density[:4, :12].sum().item() == pytest.approx(1)
    assert density.sum().item() == pytest.approx(2)
    torch.testing.assert_close(losses[:, 2, 5], LOSSES[0])
    torch.testing.assert_close(losses[:, 7, 15], LOSSES[1])
    torch.testing.assert_close((density * losses).sum((1, 2)), LOSSES.sum(0))


def test_the_smallest_words_and_those_at_the_border_keep_a_cell():
    boxes = torch.tensor([[30.0, 30, 31, 31], [158, 78, 160, 80], [-5, -5, 1, 1]])
    density, losses = word_map_targets(boxes, torch.ones(3, 2), (80, 160), (10, 20))
    assert [density[3, 3], density[9, 19], density[0, 0]] == [1, 1, 1] and density.sum() == 3
    assert losses.sum().item() == pytest.approx(6)


def test_words_that_share_a_cell():
    boxes = torch.tensor([[8.0, 8, 16, 16], [8, 8, 16, 16]])
    density, losses = word_map_targets(boxes, LOSSES, (80, 160), (10, 20))
    assert density[1, 1] == 2
    torch.testing.assert_close(losses[:, 1, 1], LOSSES.mean(0))


def test_no_words():
    density, losses = word_map_targets(torch.zeros(0, 4), torch.zeros(0, 2), (80, 160), (10, 20))
    assert density.sum() == 0 and losses.shape == (2, 10, 20) and losses.sum() == 0


def test_the_loss_is_least_where_maps_are_right():
    target = word_map_targets(torch.tensor([[16.0, 8, 96, 24]]), LOSSES[:1], (80, 160), (10, 20))
    right = WordMaps(target.density + 1e-6, target.losses)
    best = word_maps_loss([right], [target], 4.0)
    for wrong in (
        WordMaps(right.density * 1.5, right.losses),
        WordMaps(right.density.flip(0), right.losses),
        WordMaps(right.density, right.losses.flip(0)),
    ):
        assert word_maps_loss([wrong], [target], 4.0) > best + 0.02
    # what a place without words would lose is not asked
    elsewhere = torch.where(target.density > 0, target.losses, torch.full_like(target.losses, 0.5))
    torch.testing.assert_close(word_maps_loss([WordMaps(right.density, elsewhere)], [target], 4.0), best, atol=1e-3, rtol=0)
    assert word_maps_loss([], [], 4.0) == 0


def test_a_batch_loses_the_mean_of_its_images():
    full = word_map_targets(torch.tensor([[16.0, 8, 96, 24], [100, 40, 140, 80]]), LOSSES, (80, 160), (10, 20))
    empty = word_map_targets(torch.zeros(0, 4), torch.zeros(0, 2), (80, 160), (10, 20))
    maps = [WordMaps(torch.rand(10, 20), torch.rand(2, 10, 20)) for _ in range(2)]
    apart = [word_maps_loss([m], [t], 4.0) for m, t in zip(maps, (full, empty), strict=True)]
    torch.testing.assert_close(word_maps_loss(maps, [full, empty], 4.0), sum(apart) / 2)
