"""What the heads of MANGO compute, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from dld.modeling.flops import count_flops
from dld.modeling.mango.grid import grid_coordinates
from dld.modeling.mango.heads import CharacterAttention, FindingHeads
from dld.modeling.mango.recognizer import PositionRecognizer
from dld.text.charset import Charset


@pytest.mark.parametrize(
    ("channels", "convs", "groups", "macs"), [(64, 2, 8, (8_196, 4_936, 4_608)), (256, 4, 32, (131_088, 151_840, 147_456))]
)
def test_the_heads_cost_what_their_layers_say(channels, convs, groups, macs):
    """MAC per pixel of the image, at stride 4, of segmentation, features of the maps, and features that are read."""
    level, size = torch.zeros(1, channels, 8, 12), [(32, 48)]
    finder, attention = FindingHeads(channels, groups), CharacterAttention(channels, 3, convs, groups)
    recognizer = PositionRecognizer(channels, 8, 8, Charset("ab"), 2, convs, groups)
    calls = (lambda: finder.segment(level), lambda: attention.features(level, size), lambda: recognizer.tower(level))
    for call, mac in zip(calls, macs, strict=True):
        assert count_flops(call).total_flops == 2 * mac * 32 * 48


def test_kernels_of_cells_are_those_of_a_convolution_over_the_grid():
    torch.manual_seed(0)
    attention, grid = CharacterAttention(8, 3, 1, 2), torch.randn(2, 8, 4, 4)
    features = attention.kernel_features(grid)
    dense = F.conv2d(features, attention.kernel.weight[:, :, None, None], attention.kernel.bias)
    found = attention.kernels(features, torch.tensor([1, 0]), torch.tensor([6, 15]))
    torch.testing.assert_close(found, torch.stack([dense[1, :, 1, 2], dense[0, :, 3, 3]]).view(2, 3, 8))


def test_maps_are_products_of_kernels_and_features_without_padding():
    torch.manual_seed(0)
    attention = CharacterAttention(8, 3, 1, 2)
    features, kernels = torch.randn(2, 8, 5, 7), torch.randn(4, 3, 8)
    maps = attention.maps(attention.of_image(features, 1, (14, 20)), kernels)
    expected = torch.einsum("klc,chw->klhw", kernels, features[1, :, :4, :5]).sigmoid()
    torch.testing.assert_close(maps.view(4, 3, 4, 5), expected)


def test_cells_know_where_they_are():
    attention, grid = CharacterAttention(4, 2, 1, 2), torch.zeros(1, 4, 6, 6)
    features = attention.kernel_features(grid)
    assert grid_coordinates(grid).shape == (1, 2, 6, 6)
    assert not torch.allclose(features[0, :, 2, 2], features[0, :, 2, 3])


def test_an_untrained_category_gives_cells_their_prior():
    torch.manual_seed(0)
    for prior, expected in ((0.01, 0.01), (0.0, 0.5)):
        logits = FindingHeads(8, 2, prior=prior).categorize(torch.randn(1, 8, 6, 6)).detach()
        assert float(logits.sigmoid().mean()) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("fusion", ["mean", "sum"])
def test_what_is_gathered_by_hand(fusion):
    """Two cells of five under the map; a mean is divided by their mass and by 1e-4 of the image."""
    recognizer = PositionRecognizer(2, 4, 4, Charset("ab"), 2, 1, 1, fusion)
    maps = torch.tensor([[[0, 0.5, 1, 0, 0]]])
    features = torch.tensor([[9.0, 2, 4, 9, 9], [9, 0, -3, 9, 9]])
    mass = 1.0 if fusion == "sum" else 1.5 + 5e-4
    torch.testing.assert_close(recognizer.gather(maps, features), torch.tensor([[[5.0, -3.0]]]) / mass)


def test_a_mean_is_that_of_the_same_picture_at_twice_the_size():
    recognizer = PositionRecognizer(2, 4, 4, Charset("ab"), 2, 1, 1)
    maps, features = torch.rand(1, 3, 4, 6), torch.randn(2, 4, 6)
    large = [x.repeat_interleave(2, -1).repeat_interleave(2, -2) for x in (maps, features)]
    small = recognizer.gather(maps.flatten(2), features.flatten(1))
    torch.testing.assert_close(recognizer.gather(large[0].flatten(2), large[1].flatten(1)), small)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FindingHeads(16, 5), r"MODEL\.MANGO\.GROUPS must divide the 16 channels, got 5"),
        (lambda: FindingHeads(16, 4, 5), r"MODEL\.MANGO\.BLOCK_GROUPS must be 0 or divide the 16 channels, got 5"),
        (lambda: FindingHeads(16, 4, prior=1.0), r"MODEL\.MANGO\.CATEGORY_PRIOR must be in \[0, 1\), got 1.0"),
        (lambda: CharacterAttention(16, 3, 0, 4), r"MODEL\.MANGO\.CONVS must be at least 1, got 0"),
        (lambda: PositionRecognizer(2, 4, 4, Charset("a"), 2, 1, 1, "max"), r"MODEL\.MANGO\.FUSION must be one of mean, sum"),
    ],
)
def test_a_wrong_setting_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
