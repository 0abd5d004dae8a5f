import pytest
import torch
from detectron2.modeling import build_model

from dld.modeling.resolution.backbone_selector import BackboneSelector
from dld.modeling.resolution.selector import build_selector


@pytest.fixture
def selector(tiny_cfg):
    tiny_cfg.MODEL.SELECTOR.NAME = "BackboneSelector"
    torch.manual_seed(0)
    made = build_selector(tiny_cfg).eval()
    torch.nn.init.normal_(made.head[-1].weight)
    return made


def test_it_holds_the_first_stages_only(selector):
    assert isinstance(selector, BackboneSelector)
    stages = {name.split(".")[1] for name in selector.state_dict() if name.startswith("body.")}
    assert stages == {"stem", "res2", "res3"}


def test_it_starts_with_the_teachers_features(selector, tiny_cfg):
    teacher = build_model(tiny_cfg).eval()
    selector.start_from(teacher.backbone.bottom_up.state_dict())
    image = torch.randn(1, 3, 64, 96)
    expected = teacher.backbone.bottom_up(image)["res3"]
    torch.testing.assert_close(selector.body(image)["res3"], expected)


def test_it_may_consist_of_another_backbones_stages(tiny_cfg):
    """A spotter whose backbone has no stages that stand alone needs that."""
    tiny_cfg.MODEL.SELECTOR.NAME = "BackboneSelector"
    own = tiny_cfg.MODEL.BACKBONE.NAME
    tiny_cfg.MODEL.BACKBONE.NAME = "build_text_convnet_fpn_backbone"
    with pytest.raises(ValueError, match=r"BackboneSelector needs a ResNet, not build_text_convnet.*STAGES_OF names one"):
        build_selector(tiny_cfg)
    tiny_cfg.MODEL.SELECTOR.STAGES_OF = own
    selector = build_selector(tiny_cfg)
    assert any(name.startswith("body.res3") for name in selector.state_dict())
    assert not selector.starts_from_spotter(tiny_cfg)
    tiny_cfg.MODEL.BACKBONE.NAME = own
    assert selector.starts_from_spotter(tiny_cfg)


def test_a_teacher_of_another_shape_is_named(selector):
    with pytest.raises(KeyError, match="lacks"):
        selector.start_from({})


def test_the_scores_of_an_image_do_not_depend_on_the_batch(selector):
    images = [torch.randn(3, 64, 96), torch.randn(3, 96, 64), torch.randn(3, 64, 96)]
    batch = torch.full((3, 3, 96, 96), 7.0)  # what stands on padding must not be read
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    together = selector(batch, [tuple(x.shape[1:]) for x in images])
    alone = torch.cat([selector(x[None], [tuple(x.shape[1:])]) for x in images])
    assert together.shape == (3, len(selector.scales))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_training_moves_every_weight_but_no_statistics(selector):
    selector.train()
    before = {k: v.clone() for k, v in selector.state_dict().items() if "running" in k}
    selector(torch.randn(2, 3, 64, 64), [(64, 64)] * 2).square().sum().backward()
    assert all(p.grad is not None for p in selector.parameters())
    assert all(torch.equal(before[k], v) for k, v in selector.state_dict().items() if k in before)
