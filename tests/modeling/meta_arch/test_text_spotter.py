import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from distilling import DETECTION, READING, SCENES, WORDS

import dld.modeling  # noqa: F401  only registration
from dld.config import get_dld_cfg
from dld.data.dataset_mapper import TextDatasetMapper


def build(cfg):
    torch.manual_seed(0)
    return build_model(cfg)


@pytest.fixture
def training_batch(tiny_cfg, make_record):
    """A batch from one pair of (words, ignored indices) an image."""
    mapper = TextDatasetMapper(tiny_cfg, True)

    def batch(*images):
        rng = np.random.default_rng(0)
        return [mapper(make_record(words, ignore=ignore, seed=i), rng) for i, (words, ignore) in enumerate(images)]

    return batch


SCENES_AND_TALL = {**SCENES, "one tall": [WORDS, (("i", "stone"), ())]}


@pytest.mark.parametrize("only", [False, True], ids=["all", "recognition only"])
@pytest.mark.parametrize("scene", SCENES_AND_TALL)
def test_every_scene_gives_finite_losses_and_a_gradient_for_every_weight(tiny_cfg, training_batch, storage, scene, only):
    """Distributed training waits for ever for a weight without gradient."""
    tiny_cfg.MODEL.RECOGNITION.ONLY = only
    model = build(tiny_cfg).train()
    losses = model(training_batch(*SCENES_AND_TALL[scene]))
    assert all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    assert set(losses) == (READING if only else READING | DETECTION)
    if scene in ("no words in the batch", "every word ignored"):
        assert losses["loss_rec"] == 0 and losses["loss_ctc"] == 0


def test_recognition_only_trains_backbone_and_recogniser(tiny_cfg):
    tiny_cfg.MODEL.RECOGNITION.ONLY = True
    trained = {n for n, p in build(tiny_cfg).named_parameters() if p.requires_grad}
    assert any(n.startswith("backbone.bottom_up") for n in trained) and "backbone.fpn_output2.weight" in trained
    assert any(n.startswith("roi_heads.recognizer.decoder") for n in trained)
    others = ("proposal_generator", "roi_heads.box", "roi_heads.mask", "backbone.fpn_output5")
    assert not any(n.startswith(others) for n in trained)


def test_both_stages_have_the_same_weights_by_name(tiny_cfg):
    whole = build(tiny_cfg).state_dict()
    tiny_cfg.MODEL.RECOGNITION.ONLY = True
    assert list(build(tiny_cfg).state_dict()) == list(whole)


def test_the_recognition_path_alone_gives_the_features_of_the_whole(tiny_cfg, training_batch, storage):
    model = build(tiny_cfg).train()
    batch = training_batch(WORDS, WORDS)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images = model.preprocess_image(batch)
    words = [x["instances"] for x in batch]
    _, whole, read, _, _ = model.losses(images, words)
    alone, _ = model.recognize(images, words)
    assert [len(x) for x in read] == [2, 2]
    torch.testing.assert_close(alone.roi, whole.roi)
    torch.testing.assert_close(alone.context, whole.context)


def test_bfloat16_on_the_cpu_is_close_to_float32(tiny_cfg, training_batch, storage):
    model, batch = build(tiny_cfg).train(), training_batch(WORDS, WORDS)
    torch.manual_seed(0)
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        half = model(batch)
    sum(half.values()).backward()
    assert {v.dtype for v in half.values()} == {torch.float32}
    for name in ("loss_rpn_cls", "loss_rec", "loss_ctc", "loss_mask"):
        assert half[name].item() == pytest.approx(exact[name].item(), rel=0.1)


