import pytest
import torch
from detectron2.modeling import build_backbone, build_model

import dld.modeling  # noqa: F401  only registration
from dld.config import get_dld_cfg


def test_levels_have_strides_4_to_64(tiny_cfg):
    backbone = build_backbone(tiny_cfg)
    levels = backbone(torch.randn(1, 3, 128, 64))
    assert {k: tuple(v.shape) for k, v in levels.items()} == {
        "p2": (1, 16, 32, 16),
        "p3": (1, 16, 16, 8),
        "p4": (1, 16, 8, 4),
        "p5": (1, 16, 4, 2),
        "p6": (1, 16, 2, 1),
    }
    assert {k: s.stride for k, s in backbone.output_shape().items()} == {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


def test_widths_and_blocks_follow_the_configuration(tiny_cfg):
    tiny_cfg.MODEL.TINY_RESNET.WIDTHS = [16, 24, 20, 40]
    tiny_cfg.MODEL.TINY_RESNET.BLOCKS = [1, 2, 1, 3]
    bottom_up = build_backbone(tiny_cfg).bottom_up
    assert [len(getattr(bottom_up, f"res{i}")) for i in range(2, 6)] == [1, 2, 1, 3]
    assert [bottom_up.output_shape()[f"res{i}"].channels for i in range(2, 6)] == [16, 24, 20, 40]


@pytest.mark.parametrize(("widths", "message"), [([16, 24, 24, 40], "differ"), ([8, 16, 24, 40], "at least 16")])
def test_stages_of_equal_width_or_few_channels_are_refused_by_name(tiny_cfg, widths, message):
    tiny_cfg.MODEL.TINY_RESNET.WIDTHS = widths
    with pytest.raises(ValueError, match=f"TINY_RESNET.WIDTHS must .*{message}"):
        build_backbone(tiny_cfg)


def test_frozen_stages_train_nothing(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.FREEZE_AT = 2
    bottom_up = build_backbone(tiny_cfg).bottom_up
    assert not any(p.requires_grad for m in (bottom_up.stem, bottom_up.res2) for p in m.parameters())
    assert all(p.requires_grad for p in bottom_up.res3.parameters())


def test_the_tiny_teacher_has_about_five_million_parameters():
    cfg = get_dld_cfg()
    cfg.merge_from_file("configs/teacher_tiny.yaml")
    cfg.MODEL.DEVICE = "cpu"
    assert 4e6 < sum(p.numel() for p in build_model(cfg).parameters()) < 6e6
