"""MANGO as a spotter: losses and gradients, words of its maps, teacher and student, cost, refusals."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from distilling import check_losses_and_gradients, statistics
from tiny_settings import TINY

from dld.config import get_dld_cfg
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.preflight import check_maps_training
from dld.export.exporter import spotter_parts
from dld.inference.predictor import TextSpotter
from dld.modeling.flops import count_flops
from dld.modeling.mango.targets import annotated_cells, draw_finding
from dld.modeling.meta_arch.mango import Mango
from dld.modeling.resolution.cost import SpotterCost, stored_cost

ROOT = Path(__file__).resolve().parents[3]
SMALL = [*TINY, "MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone", "MODEL.FPN.NORM", "BN", "MODEL.MANGO.GRID", 8]
FINDING = {"loss_segmentation", "loss_category"}
ATTENTION = {"loss_characters"}
READING = {"loss_rec"}


def configured(name="mango_tiny", *opts):
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / f"{name}.yaml"))
    cfg.merge_from_list([*SMALL, *opts])
    return cfg


def built(*opts, name="mango_tiny"):
    torch.manual_seed(0)
    return build_model(configured(name, *opts))


def batch_of(records, cfg=None, train=True):
    mapper, rng = TextDatasetMapper(cfg or configured(), train), np.random.default_rng(0)
    return [mapper(record, rng) if train else mapper(record) for record in records]


@pytest.fixture
def batch(make_record):
    return batch_of([make_record(), make_record(("exit",), 128, 96, seed=1)])


def knowing(model, targets, monkeypatch):
    """Let the heads say what is annotated, whatever they see."""
    sizes = [x.image_size for x in targets]

    def targets_of(shape):
        return draw_finding(targets, sizes, shape, model.pooling.grid)

    monkeypatch.setattr(model.finder, "segment", lambda level: targets_of(tuple(level.shape[-2:])).segmentation * 20 - 10)
    monkeypatch.setattr(model.finder, "categorize", lambda grid: targets_of((8, 8)).category * 20 - 10)


def batch_norm_in_eval(model):
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def test_losses_reach_every_weight_that_is_trained(batch):
    model = built().train()
    losses = check_losses_and_gradients(model, batch)
    assert set(losses) == FINDING | ATTENTION | READING
    assert losses.units == {"loss_rec": "step"} and int(losses.counts["word"]) == 3
    assert int(losses.counts["step"]) == 6 + 6 + 5
    model.zero_grad()
    model(batch)["loss_rec"].backward()
    assert model.attention.kernel.weight.grad.abs().sum() > 0, "reading trains the maps"
    assert model.finder.segmentation.weight.grad is None


def test_the_first_stage_learns_attention_alone_and_reads_nothing(batch, make_record, monkeypatch, caplog):
    model = built("MODEL.MANGO.STAGE", "attention").train()
    assert set(check_losses_and_gradients(model, batch)) == FINDING | ATTENTION
    assert not any(p.requires_grad for p in model.recognizer.parameters())
    record = make_record(("stone", "river"), font=0.9)
    knowing(model.eval(), [batch_of([record])[0]["instances"]], monkeypatch)
    with torch.no_grad():
        words = model(batch_of([record], train=False))[0]["instances"]
    assert words.pred_texts == ["", ""] and words.pred_char_scores == [[], []]
    assert caplog.messages == ["MODEL.MANGO.STAGE is attention: words are found and not read"]
    with pytest.raises(ValueError, match="MODEL.MANGO.STAGE attention reads nothing"):
        model.recognize(model.preprocess_image(batch), [x["instances"] for x in batch])
    with pytest.raises(ValueError, match="has no part that only reads"):
        model.reading_step(model.preprocess_image(batch), [x["instances"] for x in batch])


def test_reading_alone_can_be_trained_and_without_characters(batch):
    model = built("MODEL.RECOGNITION.ONLY", True, "MODEL.MANGO.CHARACTER_WEIGHT", 0.0).train()
    for x in batch:
        x["instances"].remove("gt_characters")
    assert set(check_losses_and_gradients(model, batch)) == READING


def test_an_image_and_a_batch_without_words_are_trained_on(batch, make_record):
    model = built().train()
    empty = batch_of([make_record(()), make_record(("stone",), ignore=(0,))])
    check_losses_and_gradients(model, [batch[0], empty[0]])
    losses = check_losses_and_gradients(model, empty)
    assert float(losses["loss_characters"].detach()) == 0 == float(losses["loss_rec"].detach())


def test_losses_of_images_add_up(make_record):
    """Of images of one size, so that none is padded; norms in evaluation mode, else they see the batch."""
    images = batch_of([make_record(seed=0), make_record(("a", "exit"), seed=1), make_record((), seed=2)])
    model = built().train()
    batch_norm_in_eval(model)
    with torch.no_grad():
        together = model(images)
        each = [model([x]) for x in images]
    for name in FINDING | ATTENTION:
        assert float(together[name]) == pytest.approx(np.mean([float(x[name]) for x in each]), rel=1e-4), name
    steps = [int(x.counts["step"]) for x in each]
    expected = sum(float(x["loss_rec"]) * n for x, n in zip(each, steps, strict=True)) / sum(steps)
    assert float(together["loss_rec"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("grown", [False, True])
def test_words_of_right_maps_are_found_where_they_are_annotated(make_record, monkeypatch, grown):
    model = built("MODEL.MANGO.RECTANGLES", "grown" if grown else "shrunk").eval()
    record = make_record(("stone", "river"), font=0.9)
    train, test = batch_of([record])[0], batch_of([record], train=False)[0]
    test["height"], test["width"] = 192, 256  # results are in pixels of the picture that the input came from
    knowing(model, [train["instances"]], monkeypatch)
    with torch.no_grad():
        words = model([test])[0]["instances"]
    assert words.image_size == (192, 256) and len(words) == 2 and min(words.scores) > 0.99
    boxes = 2 * np.stack([[*a["polygon"].min(0), *a["polygon"].max(0)] for a in record["annotations"]])
    order = np.argsort([p[:, 1].mean() for p in words.pred_polygons])
    for box, i in zip(boxes, order, strict=True):
        polygon = words.pred_polygons[i]
        found = np.array([*polygon.min(0), *polygon.max(0)])
        assert polygon.shape == (4, 2)
        np.testing.assert_allclose(found[:2] + found[2:], box[:2] + box[2:], atol=16)
        if grown:
            np.testing.assert_allclose(found, box, atol=10)
        else:
            assert (found[:2] > box[:2] + 4).all() and (found[2:] < box[2:] - 4).all()
        np.testing.assert_allclose(polygon[0], found[:2], atol=1e-3)  # from the word's start, above
    assert all(isinstance(text, str) for text in words.pred_texts)


def test_which_annotated_words_are_found(make_record, monkeypatch):
    model = built().eval()
    train = batch_of([make_record(("stone", "river"), font=0.9)])[0]
    words = train["instances"]
    images = model.preprocess_image([train])
    knowing(model, [words[:1]], monkeypatch)
    reading, found = model.find_and_recognize(images, [words])
    assert found.tolist() == [True, False]
    expected, _ = model.recognize(images, [words])
    torch.testing.assert_close(reading.context, expected.context)
    assert expected.roi.shape == (2, 11, 16) and expected.context.shape == (2, 11, 16)


def test_a_word_is_distilled_at_its_one_cell(batch):
    """What a training step hands to distillation is what the cheap path reads, in the same order."""
    model = built().train()
    batch_norm_in_eval(model)
    images, words = model.preprocess_image(batch), [x["instances"] for x in batch]
    with torch.no_grad():
        losses, reading, counted, _, _ = model.losses(images, words)
        expected, again = model.recognize(images, words)
    assert "loss_rec" in losses and [len(x) for x in counted] == [len(x) for x in again] == [2, 1]
    torch.testing.assert_close(reading.roi, expected.roi)
    torch.testing.assert_close(reading.context, expected.context)


def test_two_words_that_share_a_cell_are_both_read_and_one_learns(make_record, make_annotation):
    """Two words of one line in a grid of a single cell."""
    record = make_record(("stone",), font=0.9)
    first = record["annotations"][0]["polygon"]
    record["annotations"].append(make_annotation(first + [0, 20], "river"))
    image = batch_of([record])
    model = built("MODEL.MANGO.GRID", 1).train()
    words = image[0]["instances"]
    found = annotated_cells([words], 1)
    assert found.own.tolist() == [False, True] and found.chosen.tolist() == [0, 1]
    with torch.no_grad():
        losses, reading, _, _, _ = model.losses(model.preprocess_image(image), [words])
    torch.testing.assert_close(reading.context[0], reading.context[1])
    wanted = words.gt_text[1, :6]
    log = model.decoder.logits(reading.context[1])[:6].log_softmax(-1)
    own = -log.gather(1, wanted[:, None]).sum() / 12  # 12 steps of both words
    torch.testing.assert_close(losses["loss_rec"], own)


def test_a_batch_gives_the_words_of_its_images(make_record):
    """Untrained, at thresholds at which something is found; the second image is padded in the batch."""
    model = built("MODEL.MANGO.THRESHOLDS", [0.5, 0.01], "MODEL.MANGO.LEAST_CELLS", 0).eval()
    images = batch_of([make_record(seed=i) for i in range(2)], train=False)
    with torch.no_grad():
        together, alone = model(images), [model([x])[0] for x in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["instances"]) > 0
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores, atol=1e-4, rtol=1e-4)
        assert a["instances"].pred_texts == b["instances"].pred_texts


def test_cells_read_in_parts_read_the_same(make_record, monkeypatch):
    model = built("MODEL.MANGO.THRESHOLDS", [0.5, 0.01], "MODEL.MANGO.LEAST_CELLS", 0).eval()
    images = batch_of([make_record()], train=False)
    with torch.no_grad():
        whole = model(images)[0]["instances"]
        monkeypatch.setattr("dld.modeling.meta_arch.mango.CHUNK", 1)
        parts = model(images)[0]["instances"]
    assert whole.pred_texts == parts.pred_texts
    np.testing.assert_allclose(sum(whole.pred_char_scores, []), sum(parts.pred_char_scores, []), rtol=1e-4)


@pytest.mark.parametrize(("size", "words", "steps"), [((224, 416), 3, 5), ((96, 160), 0, 12), ((352, 352), 20, 11)])
def test_the_cost_law_holds_within_one_percent(size, words, steps):
    model = built().eval()
    counted = model.count_parts(size, words, steps)
    law = SpotterCost.measure(model)
    predicted = law.flops(torch.tensor(size[0] * size[1]), torch.tensor(words), steps)
    assert float(predicted) == pytest.approx(counted.total, rel=0.01)
    assert (counted.masks, counted.locating, counted.decoding) == (0, 0, 0)
    # two cells a word, eleven positions, sixteen channels, twice: maps and what lies under them
    assert counted.attention == 2 * words * 2 * 11 * 16 * 2 * size[0] * size[1] // 16
    assert stored_cost(law.numbers()) == law


def test_the_cost_law_is_that_of_what_runs(make_record, monkeypatch):
    """With two words, each of which has one cell."""
    model = built("MODEL.MANGO.CELLS_PER_WORD", 1).eval()
    train = batch_of([make_record(("stone", "river"), 96, 128, font=0.9)])[0]
    law, parts = SpotterCost.measure(model), model.count_parts((96, 128), 0, 1)
    heads = count_flops(lambda: model.finder.segment(torch.zeros(1, 16, 24, 32))).total_flops
    heads += count_flops(lambda: model.finder.categorize(torch.zeros(1, 16, 8, 8))).total_flops
    knowing(model, [train["instances"]], monkeypatch)
    monkeypatch.setattr("dld.modeling.meta_arch.mango.cells_of_words", one_cell_each)
    images = model.preprocess_image([train])
    ran = count_flops(lambda: model.spot(images)).total_flops + heads
    predicted = law.flops(torch.tensor(96 * 128), torch.tensor(2))
    assert float(predicted) == pytest.approx(ran, rel=0.01) and parts.total < ran


def one_cell_each(overlap, probabilities, threshold):
    words = np.arange(len(overlap[0]))
    return np.zeros_like(words), overlap[0].argmax(1), words, np.ones(len(words), np.float32)


def test_teacher_and_student_take_two_steps(make_record, storage):
    cfg = configured("dld_mango_tiny", "MODEL.SELECTOR.SCALES", [0.4, 0.7, 1.0])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    assert isinstance(model.teacher, Mango) and isinstance(model.student, Mango)
    model.student.load_state_dict(model.teacher.state_dict())
    images = batch_of([make_record(seed=i) for i in range(2)], cfg)
    before, norms = copy.deepcopy(model.teacher.state_dict()), statistics(model.student)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        losses = check_losses_and_gradients(model, images)
        kept = {"loss_kd_roi", "loss_kd_context", "loss_kd_sequence", "loss_selector"}
        assert FINDING | ATTENTION | READING | kept == set(losses)
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.teacher.state_dict().items())
    assert all(torch.equal(value, norms[name]) for name, value in statistics(model.student).items())
    costs = model.cost_table.costs([(96, 128)], [2])[0]
    assert bool((costs.diff() > 0).all())


def test_images_of_several_scales_are_one_batch(make_record, storage):
    """The losses of a batch of two scales are those of its images, weighted by images, words and steps."""
    cfg = configured("dld_mango_tiny", "MODEL.SELECTOR.SCALES", [0.5, 1.0])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    batch_norm_in_eval(model)
    images = batch_of([make_record(seed=0), make_record(("a",), seed=1)], cfg)
    annotated = model.annotate(images)
    with torch.no_grad():
        together = model.train_student(annotated, [0.5, 1.0], model.ask_teacher(annotated))
        each = []
        for image, scale in zip(images, (0.5, 1.0), strict=True):
            one = model.annotate([image])
            each.append(model.train_student(one, [scale], model.ask_teacher(one)))
    shares = {"image": (0.5, 0.5), "word": (2 / 3, 1 / 3), "step": (12 / 14, 2 / 14)}
    for name, value in together.items():
        share = shares[model.loss_units.get(name, "image")]
        expected = sum(float(x[name]) * s for x, s in zip(each, share, strict=True))
        assert float(value) == pytest.approx(expected, rel=1e-4, abs=1e-7), name


def test_at_full_size_a_copy_of_the_teacher_learns_nothing_from_it(make_record, storage):
    cfg = configured("dld_mango_tiny", "MODEL.SELECTOR.SCALES", [0.4, 0.7, 1.0], "MODEL.SELECTOR.FIXED_SCALE", 1.0)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    model.student.load_state_dict(model.teacher.state_dict())
    with torch.no_grad():
        losses = model(batch_of([make_record()], cfg))
    assert float(losses["loss_kd_roi"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["loss_kd_context"]) == pytest.approx(0, abs=1e-6)


def test_a_selector_can_ask_what_is_found_at_every_scale(make_record, storage):
    opts = ["MODEL.SELECTOR.SCALES", [0.5, 1.0], "MODEL.SELECTOR.WORDS.LOSS", "spotting"]
    model = built(*opts, name="dld_mango_tiny").train()
    annotated = model.annotate(batch_of([make_record()]))
    comparison = model.compare_scales(annotated, model.ask_teacher(annotated))
    assert comparison.kl.shape == (1, 2)


def test_the_backbone_starts_from_the_shipped_spotter():
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "mango_tiny.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.INFERENCE_DTYPE", "float32"])
    model = build_model(cfg)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    SpotterCheckpointer(model).load("dld://teacher_tiny")
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed and all(name.startswith("backbone.") for name in changed)


def test_pictures_are_read_from_a_checkpoint_at_any_scale(tmp_path, make_record):
    cfg = configured("mango_tiny", "MODEL.MANGO.LEAST_CELLS", 0)
    torch.manual_seed(0)
    SpotterCheckpointer(build_model(cfg), str(tmp_path), extra={"config": cfg.dump()}).save("model")
    spotter = TextSpotter.from_checkpoint(tmp_path / "model.pth", device="cpu")
    picture = make_record()["image"]
    assert spotter(picture).cost is None
    half = spotter(picture, scale=0.5)
    assert half.scale == 0.5 and 0 < half.cost < 0.6
    assert json.loads(half.to_json())["width"] == 128
    with pytest.raises(ValueError, match="a Mango cannot be exported: words are made of its maps by"):
        spotter_parts(spotter.model)


def test_given_words_are_read_whatever_the_maps_show(make_record):
    model = built().eval()
    given = {"boxes": torch.tensor([[4.0, 4, 60, 24], [8, 40, 100, 60]]), "size": (48, 64)}
    images = batch_of([make_record()], train=False)
    with torch.no_grad(), model.reading_given_words(given, 4):
        results = model.spot(model.preprocess_image(images))
    assert len(results[0]) == 2 and (results[0].pred_ids[:, 3:] == model.charset.end).all()
    torch.testing.assert_close(results[0].pred_boxes.tensor[1], torch.tensor([16.0, 80, 200, 120]))
    assert "find_words" not in vars(model) and "_read_found" not in vars(model)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.RECOGNITION.NAME", "StripRecognizer"], "MODEL.RECOGNITION.NAME must be 'TextRecognizer' in a Mango"),
        (["MODEL.RECOGNITION.READER", "StripRecognizer"], "READER must be '' in a Mango: its rectangles are too coarse"),
        (["MODEL.RECOGNITION.CTC_WEIGHT", 0.5], "CTC_WEIGHT must be 0 in a Mango: its positions need no alignment, got 0.5"),
        (["MODEL.RECOGNITION.IN_FEATURE", "p3"], "MODEL.RECOGNITION.IN_FEATURE must be 'p2' in a Mango, got 'p3'"),
        (["MODEL.STRIPS.LOCATOR.NAME", "points"], "MODEL.STRIPS.LOCATOR.NAME must be 'mask' in a Mango"),
        (["MODEL.MANGO.STAGE", "both"], "MODEL.MANGO.STAGE must be one of attention, end_to_end, got 'both'"),
        (["MODEL.MANGO.RECTANGLES", "large"], "MODEL.MANGO.RECTANGLES must be one of shrunk, grown, got 'large'"),
        (["MODEL.MANGO.THRESHOLDS", [0.5]], "MODEL.MANGO.THRESHOLDS must be two numbers"),
        (["MODEL.MANGO.CHARACTER_WEIGHT", -1.0], "MODEL.MANGO.CHARACTER_WEIGHT must be at least 0, got -1"),
        (["MODEL.MANGO.FC_DIM", 0], "MODEL.MANGO.FC_DIM must be at least 1, got 0"),
        (["MODEL.PARSIMONIOUS.WHERE", ["encoder"]], "MODEL.PARSIMONIOUS.WHERE encoder: this spotter has no 3x3 convolution"),
        (["MODEL.MANGO.CELLS_PER_WORD", 0], "MODEL.MANGO.CELLS_PER_WORD must be at least 1, got 0"),
        (["MODEL.MANGO.SCORE_THRESH_TEST", 2.0], r"MODEL.MANGO.SCORE_THRESH_TEST must be in \[0, 1\], got 2.0"),
        (["MODEL.MANGO.STAGE", "attention", "MODEL.MANGO.CHARACTER_WEIGHT", 0.0], "CHARACTER_WEIGHT must be positive where"),
        (["MODEL.META_ARCHITECTURE", "DistillMetaArch", "MODEL.MANGO.STAGE", "attention"], "STAGE must be end_to_end to teach"),
    ],
)
def test_a_wrong_setting_is_named(opts, message):
    with pytest.raises(ValueError, match=message):
        built(*opts)


def test_words_without_sides_or_characters_are_refused(batch):
    with pytest.raises(ValueError, match=r"INPUT\.SIDE_POINTS must be at least 2 to train a Mango, got 0"):
        check_maps_training(configured("dld_mango_tiny", "INPUT.SIDE_POINTS", 0))
    with pytest.raises(ValueError, match=r"INPUT\.CHARACTERS must be at least 1 where MODEL\.MANGO\.CHARACTER_WEIGHT is not 0"):
        check_maps_training(configured("mango_tiny", "INPUT.CHARACTERS", 0))
    check_maps_training(configured("mango_tiny", "INPUT.CHARACTERS", 0, "MODEL.MANGO.CHARACTER_WEIGHT", 0.0))
    model = built().train()
    for x in batch:
        x["instances"].remove("gt_characters")
    with pytest.raises(ValueError, match=r"words have no characters: INPUT\.CHARACTERS"):
        model(batch)
    for x in batch:
        x["instances"].remove("gt_fiducials")
    with pytest.raises(ValueError, match=r"words have no sides: INPUT\.SIDE_POINTS"):
        model(batch)
