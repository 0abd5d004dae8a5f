"""Encoders of strips by name: the columns of the default one, a file that rebuilds them, a cost that can be counted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_backbone
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.config import get_dld_cfg
from dld.modeling.flops import strip_flops
from dld.modeling.meta_arch.strip_distiller import StripDistiller
from dld.modeling.recognition.spotter_encoders import BandHead
from dld.modeling.recognition.strip_encoder import (
    STRIP_ENCODER_REGISTRY,
    StripEncoder,
    build_strip_encoder,
    encoder_description,
    start_encoder,
)
from dld.modeling.recognition.strip_recognizer import (
    StripRecognizer,
    build_strip_recognizer,
    load_strip_recognizer,
    new_student,
)
from dld.modeling.resolution.cost import SpotterCost, _strip_law, stored_cost
from dld.runtime.scale_rule import _strip_flops
from dld.strips.grouping import PADDED_WIDTHS, StripSize
from dld.strips.heights import FORMS
from dld.strips.rows_price import RowsPrice
from dld.text.charset import Charset
from dld.weights import load_weights_file, save_safetensors

CHARSET = Charset("abcdefgh ")
OWN = ["pyramid", "stem", "ToyEncoder"]


@STRIP_ENCODER_REGISTRY.register()
class ToyEncoder(StripEncoder):
    """One convolution; its width is what MODEL.TOY_WIDTH says where there is such a key."""

    def __init__(self, cfg):
        super().__init__()
        self.patches = nn.Conv2d(3, cfg.MODEL.get("TOY_WIDTH", 384), 4, 4)

    def forward(self, strips):
        return self.patches(strips).relu()


def settings(encoder, *options):
    cfg = get_dld_cfg()
    cfg.merge_from_file("configs/reader_ppocr.yaml")
    cfg.merge_from_list(
        ["MODEL.DEVICE", "cpu", "MODEL.STRIPS.ENCODER.NAME", encoder, "MODEL.RECOGNITION.CHARACTERS", "abcdefgh "]
    )
    cfg.merge_from_list(["MODEL.STRIPS.CHARSET", "", *options])
    return cfg


def new_reader(encoder, *options, seed=0):
    """Random weights."""
    cfg = settings(encoder, *options)
    torch.manual_seed(seed)
    return StripRecognizer(charset=CHARSET, encoder=build_strip_encoder(cfg), encoder_metadata=encoder_description(cfg))


def strips(rows, width=160, count=2, seed=1):
    noise = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, rows, int(FORMS[rows].columns(width)), generator=noise) * 2 - 1


def saved(reader, path):
    save_safetensors(str(path), reader.state_dict(), reader.encoder_metadata, half=False)
    return str(path)


@pytest.fixture(scope="module", params=OWN)
def reader(request):
    return new_reader(request.param)


@pytest.mark.parametrize("rows", sorted(FORMS))
@pytest.mark.parametrize("width", [8, *PADDED_WIDTHS])
def test_every_encoder_gives_the_columns_of_the_default_one(reader, rows, width):
    assert reader.columns(strips(rows, width)).shape == (2, width // 8, 120)
    assert reader.logits(strips(rows, width, 0)).shape == (0, width // 8, CHARSET.num_outputs)


def test_strips_of_a_batch_do_not_see_each_other(reader):
    x = strips(24, count=3)
    together = reader.logits(x)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], reader.logits(x[i : i + 1]), atol=1e-5, rtol=1e-4)


def test_the_default_is_the_reader_of_before():
    reader = new_student(settings("ppocr"))
    shipped = load_weights_file("dld://strip_reader")
    assert not {"encoder", "encoder_config"} & set(shipped) and reader.encoder_metadata == {}
    assert reader.encoder_name == "ppocr" and encoder_description(settings("ppocr")) == {}
    own = {k: v for k, v in reader.state_dict().items() if k.startswith(("body.", "mixer."))}
    assert own.keys() == {k for k in shipped["model"] if k.startswith(("body.", "mixer."))}
    assert all(torch.equal(v, shipped["model"][k].float()) for k, v in own.items())


@pytest.mark.parametrize("rows", sorted(FORMS))
@pytest.mark.parametrize("backbone", ["text_convnet_fpn", "tiny_resnet_fpn", "resnet_fpn"])
def test_the_pyramid_is_that_of_the_spotter_on_the_padded_strip(backbone, rows):
    cfg = settings("pyramid", "MODEL.BACKBONE.NAME", f"build_{backbone}_backbone", "MODEL.FPN.OUT_CHANNELS", 64)
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, cfg.MODEL.RESNETS.NORM = 18, 64, "BN"
    torch.manual_seed(0)
    spotter = build_backbone(cfg).eval()
    encoder = build_strip_encoder(cfg).eval()
    encoder.start_from({f"backbone.{k}": v for k, v in spotter.state_dict().items()})
    encoder.head = nn.Identity()
    x = strips(rows)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    image = ((x + 1) * 127.5 - mean) / std
    H, W = image.shape[2:]
    padded = image.new_zeros(2, 3, -(-H // 32) * 32, -(-W // 32) * 32)
    padded[:, :, :H, :W] = image
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), spotter(padded)["p2"][:, :, : H // 4, : W // 4], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["build_text_convnet_fpn_backbone", "build_tiny_resnet_fpn_backbone"])
def test_the_stem_is_that_of_the_spotter_and_nothing_later_is_left(backbone):
    cfg = settings("stem", "MODEL.BACKBONE.NAME", backbone)
    torch.manual_seed(0)
    spotter = build_backbone(cfg).eval()
    encoder = build_strip_encoder(cfg).eval()
    encoder.start_from({f"backbone.{k}": v for k, v in spotter.state_dict().items()})
    encoder.own, encoder.head = nn.Identity(), nn.Identity()
    x = strips(32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    with torch.no_grad():
        wanted = spotter.bottom_up(((x + 1) * 127.5 - mean) / std)["res2"]
        torch.testing.assert_close(encoder(x), wanted, atol=1e-4, rtol=1e-4)
    count, whole = (sum(p.numel() for p in m.parameters()) for m in (encoder.trunk, spotter.bottom_up))
    assert count < 0.1 * whole


@pytest.mark.parametrize("rows", [4, 6, 8, 12])
def test_bands_are_means_of_rows(rows):
    torch.manual_seed(0)
    head, x = BandHead(5, 7), torch.randn(2, 5, rows, 9)
    wanted = head.out(F.gelu(head.across(F.adaptive_avg_pool2d(x, (4, 9)))))
    torch.testing.assert_close(head(x), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("encoder", ["pyramid", "stem"])
def test_the_student_starts_from_a_copy_of_the_spotter_and_from_the_reader(encoder):
    cfg = settings(encoder)
    model = StripDistiller(cfg)
    student, spotter = model.student, load_weights_file("dld://teacher_tiny")["model"]
    prefix = "backbone." if encoder == "pyramid" else "backbone.bottom_up."
    for name, value in student.body.trunk.state_dict().items():
        assert torch.equal(value, spotter[f"{prefix}{name}"].float())
    shipped = load_strip_recognizer(cfg.MODEL.STRIPS.WEIGHTS)
    shipped.keep_characters(CHARSET)
    assert model.teacher.encoder_name == "ppocr" and student.encoder_name == encoder
    for part in ("mixer", "head"):
        for one, other in zip(getattr(student, part).parameters(), getattr(shipped, part).parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("encoder", OWN)
@pytest.mark.parametrize("rows", [48, 24])
def test_gradients_reach_every_weight_of_the_encoder(encoder, rows):
    model = StripDistiller(settings(encoder)).train()
    losses = model.losses([word(text, rows) for text in ("bad", "face")], rows)
    assert set(losses) == {"loss_ctc", "loss_kd_characters", "loss_kd_columns"}
    assert model.losses([], rows)["loss_ctc"] == 0
    sum(losses.values()).backward()
    assert not [n for n, p in model.student.body.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(p.grad is None for p in model.teacher.parameters())


def word(text, rows):
    from dld.data.strip_words import StripWord

    rng = np.random.default_rng(len(text))
    pixels = {r: rng.integers(0, 255, (r, int(FORMS[r].columns(160)), 3), dtype=np.uint8) for r in {48, rows}}
    return StripWord(text=text, strips=pixels, width=160, height=20.0, fill=1.0)


def test_batch_norm_of_the_copy_keeps_its_statistics():
    reader = new_reader("pyramid", "MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone").train()
    before = {k: v.clone() for k, v in reader.state_dict().items() if "running" in k}
    reader.columns(strips(24))
    assert before and all(torch.equal(v, reader.state_dict()[k]) for k, v in before.items())
    assert reader.training and reader.body.head.training


def test_a_file_rebuilds_its_reader(reader, tmp_path):
    path = saved(reader, tmp_path / "reader.safetensors")
    with safe_open(path, "pt") as file:
        assert file.metadata()["encoder"] == reader.encoder_name
    loaded = load_strip_recognizer(path)
    assert loaded.encoder_metadata == reader.encoder_metadata and type(loaded.body) is type(reader.body)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for rows in FORMS:
        torch.testing.assert_close(loaded.logits(strips(rows)), reader.logits(strips(rows)))
    loaded.keep_characters(Charset("ba"))
    torch.testing.assert_close(loaded.logits(strips(24)), reader.logits(strips(24))[..., [0, 2, 1]])


def test_a_file_knows_the_backbone_and_the_keys_of_its_encoder_but_no_weights_that_it_started_from(tmp_path):
    narrow = ["MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone", "MODEL.TINY_RESNET.WIDTHS", [16, 24, 32, 48]]
    reader = new_reader("stem", *narrow, "MODEL.STRIPS.ENCODER.WEIGHTS", "some/where.pth")
    assert "where.pth" not in reader.encoder_metadata["encoder_config"]
    assert load_strip_recognizer(saved(reader, tmp_path / "a.safetensors")).body.trunk.stem.conv2.out_channels == 16
    cfg = settings("ToyEncoder")
    cfg.MODEL.set_new_allowed(True)
    cfg.MODEL.TOY_WIDTH = 384
    toy = StripRecognizer(charset=CHARSET, encoder=build_strip_encoder(cfg), encoder_metadata=encoder_description(cfg))
    assert "TOY_WIDTH" in toy.encoder_metadata["encoder_config"]
    assert load_strip_recognizer(saved(toy, tmp_path / "b.safetensors")).encoder_name == "ToyEncoder"


def one_line(error):
    return "\n" not in str(error.value)


def test_a_file_with_an_encoder_that_is_not_there_is_named(tmp_path):
    reader, path = new_reader("stem"), tmp_path / "reader.safetensors"
    state = {k: v.contiguous() for k, v in reader.state_dict().items()}
    save_file(state, path, {"encoder": "MyEncoder", "encoder_config": ""})
    with pytest.raises(ValueError, match=r"reader\.safetensors .*'MyEncoder' is not in STRIP_ENCODER_REGISTRY") as error:
        load_strip_recognizer(str(path))
    assert one_line(error)
    for text in ("", "MODEL: [1", "MODEL: 3", "- 1", "MODEL: {BACKBONE: {NAME: no}}", "!!python/object/apply:os.getcwd []"):
        save_file(state, path, {"encoder": "stem", "encoder_config": text})
        with pytest.raises(ValueError, match=r"reader\.safetensors does not hold a reader of strips"):
            load_strip_recognizer(str(path))


def test_another_encoder_is_no_start():
    stem, pyramid, default = new_reader("stem"), new_reader("pyramid"), new_reader("ppocr")
    for student in (pyramid, default):
        with pytest.raises(
            ValueError, match="has the encoder stem, the student .*: set MODEL.STRIPS.ENCODER.NAME stem"
        ) as error:
            student.start_from(stem)
        assert one_line(error)
    narrow = new_reader("stem", "MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone")
    with pytest.raises(ValueError, match="encoder stem is of another configuration") as error:
        narrow.start_from(stem)
    assert one_line(error)
    body = {k: v.clone() for k, v in stem.body.state_dict().items()}
    default = new_reader("ppocr", seed=5)
    stem.start_from(default)
    assert torch.equal(stem.mixer.inward.weight, default.mixer.inward.weight)
    assert all(torch.equal(v, body[k]) for k, v in stem.body.state_dict().items()), (
        "the default's mixer fits, its body does not"
    )
    other = new_reader("stem", seed=9)
    stem.start_from(other)
    torch.testing.assert_close(stem.logits(strips(24)), other.logits(strips(24)))


def test_mistakes_of_the_configuration_are_named():
    with pytest.raises(
        ValueError, match="MODEL.STRIPS.ENCODER.NAME must be one of ToyEncoder, ppocr, pyramid, stem, got 'resnet'"
    ):
        new_student(settings("resnet"))
    cfg = settings("ToyEncoder")
    cfg.MODEL.set_new_allowed(True)
    cfg.MODEL.TOY_WIDTH = 32
    with pytest.raises(ValueError, match=r"NAME ToyEncoder gives features \(1, 32, 12, 24\) of a strip"):
        build_strip_encoder(cfg)
    cfg = settings("stem", "MODEL.STRIPS.ENCODER.WEIGHTS", "no/where.pth")
    with pytest.raises(FileNotFoundError, match=r"MODEL\.STRIPS\.ENCODER\.WEIGHTS: .*no/where\.pth"):
        new_student(cfg)
    cfg = settings("stem", "MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone")
    with pytest.raises(ValueError, match="ENCODER.WEIGHTS dld://teacher_tiny: weights of another backbone"):
        new_student(cfg)
    cfg.MODEL.STRIPS.ENCODER.WEIGHTS = ""
    assert new_student(cfg).encoder_name == "stem"
    cfg = settings("pyramid", "MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.OUT_FEATURES", ["res4"])
    with pytest.raises(ValueError, match="pyramid: MODEL.BACKBONE.NAME gives no level of stride 4"):
        build_strip_encoder(cfg)


def test_the_default_starts_from_no_spotter():
    cfg = settings("ppocr", "MODEL.STRIPS.ENCODER.WEIGHTS", "no/where.pth")
    start_encoder(cfg, build_strip_encoder(cfg))


def test_other_number_formats(reader):
    x = strips(24)
    exact, state = reader.logits(x), {k: v.clone() for k, v in reader.state_dict().items()}
    try:
        assert reader.compute_in(torch.bfloat16) is reader
        assert {p.dtype for p in reader.body.parameters()} == {torch.bfloat16}
        near = reader.logits(x.to(torch.bfloat16))
        assert near.dtype == torch.float32 and (near - exact).abs().mean() < 0.05 * exact.abs().mean()
        pixels = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
        assert reader.read_batch(pixels)[1].dtype == np.float32
    finally:
        reader.float().load_state_dict(state)


def test_low_strips_are_read_with_the_encoder_of_their_own_weights(tmp_path):
    cfg = settings("ppocr", "MODEL.RECOGNITION.READER", "StripRecognizer")
    files = {name: saved(new_reader(name), tmp_path / f"{name}.safetensors") for name in ("pyramid", "stem")}
    cfg.MODEL.STRIPS.WEIGHTS, cfg.MODEL.STRIPS.LOW_WEIGHTS = files["stem"], files["pyramid"]
    reader = build_strip_recognizer(cfg)
    assert (reader.encoder_name, reader.low.encoder_name) == ("stem", "pyramid")
    for rows, name in ((48, "stem"), (24, "pyramid")):
        torch.testing.assert_close(reader.logits(strips(rows)), load_strip_recognizer(files[name]).logits(strips(rows)))


def test_a_spotter_reads_with_the_file(reader, tmp_path, make_record):
    from dld.inference.predictor import TextSpotter

    options = ["MODEL.STRIPS.WEIGHTS", saved(reader, tmp_path / "reader.safetensors"), "MODEL.STRIPS.CHARSET", "all"]
    options += ["MODEL.STRIPS.SCORE_THRESH", 0.0, "MODEL.STRIPS.ROWS", [32], "MODEL.INFERENCE_DTYPE", "float32"]
    spotter = TextSpotter.from_pretrained("teacher_tiny", device="cpu", opts=options)
    assert spotter.model.reader.encoder_name == reader.encoder_name
    torch.testing.assert_close(spotter.model.reader.logits(strips(32)), reader.logits(strips(32)))
    result = spotter(make_record(("stone", "river"), 200, 320, font=2.0)["image"])
    assert result.words and set("".join(w.text for w in result.words)) <= set(CHARSET.characters)


class Reading:
    """What the law of strips needs of a spotter."""

    strip_rows, expected_strip_width = tuple(sorted(FORMS, reverse=True)), 160

    def __init__(self, reader):
        self.reader = reader


@pytest.mark.parametrize("encoder", ["ppocr", *OWN])
def test_the_cost_of_strips_is_what_counting_says(encoder):
    reader = new_reader(encoder)
    law = SpotterCost(0.0, 0.0, 0.0, 0.0, 0.0, 32, **_strip_law(Reading(reader)))
    assert bool(law.padded_strips) == (encoder == "pyramid")
    assert stored_cost(law.numbers()) == law
    for rows in FORMS:
        for width in (PADDED_WIDTHS[0], 120, 200, PADDED_WIDTHS[-1]):
            counted = strip_flops(reader, width, rows)
            assert law.reading_flops([StripSize(rows, width)]) == pytest.approx(counted, rel=0.01)
            assert _strip_flops(vars(law), 1, [StripSize(rows, width)]) == pytest.approx(counted, rel=0.01)
            lowest = RowsPrice({rows: np.zeros(7)}, law.strip_laws, 1.0)
            assert lowest.expected_flops([1.0, *[0.0] * 6], width, [rows], 2.0) == pytest.approx(counted, rel=0.01)
    assert _strip_flops(vars(law), 2, None) == pytest.approx(2 * law.expected_reading)
