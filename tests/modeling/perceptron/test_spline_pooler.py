"""Crops between sides: those of RoIAlign for rectangles, straight ones for arcs, and gradients to the points."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dld.modeling.perceptron.spline_recognizer import SplinePooler
from dld.modeling.poolers.channels_last_roi_align import ChannelsLastRoIAlign
from dld.modeling.recognition.locators.locator import box_sides


def smooth(N=2, C=3, h=24, w=40, seed=0) -> torch.Tensor:
    noise = torch.randn(N, C, 6, 10, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(h, w), mode="bicubic", align_corners=False)


def test_the_crop_of_a_rectangle_is_that_of_roi_align():
    level, boxes = smooth(), torch.tensor([[20.0, 12.0, 132.0, 52.0], [41.0, 33.0, 90.0, 50.0], [10.0, 8.0, 60.0, 20.0]])
    image = torch.tensor([1, 0, 1])
    crops = SplinePooler()(level, box_sides(boxes, 7), image)
    align = ChannelsLastRoIAlign((8, 32), 0.25, 2, aligned=True)
    expected = align(level, torch.cat([image[:, None].float(), boxes], 1))
    assert crops.shape == (3, 3, 8, 32)
    torch.testing.assert_close(crops, expected, atol=1e-3, rtol=0)


def test_an_arc_is_straightened_to_what_was_bent():
    """A pattern of polar coordinates is the same on the level and on the ring."""
    h = w = 100
    y, x = torch.meshgrid(torch.arange(h) * 4 + 2.0, torch.arange(w) * 4 + 2.0, indexing="ij")
    radius, angle = torch.hypot(x - 200, y - 300), torch.atan2(y - 300, x - 200)
    at = torch.linspace(-0.8 * np.pi, -0.2 * np.pi, 7)
    sides = torch.stack([torch.stack([200 + r * at.cos(), 300 + r * at.sin()], 1) for r in (180.0, 140.0)])
    # along the word, from its start; and down, from its upper side
    u, v = (angle / np.pi + 0.8) / 0.6, (180 - radius) / 40
    level = torch.stack([torch.sin(9 * u) * torch.cos(3 * v), u.clamp(0, 1)])[None]
    crop = SplinePooler()(level, sides[None], torch.zeros(1, dtype=torch.int64))[0]
    columns, rows = (torch.arange(32) + 0.5) / 32, (torch.arange(8) + 0.5) / 8
    straight = torch.sin(9 * columns)[None] * torch.cos(3 * rows)[:, None]
    assert np.corrcoef(crop[0].flatten(), straight.flatten())[0, 1] > 0.95
    torch.testing.assert_close(crop[1], columns.expand(8, -1), atol=0.03, rtol=0)


def test_gradients_of_points_are_those_of_small_moves():
    level = smooth(1).double()
    sides = box_sides(torch.tensor([[30.0, 20.0, 110.0, 60.0]]), 4).double()
    # the spline computes in float32: steps are large enough for its rounding
    weights = smooth(1, 3, 8, 32, 1)
    pooler = SplinePooler()

    def loss(points):
        return (pooler(level.float(), points, torch.zeros(1, dtype=torch.int64)) * weights).sum()

    points = sides.clone().requires_grad_()
    loss(points).backward()
    for index in ((0, 0, 1, 0), (0, 1, 2, 1), (0, 0, 3, 1)):
        step = torch.zeros_like(sides)
        step[index] = 0.25
        with torch.no_grad():
            slope = float(loss(sides + step) - loss(sides - step)) / 0.5
        assert float(points.grad[index]) == pytest.approx(slope, rel=0.1, abs=0.05)


def test_no_words_are_a_part_of_the_graph():
    level = smooth().requires_grad_()
    crops = SplinePooler()(level, torch.zeros(0, 2, 7, 2), torch.zeros(0, dtype=torch.int64))
    assert crops.shape == (0, 3, 8, 32)
    crops.sum().backward()
    assert level.grad.abs().sum() == 0


def test_words_do_not_see_each_other_or_other_images():
    level, sides = smooth(), box_sides(torch.tensor([[20.0, 12.0, 132.0, 52.0], [41.0, 33.0, 90.0, 50.0]]), 7)
    both = SplinePooler()(level, sides, torch.tensor([1, 0]))
    one = SplinePooler()(level[1:], sides[:1], torch.tensor([0]))
    torch.testing.assert_close(both[:1], one)
    with pytest.raises(ValueError, match=r"POOLER_SAMPLING_RATIO must be at least 1 for a spline, got 0"):
        SplinePooler(samples=0)