def test_channels_last_is_a_layout_and_nothing_else(tiny_cfg, training_batch, storage):
    losses = []
    for last in (True, False):
        tiny_cfg.MODEL.CHANNELS_LAST = last
        model, batch = build(tiny_cfg).train(), training_batch(WORDS, WORDS)
        torch.manual_seed(0)
        losses.append({k: v.item() for k, v in model(batch).items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.fixture
def reader(tiny_cfg):
    """A model that keeps many boxes, untrained as it is."""
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    return build(tiny_cfg).eval()


def spot(model, cfg, records):
    mapper = TextDatasetMapper(cfg, False)
    with torch.no_grad():
        return [x["instances"] for x in model([mapper(r) for r in records])]


def same_words(a, b):
    assert len(a) == len(b) > 0 and a.pred_texts == b.pred_texts
    torch.testing.assert_close(a.pred_boxes.tensor, b.pred_boxes.tensor, atol=1e-3, rtol=0)
    torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
    for p, q in zip(a.pred_polygons, b.pred_polygons, strict=True):
        np.testing.assert_allclose(p, q, atol=1e-2)


def test_reading_is_deterministic_and_words_do_not_depend_on_the_batch(tiny_cfg, reader, make_record):
    records = [make_record(seed=i) for i in range(3)]
    together = spot(reader, tiny_cfg, records)
    for first, again, record in zip(together, spot(reader, tiny_cfg, records), records, strict=True):
        same_words(first, again)
        same_words(first, spot(reader, tiny_cfg, [record])[0])


def test_results_are_in_pixels_of_the_original_image(tiny_cfg, reader, make_record):
    record = make_record(height=96, width=128)
    small = spot(reader, tiny_cfg, [record])[0]
    tiny_cfg.INPUT.MIN_SIZE_TEST = 96
    mapped = TextDatasetMapper(tiny_cfg, False)(record)
    mapped.update(height=960, width=640)
    with torch.no_grad():
        large = reader([mapped])[0]["instances"]
    assert small.image_size == (96, 128) and large.image_size == (960, 640)
    torch.testing.assert_close(
        large.pred_boxes.tensor, small.pred_boxes.tensor * torch.tensor([5.0, 10, 5, 10]), atol=1e-2, rtol=1e-4
    )
    for p, q in zip(large.pred_polygons, small.pred_polygons, strict=True):
        assert (q >= 0).all() and (q <= [128, 96]).all() and (p <= [640, 960]).all()


def test_bfloat16_at_test_finds_the_same_words_but_for_its_rounding():
    from dld.data.synthesis.config import SynthWordsConfig
    from dld.data.synthesis.synthwords import SynthWordsDataset
    from dld.inference.predictor import TextSpotter

    config = SynthWordsConfig(size=(320, 448), min_height=24, max_words=6)
    pictures = [SynthWordsDataset("val", config=config)[i]["image"] for i in range(4)]
    read = {}
    for dtype in ("float32", "bfloat16"):
        options = ["MODEL.INFERENCE_DTYPE", dtype, "INPUT.MIN_SIZE_TEST", "320", "MODEL.DEVICE", "cpu"]
        spotter = TextSpotter.from_pretrained("teacher_tiny", opts=options)
        assert spotter.model.inference_dtype == (None if dtype == "float32" else torch.bfloat16)
        read[dtype] = [(i, word) for i, picture in enumerate(pictures) for word in spotter(picture).words]
    assert len(read["float32"]) >= 10

    # the middle of the box, with pictures far apart: the mean of the corners moves with how many there are
    centres = {
        dtype: np.array([[1e4 * i, 0] + (w.polygon.min(0) + w.polygon.max(0)) / 2 for i, w in words])
        for dtype, words in read.items()
    }
    distance = np.linalg.norm(centres["float32"][:, None] - centres["bfloat16"][None], axis=-1)
    assert np.mean(distance.min(1) < 4) > 0.85 and np.mean(distance.min(0) < 4) > 0.85
    assert any(a.score != b.score for (_, a), (_, b) in zip(*read.values(), strict=False)), "it was used"


def test_an_unknown_number_format_is_named(tiny_cfg):
    tiny_cfg.MODEL.INFERENCE_DTYPE = "int8"
    with pytest.raises(ValueError, match="one of float32, bfloat16, float16, auto, got 'int8'"):
        build(tiny_cfg)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("SCORE_THRESH", (-0.1, 1.1, float("nan"))),
        ("DETECTION_THRESH", (-0.1, 2.0, float("nan"))),
        ("EXPECTED_WIDTH", (-8, 0, 809)),
    ],
)
def test_settings_of_strips_that_make_no_sense_are_named(tiny_cfg, key, values):
    tiny_cfg.MODEL.RECOGNITION.READER = "StripRecognizer"
    for value in values:
        tiny_cfg.MODEL.STRIPS[key] = value
        with pytest.raises(ValueError, match=f"MODEL.STRIPS.{key} must be .*, got {value}"):
            build(tiny_cfg)


def test_what_inference_returns(tiny_cfg, reader, make_record):
    words = spot(reader, tiny_cfg, [make_record()])[0]
    assert set(words.get_fields()) == {
        "pred_boxes",
        "scores",
        "pred_classes",
        "pred_polygons",
        "pred_texts",
        "pred_char_scores",
    }
    for text, scores, polygon in zip(words.pred_texts, words.pred_char_scores, words.pred_polygons, strict=True):
        assert len(scores) == len(text) and all(0 < s <= 1 for s in scores)
        assert polygon.dtype == np.float32 and polygon.ndim == 2 and len(polygon) >= 3


def test_an_image_in_which_nothing_is_found(tiny_cfg, make_record):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 1.1
    words = spot(build(tiny_cfg).eval(), tiny_cfg, [make_record(), make_record(words=())])
    assert [len(w) for w in words] == [0, 0] and words[0].pred_texts == []


def test_the_papers_model_trains_a_step(make_record, storage):
    cfg = get_dld_cfg()
    cfg.merge_from_file("configs/teacher_R50.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.TEXT_CROP.ENABLED = (128,), False
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16  # 512 in the recipe: a matter of time alone
    model = build(cfg).train()
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    assert 40e6 < sum(sizes.values()) < 60e6
    losses = model([TextDatasetMapper(cfg, True)(make_record(height=128, width=128), np.random.default_rng(0))])
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask", "loss_rec"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_a_learned_locator_is_refused_where_no_strips_are_read(tiny_cfg):
    tiny_cfg.MODEL.STRIPS.LOCATOR.NAME = "scrn"
    with pytest.raises(ValueError, match="MODEL.STRIPS.LOCATOR.NAME must be mask where no strips are read"):
        build_model(tiny_cfg)
