"""The grid: each image by its own size, whatever its padding and scale."""

import pytest
import torch
import torch.nn.functional as F

from dld.modeling.mango.grid import GridPooling, coordinates, grid_coordinates, pooling_weights


def test_areas_by_hand():
    """Five cells of the level, one of them padding and half of another, become two."""
    weights = pooling_weights(3.5, 5, 2, "area")
    torch.testing.assert_close(weights * 1.75, torch.tensor([[1, 0.75, 0, 0, 0], [0, 0.25, 1, 0.5, 0]]))


@pytest.mark.parametrize(("length", "cells", "grid"), [(12, 12, 4), (12, 16, 5), (7.25, 8, 3), (3, 4, 6)])
@pytest.mark.parametrize("how", ["area", "bilinear"])
def test_weights_are_shares_of_cells_within_the_image(length, cells, grid, how):
    weights = pooling_weights(length, cells, grid, how)
    torch.testing.assert_close(weights.sum(1), torch.ones(grid))
    inside = -(-length // 1)
    assert weights.shape == (grid, cells) and (weights >= 0).all() and (weights[:, int(inside) :] == 0).all()


def test_pooling_is_that_of_torch_where_cells_are_whole():
    level = torch.randn(2, 3, 12, 18)
    sizes = [(48, 72)] * 2
    torch.testing.assert_close(GridPooling(6)(level, sizes), F.adaptive_avg_pool2d(level, 6))
    sampled = F.interpolate(level, (6, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(GridPooling(6, "bilinear")(level, sizes), sampled)


@pytest.mark.parametrize("how", ["area", "bilinear"])
def test_padding_and_other_images_change_nothing(how):
    pooling, level = GridPooling(5, how), torch.randn(1, 3, 9, 7)
    padded = torch.cat([F.pad(level, (0, 4, 0, 2), value=100.0), torch.randn(1, 3, 11, 11)])
    torch.testing.assert_close(pooling(padded, [(35, 26), (44, 44)])[:1], pooling(level, [(35, 26)]))


def test_a_cell_holds_the_same_part_of_the_picture_at_any_scale():
    """A picture of eight columns of stripes, at 64 and at 32 pixels: means of the grid's cells are the same."""
    picture = torch.arange(8.0).repeat_interleave(8).expand(1, 1, 64, 64)
    level = [F.avg_pool2d(picture, 4), F.avg_pool2d(F.avg_pool2d(picture, 2), 4)]
    large, small = (GridPooling(4)(x, [(4 * x.shape[-1],) * 2]) for x in level)
    torch.testing.assert_close(large, small)


def test_coordinates_run_over_each_image():
    level = torch.zeros(2, 1, 4, 6)
    x, y = coordinates(level, [(16, 24), (8, 16)], 4).unbind(1)
    torch.testing.assert_close(x[0, 0], torch.linspace(-5 / 6, 5 / 6, 6))
    torch.testing.assert_close(y[1, :, 0], torch.tensor([-0.5, 0.5, 1.5, 2.5]))
    torch.testing.assert_close(grid_coordinates(torch.zeros(1, 7, 2, 2))[0, :, 0, 1], torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), r"MODEL\.MANGO\.GRID must be at least 1, got 0"), ((4, "max"), "GRID_POOLING must be one of area, bilinear, got")],
)
def test_a_wrong_setting_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridPooling(*arguments)
