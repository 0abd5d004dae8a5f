import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone.fpn import FPN, build_resnet_fpn_backbone

import dld.modeling  # noqa: F401  only registration
from dld.config import get_dld_cfg


@pytest.fixture
def tiny_backbone(tiny_cfg):
    torch.manual_seed(0)
    return build_backbone(tiny_cfg).eval()


@pytest.fixture(scope="module")
def resnet50_cfg():
    cfg = get_dld_cfg()
    cfg.merge_from_file("configs/teacher_R50.yaml")
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.mark.parametrize("fuse", ["sum", "avg"])
def test_finest_is_p2_of_the_whole_pyramid(tiny_backbone, fuse):
    tiny_backbone._fuse_type = fuse
    images = torch.randn(2, 3, 96, 64)
    torch.testing.assert_close(tiny_backbone.finest(images), tiny_backbone(images)["p2"], rtol=0, atol=0)


def test_finest_is_p2_of_resnet50_whose_names_are_detectron2s(resnet50_cfg):
    torch.manual_seed(0)
    backbone = build_backbone(resnet50_cfg).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.finest(images), backbone(images)["p2"], rtol=0, atol=0)
    plain = build_resnet_fpn_backbone(resnet50_cfg, ShapeSpec(channels=3))
    assert type(plain) is FPN and list(plain.state_dict()) == list(backbone.state_dict())
    assert plain.output_shape() == backbone.output_shape()


def test_only_the_last_output_convolution_runs(tiny_backbone):
    ran = []
    for i, conv in enumerate(tiny_backbone.output_convs):
        conv.register_forward_hook(lambda *_, i=i: ran.append(i))
    level = tiny_backbone.finest(torch.randn(1, 3, 64, 64))
    assert ran == [len(tiny_backbone.output_convs) - 1]
    level.sum().backward()
    silent = {n for n, p in tiny_backbone.named_parameters() if p.grad is None}
    assert silent and all(n.startswith(("fpn_output3", "fpn_output4", "fpn_output5")) for n in silent)
