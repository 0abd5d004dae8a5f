"""Numbers worked out by hand."""

import pytest
import torch

from dld.modeling.losses.text_maps import dice_losses, offset_losses


def test_dice_by_hand():
    p = torch.tensor([0.5, 1.0, 0.0, 0.8]).view(1, 1, 2, 2)
    q = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    w = torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 2, 2)
    # 2 x 1.5 + 1 over 1.25 + 2 + 1; the last cell does not count
    assert float(dice_losses(p, q, w)) == pytest.approx(1 - 4 / 4.25)
    assert float(dice_losses(q, q, w)) == pytest.approx(0)
    assert float(dice_losses(q * 0, q * 0, w)) == pytest.approx(0), "an image without words"


def test_losses_are_means_over_images():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.rand(3, 4, 5, 6, generator=generator) for _ in range(2))
    w = (torch.rand(3, 5, 6, generator=generator) > 0.3).float()
    each = torch.stack([dice_losses(p[i : i + 1], q[i : i + 1], w[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(dice_losses(p, q, w), each.mean(0))
    x, y = (torch.randn(3, 12, 5, 6, generator=generator) for _ in range(2))
    v = (torch.rand(3, 3, 5, 6, generator=generator) > 0.5).float()
    each = torch.stack([offset_losses(x[i : i + 1], y[i : i + 1], v[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(offset_losses(x, y, v), each.mean(0))


def test_offsets_by_hand():
    said, wanted = torch.zeros(2, 8, 1, 2), torch.zeros(2, 8, 1, 2)
    said[0, 0, 0, 0], said[0, 1, 0, 0] = 1.0, 0.055  # beyond and within beta = 0.11
    said[1, 5, 0, 1] = 5.0
    weights = torch.zeros(2, 2, 1, 2)
    weights[0, 0, 0, 0] = 1
    # |x| - beta / 2, and x^2 / (2 beta); 8 images x 16 / (256 x 64), half as much as a mean over two images
    expected = (1 - 0.055 + 0.055**2 / 0.22) * 8 / 1024 / 2
    assert offset_losses(said, wanted, weights).tolist() == pytest.approx([expected, 0])
