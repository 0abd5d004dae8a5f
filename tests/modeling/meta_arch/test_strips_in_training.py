"""A spotter whose recogniser reads strips, trained whole and distilled."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from distilling import DETECTION, READING, SCENES, STRIPS, WORDS, as_distiller

import dld.modeling  # noqa: F401  only registration
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.trainer import rate_factor, rate_factors
from dld.modeling.meta_arch.annotated_batch import AnnotatedBatch, read_annotated
from dld.modeling.meta_arch.scale_trial import batch_norm_in_eval
from dld.modeling.recognition.recognizer import Photos
from dld.modeling.recognition.strip_recognizer import StripRecognizer, load_strip_recognizer
from dld.modeling.resolution.scale_comparison import reading_lost
from dld.structures.padded_polygons import PaddedPolygons


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.merge_from_list(STRIPS)
    return tiny_cfg


@pytest.fixture
def make_batch(cfg, make_record):
    def batch(*images):
        mapper, rng = TextDatasetMapper(cfg, True), np.random.default_rng(0)
        return [mapper(make_record(words, ignore=ignore, seed=i), rng) for i, (words, ignore) in enumerate(images)]

    return batch


def build(cfg, *opts):
    cfg.merge_from_list(list(opts))
    torch.manual_seed(0)
    return build_model(cfg).train()


@pytest.mark.parametrize("only", [False, True], ids=["all", "recognition only"])
@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_gives_finite_losses_and_a_gradient_for_every_weight(cfg, make_batch, storage, scene, only):
    model = build(cfg, "MODEL.RECOGNITION.ONLY", only)
    losses = model(make_batch(*SCENES[scene]))
    assert set(losses) == (READING if only else READING | DETECTION)
    assert all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert any(n.startswith("backbone.") for n in trained) is not only
    if scene in ("no words in the batch", "every word ignored"):
        assert losses["loss_rec"] == 0 and losses["loss_ctc"] == 0


def test_a_reader_without_decoder_is_trained_by_its_columns(cfg, make_batch, storage):
    model = build(cfg, "MODEL.STRIPS.TRAINING.DECODER_WIDTH", 0)
    assert set(model(make_batch(WORDS))) == {"loss_ctc"} | DETECTION


@pytest.mark.parametrize("encoder", ["pyramid", "stem"])
def test_an_encoder_with_the_spotters_layers_is_a_copy_of_its_own(cfg, make_batch, storage, encoder):
    model = build(cfg, "MODEL.STRIPS.ENCODER.NAME", encoder, "MODEL.STRIPS.ENCODER.WEIGHTS", "")
    losses = model(make_batch(WORDS))
    assert set(losses) == READING | DETECTION
    (losses["loss_rec"] + losses["loss_ctc"]).backward()
    recognizer = model.roi_heads.recognizer
    assert not [n for n, p in recognizer.named_parameters() if p.grad is None]
    assert all(p.grad is None for p in model.backbone.parameters()), "the spotter's own layers stay as they are"
    assert model.eval().reader.encoder_name == encoder
    nothing = build(cfg)(make_batch(SCENES["no words in the batch"][0]))
    assert nothing["loss_ctc"] == 0


def test_words_are_read_from_the_photo_at_every_scale(cfg, make_batch):
    """What is looked for in a small image is read from the large one."""
    model = build(as_distiller(cfg)).student.eval()
    batch = AnnotatedBatch.of(make_batch(WORDS, (("a",), ()), (("letters",), ())), model)
    with torch.no_grad():
        full, small = (read_annotated(model, batch, scale).features for scale in (1.0, 0.4))
    assert full.context.shape[::2] == (4, 120) and full.roi.shape[:3] == (4, 384, 1)
    torch.testing.assert_close(full.context, small.context)
    torch.testing.assert_close(full.roi, small.roi)
    # the one letter has fewer columns than the long word: its last one is repeated
    assert torch.equal(full.context[2, -1], full.context[2, -2]) and not torch.equal(full.context[3, -1], full.context[3, -2])


def test_the_height_is_drawn_for_each_image_by_its_seed(cfg, make_batch):
    model = build(cfg)
    reader, batch = model.roi_heads.recognizer, make_batch(WORDS, WORDS)
    rows = reader._drawn_rows(list(range(40)), 40)
    assert set(rows) == {16, 24}
    assert reader._drawn_rows(list(range(39, -1, -1)), 40) == rows[::-1]
    assert reader.eval()._drawn_rows([1, 2], 2) == [48, 48]
    words = [x["instances"] for x in batch]
    images, seeds = model.preprocess_image(batch), [0, next(i for i in range(40) if rows[i] != rows[0])]
    reader.train()
    with torch.no_grad():
        first, second = (model.recognize(images, words, Photos(images, words, s))[0].context for s in (seeds, seeds[::-1]))
        again = model.recognize(images, words, Photos(images, words, seeds))[0].context
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, second)


def test_losses_do_not_depend_on_the_order_of_the_images(cfg, make_batch, storage):
    model, batch = build(cfg), make_batch(WORDS, (("exit",), ()), WORDS)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        one, other = (model(x) for x in (batch, batch[::-1]))
    for name in READING:
        torch.testing.assert_close(one[name], other[name])


def test_a_word_without_sides_is_read_between_those_of_its_box(cfg, make_batch, storage):
    model, batch = build(cfg), make_batch(WORDS)
    words = batch[0]["instances"]
    points = words.gt_read_sides.points.clone()
    points[0] = torch.nan
    words.gt_read_sides = PaddedPolygons(points)
    losses = model(batch)
    assert all(torch.isfinite(v) for v in losses.values())


def test_what_is_trained_reads_at_test_and_is_in_the_checkpoint(cfg, make_batch, storage, make_record):
    model = build(cfg)
    assert "roi_heads.recognizer.mixer.norm.weight" in model.state_dict()
    before = model.eval().reader
    assert isinstance(before, StripRecognizer) and before is model.reader and not before.training
    assert not any(p.requires_grad for p in before.parameters())
    model.train()
    loss = sum(model(make_batch(WORDS)).values())
    loss.backward()
    with torch.no_grad():
        for p in model.roi_heads.recognizer.parameters():
            p -= 0.1 * p.grad
    after = model.eval().reader
    assert after is not before
    torch.testing.assert_close(after.head.weight.float(), model.roi_heads.recognizer.head.weight, rtol=1e-2, atol=1e-2)
    other = build(cfg).eval()
    stale = other.reader
    other.load_state_dict(model.state_dict())
    assert other.reader is not stale
    torch.testing.assert_close(other.reader.head.weight, after.head.weight)
    record = make_record()
    result = other([{"image": torch.from_numpy(record["image"].transpose(2, 0, 1).copy()).float(), "photo": record["image"]}])
    assert "strip_sizes" in result[0]


def test_the_shipped_reader_is_the_start(cfg):
    shipped = build(cfg, "MODEL.STRIPS.WEIGHTS", "dld://strip_reader").roi_heads.recognizer
    random = build(cfg, "MODEL.STRIPS.WEIGHTS", "").roi_heads.recognizer
    wanted = load_strip_recognizer("dld://strip_reader")
    wanted.keep_characters(random.charset)
    assert torch.equal(shipped.head.weight, wanted.head.weight) and not torch.equal(random.head.weight, wanted.head.weight)
    assert torch.equal(shipped.mixer.norm.weight, wanted.mixer.norm.weight)
    assert shipped.training and shipped.head.weight.requires_grad and shipped.decoder is not None


def test_a_start_that_is_not_there_is_said(cfg, caplog):
    build(cfg, "MODEL.STRIPS.WEIGHTS", "nowhere.safetensors")
    assert "nowhere.safetensors" in caplog.text and "random weights until a checkpoint is loaded" in caplog.text


def test_words_without_the_field_are_refused(cfg, make_batch, storage):
    model = build(cfg)
    batch = make_batch(WORDS)
    batch[0]["instances"].remove("gt_read_sides")
    with pytest.raises(ValueError, match=r"INPUT\.SIDE_POINTS must be at least 2 where strips are read"):
        model(batch)


def test_the_reader_learns_slowly_and_its_decoder_as_fast_as_the_rest(cfg):
    cfg.MODEL.STRIPS.TRAINING.LR_FACTOR = 0.2
    wrapper = torch.nn.Module()
    wrapper.student = model = build(cfg)
    for prefix, network in ("", model), ("student.", wrapper):
        factors = rate_factors(cfg, network)
        rates = {n: rate_factor(factors, n) for n, _ in network.named_parameters()}
        branch = f"{prefix}roi_heads.recognizer."
        assert rates[f"{branch}body.stem.weight"] == rates[f"{branch}head.weight"] == 0.2
        assert rates[f"{branch}decoder.output.weight"] == rates[f"{prefix}roi_heads.box_head.fc1.weight"] == 1.0
    cfg.MODEL.RECOGNITION.NAME = "TextRecognizer"
    factors = rate_factors(cfg, build(cfg))
    assert {rate_factor(factors, n) for n, _ in model.named_parameters()} == {1.0, cfg.MODEL.BACKBONE.LR_FACTOR}


@pytest.mark.parametrize("beams", ["attention", "ctc"])
@pytest.mark.parametrize("scene", SCENES)
def test_distillation_of_strips(cfg, make_batch, storage, scene, beams):
    model = build(as_distiller(cfg), "MODEL.DISTILLATION.BEAMS", beams)
    losses = model(make_batch(*SCENES[scene]))
    assert {"loss_kd_roi", "loss_kd_context", "loss_kd_sequence"} <= set(losses)
    assert all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if scene == "words":
        # teacher and student are the same network, one reads 48 rows, the other 16 or 24
        assert all(losses[name] > 0 for name in ("loss_kd_roi", "loss_kd_context", "loss_kd_sequence"))


def test_at_one_height_the_student_has_the_features_of_its_twin(cfg, make_batch, storage):
    model = build(as_distiller(cfg), "MODEL.STRIPS.TRAINING.ROWS", [48])
    model.teacher.load_state_dict(model.student.state_dict())
    losses = model(make_batch(WORDS, (("a",), ()), (("letters",), ())))
    assert losses["loss_kd_roi"] < 1e-8 and losses["loss_kd_context"] < 1e-8


def test_the_trial_reads_at_every_height_once_and_not_at_every_scale(cfg, make_batch, storage, monkeypatch):
    model = build(as_distiller(cfg), "MODEL.STRIPS.TRAINING.ROWS", [16, 48, 24])
    batch = model.annotate(make_batch(WORDS, (("letters",), ())))
    targets = model.ask_teacher(batch)
    targets.correct.fill_(True)
    reader, heights = model.student.roi_heads.recognizer, []
    cut = reader._features_of
    monkeypatch.setattr(reader, "_features_of", lambda strips: heights.append(strips.shape[2]) or cut(strips))
    compared = model.compare_scales(batch, targets)
    assert set(heights) == {48, 24, 16} and len(heights) <= 2 * 3, "words of two widths at three heights"
    assert list(compared.lost_at_rows) == [48, 24, 16] and len(model.scales) == 3
    assert torch.equal(compared.kl, compared.kl[:, :1].expand_as(compared.kl)), "the photo is read, whatever the scale"
    ids, pad = batch.texts, batch.pad
    for rows, lost in compared.lost_at_rows.items():
        with torch.no_grad(), model.student.at_height(rows), batch_norm_in_eval(model.student):
            logits = model.student.decoder(read_annotated(model.student, batch, 0.7).features.context, ids)
        torch.testing.assert_close(lost, reading_lost(logits, targets.logits, ids, pad))
    model.train_selector(batch.padded(32), compared)
    for rows, lost in compared.lost_at_rows.items():
        assert storage.latest()[f"selector/lost_at_{rows}_rows"][0] == pytest.approx(float(lost.mean()))
    assert compared.rows([0]).lost_at_rows is None
    with pytest.raises(ValueError, match="reads at no height of strips"):
        cfg.MODEL.RECOGNITION.NAME = "TextRecognizer"
        build(cfg, "MODEL.META_ARCHITECTURE", "TextSpottingRCNN").at_height(48)


def test_distillation_needs_a_decoder(cfg):
    with pytest.raises(ValueError, match=r"has no attention decoder: MODEL\.STRIPS\.TRAINING\.DECODER_WIDTH must be positive"):
        build(as_distiller(cfg), "MODEL.STRIPS.TRAINING.DECODER_WIDTH", 0)
