"""Blocks in the place of 3x3 convolutions: their weights, what they see, where they stand."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.modeling.backbone.text_convnet_fpn import TextConvNetFPN, TextConvNetStages, build_text_convnet_fpn_backbone
from dld.modeling.fused_norms import fuse_norms
from dld.modeling.layers.parsimonious import PLACES, ParsimoniousConv
from dld.modeling.resolution.cost import SpotterCost

# what has a block for each place in the spotter of the suite
STANDS = {
    "fpn": [f"backbone.fpn_output{i}" for i in (2, 3, 4, 5)],
    "rpn": ["proposal_generator.rpn_head.conv"],
    "stem": ["roi_heads.recognizer.stem.0"],
    "encoder": [f"roi_heads.recognizer.encoder.convs.{i}.0" for i in range(4)],
    "mask": ["roi_heads.mask_head.mask_fcn1"],
}


def blocks_of(model) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, ParsimoniousConv)]


def build(cfg, seed=0):
    torch.manual_seed(seed)
    return build_model(cfg).eval()


@pytest.mark.parametrize(
    ("channels", "out", "p", "m", "weights"),
    # 8,192 + 576 + 16,384 + 32,768; then 512 + 144 + 1,024 + 2,048; then by the formula
    [(256, 256, 2, 2, 57_920), (64, 64, 2, 2, 3_728), (96, 64, 2, 2, 5_976), (36, 20, 3, 1, 36**2 // 9 + 108 + 240 + 480)],
)
def test_weights_are_those_of_the_paper(channels, out, p, m, weights):
    block = ParsimoniousConv(channels, out, p, m)
    assert sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, nn.Conv2d)) == weights
    assert block(torch.zeros(2, channels, 5, 7)).shape == (2, out, 5, 7)
    assert ParsimoniousConv(channels, out, p, m, stride=2)(torch.zeros(2, channels, 5, 7)).shape == (2, out, 3, 4)


def test_the_shuffle_puts_the_first_quarter_of_either_half_in_front():
    block = ParsimoniousConv(16, 16)
    first, others = block.divide(torch.arange(16.0).view(1, 16, 1, 1))
    assert first.flatten().tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert others.flatten().tolist() == [4, 5, 6, 7, 12, 13, 14, 15]
    # of any p: the same channels as the shuffle by a transposition
    block, x = ParsimoniousConv(36, 4, 3, 1), torch.arange(36.0).view(1, 36, 1, 1)
    shuffled = x.view(3, 12).T.flatten()
    first, others = block.divide(x)
    assert set(first.flatten().tolist()) == set(shuffled[:12].tolist())
    assert set(others.flatten().tolist()) == set(shuffled[12:].tolist())


def test_only_the_first_channels_see_their_neighbours():
    block, x = ParsimoniousConv(16, 4), torch.zeros(1, 16, 5, 5, requires_grad=True)
    block(x)[0, :, 2, 2].sum().backward()
    seen = (x.grad[0] != 0).sum((1, 2))
    assert seen.tolist() == [9] * 4 + [1] * 4 + [9] * 4 + [1] * 4


@pytest.mark.parametrize(("norm", "kind"), [("BN", nn.BatchNorm2d), ("GN", nn.GroupNorm), ("FrozenBN", nn.GroupNorm)])
def test_norms_inside_are_of_the_modules_kind(norm, kind):
    block = ParsimoniousConv(32, 32, inner_norm=norm, bias=False, norm=FrozenBatchNorm2d(32))
    assert isinstance(block.spatial[1], kind) and isinstance(block.spatial[3], kind)
    assert not any(layer.bias is not None for layer in block.modules() if isinstance(layer, nn.Conv2d))


def test_norms_inside_are_folded_with_the_same_result():
    block = ParsimoniousConv(32, 32, inner_norm="BN", norm=nn.BatchNorm2d(32), activation=nn.ReLU())
    for _ in range(3):
        block(torch.randn(4, 32, 6, 6) * 2 + 1)
    block.eval()
    x = torch.randn(2, 32, 6, 6)
    wanted = block(x)
    assert fuse_norms(block) == 2
    assert torch.allclose(block(x), wanted, atol=1e-5)


@pytest.mark.parametrize("places", [*([place] for place in PLACES), list(PLACES)], ids="+".join)
def test_blocks_stand_where_they_are_asked_for(tiny_cfg, places):
    tiny_cfg.MODEL.RECOGNITION.CTC_WEIGHT = 0.0
    plain = build(tiny_cfg)
    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = places
    model = build(tiny_cfg)
    wanted = [name for place in places for name in STANDS[place]]
    assert blocks_of(model) == [n for n, _ in model.named_modules() if n in wanted] and len(blocks_of(model)) == len(wanted)
    # nothing else has another name or shape
    own, before = model.state_dict(), plain.state_dict()
    changed = tuple(f"{name}." for name in wanted)
    assert {k: v.shape for k, v in own.items() if not k.startswith(changed)} == {
        k: v.shape for k, v in before.items() if not k.startswith(changed)
    }
    # the norm behind a block is the one that stood behind the convolution
    assert "fpn" not in places or "backbone.fpn_output2.norm.weight" in own


def test_without_places_the_spotter_is_the_same_bit_for_bit(tiny_cfg):
    assert tiny_cfg.MODEL.PARSIMONIOUS.WHERE == []
    plain = build(tiny_cfg)
    tiny_cfg.MODEL.PARSIMONIOUS.GROUPS, tiny_cfg.MODEL.PARSIMONIOUS.REDUCTION = 4, 4
    other = build(tiny_cfg)
    assert not blocks_of(other)
    a, b = plain.state_dict(), other.state_dict()
    assert list(a) == list(b) and all(torch.equal(value, b[name]) for name, value in a.items())
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for x, y in zip(plain.backbone(image).values(), other.backbone(image).values(), strict=True):
            assert torch.equal(x, y)


def test_the_cost_law_holds_and_blocks_are_cheaper(tiny_cfg):
    plain = build(tiny_cfg)
    full = SpotterCost.measure(plain)
    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = list(PLACES)
    model = build(tiny_cfg)
    law = SpotterCost.measure(model)  # raises where the law is off by more than 1 %
    counted = model.count_parts((192, 256), 4, 9)
    expected = law.flops(torch.tensor(192 * 256), torch.tensor(4), 9)
    assert float(expected) == pytest.approx(counted.total, rel=0.01)
    assert law.per_pixel < full.per_pixel and law.stem_per_pixel < full.stem_per_pixel and law.per_word < full.per_word
    # one 3x3 convolution of 16 channels on the RPN's levels, 2 FLOPs a weight
    C = 16
    saved = 2 * (9 * C * C - (C * C // 8 + 9 * C // 4 + C * C // 4 + C * C // 2))
    cells = sum(1 / 4**i for i in (2, 3, 4, 5)) + 1 / 64**2
    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = ["rpn"]
    assert full.per_pixel - SpotterCost.measure(build(tiny_cfg)).per_pixel == pytest.approx(saved * cells, rel=0.01)


def test_a_checkpoint_holds_the_blocks(tiny_cfg, tmp_path):
    from dld.engine.checkpoint import WholeSpotterCheckpointer

    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = list(PLACES)
    model, other = build(tiny_cfg), build(tiny_cfg, 1)
    WholeSpotterCheckpointer(model, str(tmp_path)).save("own")
    WholeSpotterCheckpointer(other).load(str(tmp_path / "own.pth"))
    a, b = model.state_dict(), other.state_dict()
    assert all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("WHERE", ["fpn", "neck"], "MODEL.PARSIMONIOUS.WHERE must be of fpn, rpn, stem, encoder, mask, got 'neck'"),
        ("GROUPS", 1, "MODEL.PARSIMONIOUS.GROUPS must be at least 2, got 1"),
        ("REDUCTION", 0, "MODEL.PARSIMONIOUS.REDUCTION must be at least 1, got 0"),
        ("GROUPS", 3, r"16 channels must be multiples of 9 \(MODEL.PARSIMONIOUS.GROUPS squared\) and of 6"),
    ],
)
def test_mistakes_name_the_key(tiny_cfg, key, value, message):
    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = ["rpn"]
    tiny_cfg.MODEL.PARSIMONIOUS[key] = value
    with pytest.raises(ValueError, match=message) as error:
        build(tiny_cfg)
    assert "\n" not in str(error.value)


def test_a_place_without_such_a_convolution_is_named(tiny_cfg):
    tiny_cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 0
    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = ["mask"]
    with pytest.raises(ValueError, match="MODEL.PARSIMONIOUS.WHERE mask: this spotter has no 3x3 convolution there"):
        build(tiny_cfg)


def test_separable_outputs_of_the_detectors_pyramid_are_replaced(tiny_cfg):
    from detectron2.layers import ShapeSpec

    plain = TextConvNetFPN(TextConvNetStages(), 16)
    tiny_cfg.MODEL.PARSIMONIOUS.WHERE = ["fpn"]
    fpn = build_text_convnet_fpn_backbone(tiny_cfg, ShapeSpec(channels=3)).eval()
    assert blocks_of(fpn) == ["fpn_output2", "fpn_output3", "fpn_output4", "fpn_output5"]
    weights = [sum(p.numel() for p in net.fpn_output2.parameters() if p.dim() > 1) for net in (plain, fpn)]
    assert weights == [96 * 49 + 96 * 16, 96 * 96 // 8 + 9 * 24 + 24 * 16 + 48 * 16]
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(fpn.finest(image), fpn(image)["p2"])
