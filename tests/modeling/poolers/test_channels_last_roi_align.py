"""Facts about RoIAlign that do not depend on who computes it, and agreement of the two ways."""

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torchvision.ops import roi_align

from dld.modeling.flops import count_flops
from dld.modeling.poolers.channels_last_roi_align import (
    ChannelsLastRoIAlign,
    read_channels_last,
    weighted_neighbours,
)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


@pytest.fixture
def windows():
    """Rois all over a map of 2 x 24 x 30 cells of 4 pixels: across its border, outside of it, thin, of no area."""
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(200, 2, generator=g) * 160 - 30
    size = torch.rand(200, 2, generator=g) * torch.tensor([90.0, 40.0])
    size[:5] = 0
    image = torch.randint(2, (200, 1), generator=g).float()
    return torch.cat([image, corner, corner + size], 1)


@pytest.mark.parametrize("size", [(7, 7), (8, 32), (32, 8)])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_it_agrees_with_torchvision_on_planes(windows, size, samples):
    features = torch.randn(2, 5, 24, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = ChannelsLastRoIAlign(size, 0.25, samples)(channels_last(features), windows.double())
    theirs = roi_align(features, windows.double(), size, 0.25, samples, aligned=True)
    assert (theirs == 0).all(3).all(2).all(1).sum() > 10, "some windows lie outside of the image"
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


def test_so_do_the_gradients(windows):
    features = torch.randn(2, 3, 24, 30, dtype=torch.float64)
    weights = torch.randn(200, 3, 4, 6, dtype=torch.float64)
    rows, planes = channels_last(features).requires_grad_(), features.clone().requires_grad_()
    (ChannelsLastRoIAlign((4, 6), 0.25, 2)(rows, windows.double()) * weights).sum().backward()
    (roi_align(planes, windows.double(), (4, 6), 0.25, 2, aligned=True) * weights).sum().backward()
    torch.testing.assert_close(rows.grad, planes.grad, atol=1e-10, rtol=0)


def test_a_sample_between_two_cells_by_hand():
    # the window [1, 2] has its two samples at 1.25 and 1.75; the one at -0.5 takes cell 0; beyond -1 nothing counts
    cells, weights = weighted_neighbours(torch.tensor([1.0, -0.5, -3.0]), torch.tensor([2.0, -0.5, -2.0]), 1, 2, 9)
    assert cells[:2].tolist() == [[[1, 2, 1, 2]], [[0, 1, 0, 1]]]
    assert weights.tolist() == [[[0.75, 0.25, 0.25, 0.75]], [[1, 0, 1, 0]], [[0, 0, 0, 0]]]


def test_no_window_gives_no_crop():
    features = channels_last(torch.randn(1, 3, 8, 8)).requires_grad_()
    crops = ChannelsLastRoIAlign((4, 6), 0.25, 2)(features, torch.zeros(0, 5))
    assert crops.shape == (0, 3, 4, 6)
    crops.sum().backward()
    assert not features.grad.any()


def test_a_pyramid_is_pooled_to_the_same_crops(windows):
    levels = [torch.randn(2, 4, 96 // s, 120 // s) for s in (1, 2, 4)]
    boxes = [Boxes(windows[windows[:, 0] == i, 1:] * torch.tensor([1, 1, 6, 9.0])) for i in (0, 1)]
    pooler = ROIPooler(7, (1 / 4, 1 / 8, 1 / 16), 2, "ROIAlignV2")
    expected = pooler(levels, boxes)
    read_channels_last(pooler)
    assert all(type(x) is ChannelsLastRoIAlign for x in pooler.level_poolers)
    torch.testing.assert_close(pooler([channels_last(x) for x in levels], boxes), expected, atol=1e-4, rtol=1e-4)


def test_both_ways_are_charged_the_same(windows):
    features = torch.randn(2, 5, 24, 30)
    crop = ChannelsLastRoIAlign((7, 7), 0.25, 2)
    by_rows = count_flops(lambda: crop(channels_last(features), windows)).total_flops
    assert by_rows == count_flops(lambda: crop(features, windows)).total_flops == 2 * 4 * 4 * 200 * 49 * 5
