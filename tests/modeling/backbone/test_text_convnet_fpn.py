"""The backbone in the layers of PP-OCRv6's detector, and its weights from an ONNX file."""

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import nn

from dld.config import get_dld_cfg
from dld.modeling.backbone.ppocr_detector import read_ppocr_detector
from dld.modeling.backbone.text_convnet_fpn import TextConvNetFPN, TextConvNetStages, build_text_convnet_fpn_backbone
from dld.modeling.text_convnet import SqueezeExcitation, max_of_neighbours

MEAN, STD = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]


def new_fpn(seed=0, channels=16):
    torch.manual_seed(seed)
    return TextConvNetFPN(TextConvNetStages(), channels).eval()


def test_levels_have_the_channels_and_strides_that_they_say():
    fpn = new_fpn()
    levels = fpn(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(x.shape) for name, x in levels.items()} == {
        "p2": (1, 16, 16, 24),
        "p3": (1, 16, 8, 12),
        "p4": (1, 16, 4, 6),
        "p5": (1, 16, 2, 3),
        "p6": (1, 16, 1, 2),
    }
    stages = fpn.bottom_up(torch.zeros(1, 3, 64, 64))
    shapes = fpn.bottom_up.output_shape()
    assert {n: (x.shape[1], 64 // x.shape[2]) for n, x in stages.items()} == {
        n: (s.channels, s.stride) for n, s in shapes.items()
    }


def test_the_finest_level_alone_is_the_same():
    fpn, images = new_fpn(), torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fpn.finest(images), fpn(images)["p2"])


def test_every_parameter_is_trained():
    fpn = new_fpn().train()
    sum(level.sum() for level in fpn(torch.randn(1, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in fpn.parameters())


def test_it_is_built_by_its_name():
    cfg = get_dld_cfg()
    cfg.MODEL.FPN.OUT_CHANNELS = 24
    assert build_text_convnet_fpn_backbone(cfg, ShapeSpec(channels=3)).output_shape()["p2"].channels == 24
    with pytest.raises(ValueError, match="takes images of 3 channels, got 1"):
        build_text_convnet_fpn_backbone(cfg, ShapeSpec(channels=1))


def test_the_largest_of_neighbours_is_pooling():
    x = torch.randn(2, 3, 9, 12)
    assert torch.equal(max_of_neighbours(x), nn.functional.max_pool2d(x, 2, 1))


class Detector(nn.Module):
    """A network whose convolutions come in the order of the detector's file, with random weights, on its own input."""

    def __init__(self, fpn):
        super().__init__()
        self.fpn = fpn
        self.head = nn.Conv2d(96, 24, 3)

    def forward(self, x):
        levels = list(self.fpn.bottom_up(x).values())[::-1]
        sides = [lateral(level) for lateral, level in zip(self.fpn.lateral_convs, levels, strict=True)]
        wide = [output[0](side) for output, side in zip(self.fpn.output_convs, sides, strict=True)]
        return [self.head(x) for x in wide]


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("onnx") / "detector.onnx"
    source = Detector(new_fpn(seed=3))
    torch.onnx.export(
        source, (torch.zeros(1, 3, 96, 96),), str(path), dynamo=False, opset_version=17, do_constant_folding=False
    )
    return path, source.fpn


def test_weights_of_the_detector_see_what_it_saw(detector_file):
    path, source = detector_file
    fpn = new_fpn(seed=4)
    read_ppocr_detector(path, fpn, MEAN, STD)
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(5)) * 255
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    ours, theirs = fpn.bottom_up((pixels - mean) / std), source.bottom_up(pixels / 127.5 - 1)
    # what is beyond the border is another grey in both
    for name, level in ours.items():
        inside = (..., slice(1, -1), slice(1, -1)) if level.shape[-1] > 4 else ...
        np.testing.assert_allclose(level[inside].detach(), theirs[name][inside].detach(), atol=0.2 if inside is ... else 0.05)
    for mine, other in zip(fpn.lateral_convs, source.lateral_convs, strict=True):
        assert torch.equal(mine.project.weight, other.project.weight)
        # the neck's hard sigmoid rises by 0.2, not by 1/6
        torch.testing.assert_close(mine.squeeze.expand.weight, 1.2 * other.squeeze.expand.weight)
        torch.testing.assert_close(mine.squeeze.expand.bias, 1.2 * other.squeeze.expand.bias)
    for mine, other in zip(fpn.output_convs, source.output_convs, strict=True):
        assert torch.equal(mine[0].weight, other[0].weight) and torch.equal(mine[0].bias, other[0].bias)


def test_the_first_convolution_takes_over_the_normalisation(detector_file):
    path, source = detector_file
    fpn = new_fpn(seed=4)
    read_ppocr_detector(path, fpn, MEAN, STD)
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(6)) * 255
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    ours, theirs = fpn.bottom_up.net.stem((pixels - mean) / std), source.bottom_up.net.stem(pixels / 127.5 - 1)
    torch.testing.assert_close(ours[..., 1:, 1:], theirs[..., 1:, 1:], atol=1e-4, rtol=1e-4)


def test_another_network_is_refused_by_name(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(FileNotFoundError, match=r"none\.onnx does not exist"):
        read_ppocr_detector(tmp_path / "none.onnx", new_fpn(), MEAN, STD)
    path = tmp_path / "small.onnx"
    torch.onnx.export(SqueezeExcitation(8), (torch.zeros(1, 8, 4, 4),), str(path), dynamo=False, opset_version=17)
    with pytest.raises(ValueError, match=r"small\.onnx is not a detector of PP-OCRv6 small: 2 convolutions"):
        read_ppocr_detector(path, new_fpn(), MEAN, STD)
