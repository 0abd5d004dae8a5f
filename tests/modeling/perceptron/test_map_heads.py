"""What the dense heads compute, and what they refuse."""

import pytest
import torch

from dld.modeling.flops import count_flops
from dld.modeling.perceptron.heads import MapHeads


@pytest.mark.parametrize(("channels", "macs"), [(64, 12_864), (256, 205_056)])
def test_the_heads_cost_what_their_layers_say(channels, macs):
    """Per pixel of the image at stride 4: four 3x3 and two 1x7 convolutions of C x C, and 16 channels out."""
    assert (4 * 9 + 2 * 7) * channels**2 + 16 * channels == macs * 16
    heads, level = MapHeads(channels), torch.zeros(1, channels, 8, 12)
    assert count_flops(lambda: heads(level)).total_flops == 2 * macs * 8 * 12 * 16


@pytest.mark.parametrize("groups", [0, 8])
def test_maps_have_the_size_of_the_level_and_every_branch_its_own_layers(groups):
    torch.manual_seed(0)
    heads = MapHeads(16, groups)
    maps = heads(torch.randn(2, 16, 5, 7))
    assert maps.logits.shape == (2, 4, 5, 7) and maps.offsets.shape == (2, 12, 5, 7)
    maps.logits.sum().backward()
    touched = {name for name, p in heads.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert not any(name.startswith(("regression", "offsets")) for name in touched)
    assert any(name.startswith("block") for name in touched)


def test_a_row_of_text_is_seen_farther_than_a_column():
    """3 + 3 + 3 cells and two more of 7 along the row: what changes a cell lies up to 8 columns and 4 rows away."""
    torch.manual_seed(0)
    heads, level = MapHeads(4).double(), torch.randn(1, 4, 31, 31, dtype=torch.float64, requires_grad=True)
    heads(level).logits[0, :, 15, 15].sum().backward()
    rows, columns = (level.grad[0].abs().sum(0) > 0).nonzero().unbind(1)
    # the mixing and the branch's 3x3 reach 2 further than a 3x3 with a 1x7 behind it
    assert (rows - 15).abs().max() <= 3 and 3 < (columns - 15).abs().max() <= 6


def test_groups_that_do_not_divide_the_channels_are_named():
    with pytest.raises(ValueError, match=r"MODEL\.TEXT_PERCEPTRON\.GROUPS must be 0 or divide the 16 channels, got 5"):
        MapHeads(16, 5)
