"""Facts about FLOPs: operators worked by hand, published figures, another counter's opinion."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torchvision.ops import nms, roi_align

import dld.modeling  # noqa: F401  only registration
from dld.config import get_dld_cfg
from dld.modeling.flops import count_flops, evaluating, spotter_flops

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def resnet50_spotter():
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(CONFIGS / "Base-TextSpotter.yaml"))
    cfg.MODEL.BACKBONE.NAME = "build_text_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg).eval()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("inference_mode", [False, True])
def test_lstms_are_counted_however_they_run(bidirectional, inference_mode):
    R, T, D, H = 3, 5, 8, 16
    lstm = nn.LSTM(D, H, num_layers=2, bidirectional=bidirectional, batch_first=True)

    def run():
        with torch.inference_mode(inference_mode):
            lstm(torch.zeros(R, T, D))

    directions = 2 if bidirectional else 1
    macs = R * T * directions * 4 * H * ((D + H) + (directions * H + H))
    counted = count_flops(run)
    assert counted.total_flops == 2 * macs
    assert counted.by_module == {"LSTM": 2 * macs}


def test_an_lstm_counts_the_same_taken_apart():
    """On the meta device the same LSTM runs as plain matrix products."""
    lstm, x = nn.LSTM(6, 10, bidirectional=True), torch.zeros(4, 2, 6)
    fused = count_flops(lambda: lstm(x)).total_flops
    assert count_flops(lambda: lstm.to("meta")(x.to("meta"))).total_flops == fused


def test_operators_worked_by_hand():
    cell, x = nn.LSTMCell(6, 10), torch.zeros(2, 6)
    assert count_flops(lambda: cell(x)).total_flops == 2 * 2 * 4 * 10 * (6 + 10)
    image = torch.zeros(1, 4, 20, 30)
    conv = nn.Conv2d(4, 8, 3, padding=1)
    assert count_flops(lambda: conv(image)).total_flops == 2 * 600 * 8 * 4 * 9
    boxes = torch.tensor([[0.0, 0.0, 0.0, 8.0, 8.0]]).expand(3, 5)
    # 3 boxes x 4 channels x 7 x 7 cells x 2 x 2 samples x 4 neighbours
    assert count_flops(lambda: roi_align(image, boxes, (7, 7), 1.0, 2)).total_flops == 2 * 3 * 4 * 49 * 4 * 4
    assert count_flops(lambda: F.interpolate(image, scale_factor=2.0, mode="bilinear")).total_flops == 2 * 4 * 4 * 2400
    assert count_flops(lambda: F.interpolate(image, scale_factor=2.0)).total_flops == 0
    # halved with antialiasing, 4 taps: 20 x 15 row sums, then 10 x 15 column sums, of 4 channels
    halved = count_flops(lambda: F.interpolate(image, size=(10, 15), mode="bilinear", antialias=True))
    assert halved.total_flops == 2 * 4 * 4 * (20 * 15 + 10 * 15)


def test_what_is_not_counted_is_named():
    boxes, scores = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.ones(1)
    counted = count_flops(lambda: nms(boxes, scores.softmax(0).view(1, 1).reshape(1), 0.5))
    assert counted.total_flops == 0
    assert counted.not_counted == {"aten._softmax": 1, "torchvision.nms": 1}


def test_published_multiply_accumulates_of_resnet50(resnet50_spotter):
    """187,839 MAC a padded pixel, derived from published totals: the sum of the parts below."""
    H = W = 128
    counted = spotter_flops(resnet50_spotter, (H, W), num_words=0, num_proposals=1)
    per_pixel = 2 * H * W
    assert counted.backbone / per_pixel == pytest.approx(81_456, rel=0.001)
    assert counted.fpn / per_pixel == pytest.approx(7_680 + 48_960, rel=0.001)
    assert counted.rpn / per_pixel == pytest.approx(49_743, rel=0.001)
    assert counted.paper_gflops * 2**30 / (H * W) == pytest.approx(187_839, rel=0.001)


def test_fvcore_counts_the_same_convolutions_and_products(resnet50_spotter):
    """fvcore counts multiply-accumulates and calls them flops."""
    image = torch.zeros(1, 3, 64, 96)
    ours = count_flops(lambda: resnet50_spotter.backbone(image))
    theirs = FlopCountAnalysis(resnet50_spotter.backbone, image).unsupported_ops_warnings(False)
    assert ours.by_op == {"aten.convolution": 2 * theirs.by_operator()["conv"]}
    pooled = torch.zeros(5, 256, 7, 7)
    head = resnet50_spotter.roi_heads.box_head
    theirs = FlopCountAnalysis(head, pooled).unsupported_ops_warnings(False)
    assert count_flops(lambda: head(pooled)).total_flops == 2 * theirs.by_operator()["linear"]


def test_parts_add_up_and_words_cost_in_proportion(resnet50_spotter):
    one = spotter_flops(resnet50_spotter, (64, 64), 1, num_proposals=10)
    three = spotter_flops(resnet50_spotter, (64, 64), 3, num_proposals=20, num_steps=24)
    assert one.total == one.shrinking + one.fixed and one.shrinking == three.shrinking
    assert three.masks == 3 * one.masks and three.recognition == 3 * one.recognition
    assert three.boxes == 2 * one.boxes and three.decoding == 6 * one.decoding
    # 0.51 GMAC a mask, 13.9 MMAC a box (14.1 with its RoIAlign), 0.74 GMAC a word, 36.9 kMAC a pixel before masking
    assert one.masks / 2e9 == pytest.approx(0.51, rel=0.02)
    assert one.boxes / 2e7 == pytest.approx(14.1, rel=0.02)
    assert (one.recognition + one.decoding) / 2e9 == pytest.approx(0.74, rel=0.04)
    assert one.stem / 2 / 64**2 == pytest.approx(36_900, rel=0.002)


def test_sizes_the_backbone_is_never_fed_are_refused(resnet50_spotter):
    with pytest.raises(ValueError, match="multiples of 32"):
        spotter_flops(resnet50_spotter, (64, 50), 1)


def test_evaluating_restores_every_mode():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.Dropout()))
    model.train()
    model[0].eval()
    with pytest.raises(KeyError), evaluating(model):
        assert not any(m.training for m in model.modules())
        raise KeyError
    assert [m.training for m in model.modules()] == [True, False, True, True]
