"""Folding batch norm changes no result, and says when it cannot be done."""

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d, get_norm
from detectron2.modeling import build_model
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.data.dataset_mapper import TextDatasetMapper
from dld.modeling.fused_norms import fuse_norms


def disturb(model):
    """Statistics and affine parameters that are not those of the start."""
    g = torch.Generator().manual_seed(1)
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            for x, low in ((m.running_mean, -0.5), (m.running_var, 0.5), (m.weight, 0.5), (m.bias, -0.2)):
                x.data.copy_(torch.rand(x.shape, generator=g) + low)
    return model


def test_one_channel_by_hand():
    conv = nn.Conv2d(1, 1, 1)
    norm = nn.BatchNorm2d(1, eps=0.0)
    conv.weight.data.fill_(3.0), conv.bias.data.fill_(1.0)
    norm.running_mean.fill_(2.0), norm.running_var.fill_(4.0), norm.weight.data.fill_(6.0), norm.bias.data.fill_(0.5)
    model = nn.Sequential(conv, norm).eval()
    assert fuse_norms(model) == 1 and isinstance(model[1], nn.Identity)
    # (3 x + 1 - 2) * 6 / 2 + 0.5
    assert conv.weight.item() == 9.0 and conv.bias.item() == -2.5


@pytest.mark.parametrize("kind", ["BN", "FrozenBN"])
def test_detectron2s_convolution_keeps_its_result(kind):
    conv = Conv2d(3, 5, 3, bias=False, norm=get_norm(kind, 5), activation=nn.ReLU())
    disturb(conv).eval()
    x = torch.randn(2, 3, 9, 11)
    before = conv(x)
    assert fuse_norms(conv) == 1 and conv.norm is None
    torch.testing.assert_close(conv(x), before, atol=1e-5, rtol=1e-5)


def test_other_norms_and_norms_after_an_activation_stay():
    model = nn.Sequential(
        Conv2d(3, 4, 3, activation=nn.ReLU()),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3),
        nn.GroupNorm(2, 4),
    ).eval()
    x = torch.randn(1, 3, 9, 9)
    before = model(x)
    assert fuse_norms(model) == 0
    assert torch.equal(model(x), before)


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="eval"):
        fuse_norms(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))


def test_a_spotter_reads_the_same(tiny_cfg, make_record):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    tiny_cfg.TEST.DETECTIONS_PER_IMAGE = 4
    torch.manual_seed(0)
    model = disturb(build_model(tiny_cfg)).eval()
    record = TextDatasetMapper(tiny_cfg, False)(make_record())
    with torch.inference_mode():
        before = model([record])[0]["instances"]
        assert fuse_norms(model) > 20
        assert not any(isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d)) for m in model.modules())
        after = model([record])[0]["instances"]
    assert len(before) == len(after) > 0 and before.pred_texts == after.pred_texts
    torch.testing.assert_close(after.pred_boxes.tensor, before.pred_boxes.tensor, atol=1e-2, rtol=1e-3)
