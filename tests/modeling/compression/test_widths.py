"""Channels that can go: where they are, what their layers cost, and spotters without them."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.modeling.compression.indicators import Indicators
from dld.modeling.compression.prunable import PLACES, cut, prunable_channels
from dld.modeling.compression.thinning import channel_strengths, strongest, uniform_widths
from dld.modeling.compression.width_cost import WidthCost, network_flops
from dld.modeling.compression.widths import configured_widths, cut_config
from dld.modeling.resolution.cost import SpotterCost

SIZE, WORDS = (128, 192), 3
PPOCR = ["MODEL.BACKBONE.NAME", "build_text_convnet_fpn_backbone", "MODEL.FPN.NORM", ""]
# kinds of channels of the spotter of the suite, by place; widths of 16 stay
TINY = {
    "backbone": [f"backbone.bottom_up.res{i}.0.conv1" for i in (3, 4, 5)],
    "rpn": ["proposal_generator.rpn_head.conv"],
    "box": ["roi_heads.box_head.fc1", "roi_heads.box_head.fc2"],
    "mask": ["roi_heads.mask_head.mask_fcn1", "roi_heads.mask_head.deconv"],
    "encoder": [f"roi_heads.recognizer.encoder.convs.{i}" for i in range(4)],
}


@pytest.fixture
def wide(tiny_cfg):
    """The spotter of the suite with heads that can be narrower."""
    tiny_cfg.merge_from_list(["MODEL.RPN.CONV_DIMS", [32], "MODEL.ROI_MASK_HEAD.CONV_DIM", 24, "MODEL.RECOGNITION.WIDTH", 32])
    return tiny_cfg


def build(cfg, *opts):
    cfg.merge_from_list(list(opts))
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                # norms that are more than a name
                for value in (module.weight, module.running_var):
                    value.uniform_(0.5, 2.0)
                for value in (module.bias, module.running_mean):
                    value.normal_(0, 0.3)
    return model


def some(channels, seed=0) -> dict[str, torch.Tensor]:
    """Half of the channels of every kind."""
    noise = torch.Generator().manual_seed(seed)
    return {n: torch.randperm(k.channels, generator=noise)[: k.channels // 2].sort().values for n, k in channels.items()}


def gated(model, channels, kept) -> Indicators:
    indicators = Indicators(channels)
    with torch.no_grad():
        split = indicators.alpha.split([k.channels for k in channels.values()])
        for (name, kind), alpha in zip(channels.items(), split, strict=True):
            alpha.fill_(-1e4)
            alpha[kept.get(name, torch.arange(kind.channels))] = 1e4
    indicators.refresh()
    assert set(indicators.all_values.tolist()) == {0.0, 1.0}
    indicators.attach(model)
    return indicators


@torch.no_grad()
def everything(model) -> dict[str, torch.Tensor]:
    """What backbone and heads say of an image and of words in it."""
    noise = torch.Generator().manual_seed(3)
    levels = model.backbone(torch.randn(2, 3, *SIZE, generator=noise))
    logits, deltas = model.proposal_generator.rpn_head(list(levels.values()))
    heads, recognizer = model.roi_heads, model.roi_heads.recognizer
    crops = torch.randn(3, levels["p2"].shape[1], 7, 7, generator=noise)
    scores, boxes = heads.box_predictor(heads.box_head(crops))
    masks = heads.mask_head.layers(torch.randn(3, levels["p2"].shape[1], 14, 14, generator=noise))
    words = recognizer.encoder(torch.randn(3, recognizer.stem(levels["p2"]).shape[1], 8, 32, generator=noise))
    every = {
        **levels,
        "logits": logits[0],
        "deltas": deltas[0],
        "scores": scores,
        "boxes": boxes,
        "masks": masks,
        "words": words,
    }
    return every


def test_channels_of_the_small_spotter(wide):
    channels = prunable_channels(build(wide))
    assert {place: [n for n, k in channels.items() if k.place == place] for place in TINY} == TINY
    assert channels["roi_heads.box_head.fc2"].channels == 32
    assert channels["roi_heads.box_head.fc2"].read == ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred")


def test_the_shipped_backbones_neck_has_one_kind_for_all_levels(wide):
    channels = prunable_channels(build(wide, *PPOCR))
    assert {k.place for k in channels.values()} == set(PLACES)
    neck = channels["backbone.neck"]
    assert neck.channels == 96 and len(neck.made) == 12 and len(neck.read) == len(neck.gated) == 8
    widths = [channels[f"backbone.bottom_up.net.blocks.{i}.widen"].channels for i in range(13)]
    assert widths == [96] * 3 + [192] * 3 + [384] * 5 + [768] * 2


@pytest.mark.parametrize("opts", [[], PPOCR, [*PPOCR, "MODEL.RPN.CONV_DIMS", [32, 24]]], ids=["tiny", "ppocr", "two"])
def test_a_cut_spotter_computes_what_the_gated_one_does(wide, opts):
    model = build(wide, *opts)
    channels = prunable_channels(model)
    kept = some(channels)
    before, indicators = everything(model), gated(model, channels, kept)
    wanted = everything(model)
    indicators.detach()
    narrow = copy.deepcopy(model)
    cut(narrow, channels, kept)
    found = everything(narrow)
    for name, value in found.items():
        scale = max(float(value.abs().max()), 1.0)
        assert value.shape == before[name].shape and (value - wanted[name]).abs().max() < 1e-5 * scale, name
    assert all(not torch.allclose(wanted[name], before[name], atol=1e-4) for name in ("p2", "boxes", "masks", "words"))
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in model.parameters())
    # the wide one is as before
    assert all(torch.equal(value, before[name]) for name, value in everything(model).items())


@pytest.mark.parametrize("opts", [[], PPOCR, ["MODEL.RECOGNITION.READER", "StripRecognizer"]], ids=["crops", "ppocr", "strips"])
def test_the_closed_form_is_what_is_counted(wide, opts):
    model = build(wide, *opts)
    channels = prunable_channels(model)
    cost = WidthCost.measure(model, channels, SIZE, WORDS)
    parts = model.count_parts(SIZE, WORDS, 12)
    assert cost.full == parts.total - (parts.recognition if model.reader is not None else 0)
    assert ("roi_heads.recognizer.encoder.convs.0" in cost.counted) == (model.reader is None)
    for seed in range(2):
        kept = some(channels, seed)
        narrow = copy.deepcopy(model)
        cut(narrow, channels, kept)
        share = cost.share_of({name: len(index) for name, index in kept.items()}, channels)
        assert network_flops(narrow, SIZE, WORDS, [])[0] == pytest.approx(share * cost.full, rel=1e-6)
    # by hand: half of the RPN's 32 channels on five levels, made of 16 by 3 x 3 weights and read by 5 x 6 predictions
    only = cost.among({"proposal_generator.rpn_head.conv"})
    cells = sum(SIZE[0] * SIZE[1] / 4**i for i in (2, 3, 4, 5)) + 2 * 3
    assert only.counted == {"proposal_generator.rpn_head.conv"}
    saved = only.full - only.expected({"proposal_generator.rpn_head.conv": 0.5, "backbone.neck": 0.1})
    assert saved == pytest.approx(2 * 16 * (9 * 16 + 30) * cells)


def test_norms_over_groups_of_channels_and_parsimonious_blocks_are_left_out(wide):
    groups = ["MODEL.RECOGNITION.NORM", "GN", "MODEL.RECOGNITION.STEM_DIM", 32, "MODEL.ROI_MASK_HEAD.NORM", "GN"]
    blocks = ["MODEL.ROI_MASK_HEAD.CONV_DIM", 32, "MODEL.PARSIMONIOUS.WHERE", ["rpn"]]
    channels = prunable_channels(build(wide, *groups, *blocks))
    assert [n for n, k in channels.items() if k.place in ("rpn", "mask", "encoder")] == ["roi_heads.mask_head.deconv"]


def test_uniform_widths_keep_one_share_and_cost_what_is_wanted(wide):
    model = build(wide, *PPOCR)
    channels = prunable_channels(model)
    cost = WidthCost.measure(model, channels, SIZE, WORDS)
    for rho in (0.7, 0.5):
        widths = uniform_widths(channels, cost, rho)
        assert 0.97 * rho < cost.share_of(widths, channels) <= rho
        shares = [widths[n] / k.channels for n, k in channels.items() if k.channels >= 96]
        assert max(shares) - min(shares) < 0.2
    with pytest.raises(ValueError, match=r"the fewest channels that this spotter may have cost 0\.\d+ of all, more than 0.01"):
        uniform_widths(channels, cost, 0.01)


def test_strong_channels_are_those_with_large_weights_that_are_read(wide):
    model = build(wide)
    channels = prunable_channels(model)
    name = "roi_heads.mask_head.mask_fcn1"
    conv, deconv = model.roi_heads.mask_head.mask_fcn1, model.roi_heads.mask_head.deconv
    with torch.no_grad():
        conv.weight.fill_(1.0)
        deconv.weight.fill_(1.0)
        conv.weight[3], deconv.weight[5], conv.weight[9], deconv.weight[9] = 2.0, 3.0, 0.5, 0.5
    strengths = channel_strengths(model, channels[name]) / (16 * 9) ** 0.5 / (24 * 4) ** 0.5
    assert strengths[[0, 3, 5, 9]].tolist() == pytest.approx([1, 2, 3, 0.25])
    assert strongest(model, channels, {name: 23})[name].tolist() == [i for i in range(24) if i != 9]
    assert strongest(model, channels, {name: 24}) == {}
    # a channel that the norm behind it makes small
    name, conv1 = "backbone.bottom_up.res4.0.conv1", model.backbone.bottom_up.res4[0].conv1
    before = channel_strengths(model, channels[name])
    with torch.no_grad():
        conv1.norm.weight[4] *= 0.1
        conv1.norm.running_var[6] = 4 * (conv1.norm.running_var[6] + conv1.norm.eps) - conv1.norm.eps
    ratio = channel_strengths(model, channels[name]) / before
    assert ratio[[4, 6, 7]].tolist() == pytest.approx([0.1, 0.5, 1.0], rel=1e-4)


@pytest.mark.parametrize("opts", [[], PPOCR], ids=["tiny", "ppocr"])
def test_a_configuration_builds_the_cut_spotter(wide, opts, tmp_path):
    from dld.engine.checkpoint import WholeSpotterCheckpointer

    model = build(wide, *opts)
    channels = prunable_channels(model)
    kept = some(channels)
    narrow = cut_config(wide, kept, model)
    full = SpotterCost.measure(model)
    cut(model, channels, kept)
    assert configured_widths(narrow) == {name: len(index) for name, index in kept.items()}
    WholeSpotterCheckpointer(model, str(tmp_path), extra={"config": narrow.dump()}).save("cut")
    other = build(narrow)
    WholeSpotterCheckpointer(other).load(str(tmp_path / "cut.pth"))
    for name, value in everything(other.eval()).items():
        torch.testing.assert_close(value, everything(model)[name], atol=1e-6, rtol=1e-5)
    # the law that prices scales, which holds to 1 %
    law = SpotterCost.measure(other)
    assert law.per_pixel < full.per_pixel and law.per_image < full.per_image and law.per_word < full.per_word
    # a second cut keeps what the first one said of other layers
    again = cut_config(narrow, {"roi_heads.box_head.fc1": torch.arange(3)}, other)
    assert configured_widths(again) == {**configured_widths(narrow), "roi_heads.box_head.fc1": 3}


def test_without_widths_the_spotter_is_the_same_bit_for_bit(wide):
    assert wide.MODEL.PRUNED_WIDTHS == []
    a = build(wide).state_dict()
    b = build(wide, "MODEL.COMPRESSION.RHO", 0.3).state_dict()
    assert list(a) == list(b) and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (["a"], r"MODEL.PRUNED_WIDTHS must be a list of \[name, width\], got 'a' in it"),
        ([["roi_heads.box_head.fc1", 2.5]], r"must be a list of \[name, width\], got \['roi_heads.box_head.fc1', 2.5\]"),
        ([["roi_heads.box_head.fc1", 16]] * 2, "MODEL.PRUNED_WIDTHS names a layer twice"),
        ([["backbone.neck", 16]], "this spotter has no channels 'backbone.neck' that can be cut; it has backbone.bottom_up"),
        ([["roi_heads.box_head.fc1", 33]], "roi_heads.box_head.fc1 must have from 1 to 32 channels, got 33"),
    ],
)
def test_mistakes_name_the_key(wide, widths, message):
    wide.MODEL.PRUNED_WIDTHS = widths
    with pytest.raises(ValueError, match=message) as error:
        build(wide)
    assert "\n" not in str(error.value)


def test_a_text_perceptron_has_none(wide):
    wide.MODEL.META_ARCHITECTURE, wide.MODEL.PRUNED_WIDTHS = "TextPerceptron", [["heads", 8]]
    with pytest.raises(ValueError, match="TextPerceptron has no widths to search: .* and MODEL.PRUNED_WIDTHS empty"):
        build(wide)
    wide.MODEL.PRUNED_WIDTHS = []
    with pytest.raises(ValueError, match="TextPerceptron has no widths to search"):
        build(wide).prunable_channels()
