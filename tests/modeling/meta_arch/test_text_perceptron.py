"""The Text Perceptron as a spotter: losses and gradients, words of its maps, teacher and student, cost, refusals."""

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
from dld.modeling.meta_arch.spotter import spotter_class
from dld.modeling.meta_arch.text_perceptron import TextPerceptron
from dld.modeling.perceptron.heads import Maps
from dld.modeling.perceptron.map_targets import draw_targets
from dld.modeling.resolution.cost import SpotterCost

ROOT = Path(__file__).resolve().parents[3]
SMALL = [*TINY, "MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone", "MODEL.FPN.NORM", "BN"]
MAPS = {"loss_center", "loss_head", "loss_tail", "loss_boundary"}
OFFSETS = {"loss_head_offsets", "loss_tail_offsets", "loss_outline_offsets"}
READING = {"loss_rec", "loss_ctc"}


def configured(name="text_perceptron_tiny", *opts):
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / f"{name}.yaml"))
    cfg.merge_from_list([*SMALL, *opts])
    return cfg


def built(*opts, name="text_perceptron_tiny"):
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

    def forward(level):
        sizes = [x.image_size for x in targets]
        drawn = draw_targets(targets, sizes, tuple(level.shape[-2:]))
        return Maps(drawn.masks * 20 - 10, drawn.offsets)

    monkeypatch.setattr(model.heads, "forward", forward)


@pytest.mark.parametrize("points", ["annotated", "regressed"])
def test_losses_reach_every_weight_that_is_trained(batch, points):
    model = built("MODEL.TEXT_PERCEPTRON.READ_POINTS", points).train()
    losses = check_losses_and_gradients(model, batch)
    assert set(losses) == MAPS | OFFSETS | READING
    assert losses.units == {"loss_rec": "step", "loss_ctc": "word"} and int(losses.counts["word"]) == 3
    model.zero_grad()
    model(batch)["loss_rec"].backward()
    moved = model.heads.offsets.weight.grad is not None and model.heads.offsets.weight.grad.abs().sum() > 0
    assert moved == (points == "regressed"), "reading trains the offsets where it reads between their points"


def test_an_image_and_a_batch_without_words_are_trained_on(batch, make_record):
    model = built().train()
    empty = batch_of([make_record(()), make_record(("stone",), ignore=(0,))])
    check_losses_and_gradients(model, [batch[0], empty[0]])
    losses = check_losses_and_gradients(model, empty)
    assert float(losses["loss_head_offsets"].detach()) == 0


def test_the_losses_of_maps_are_means_over_images(make_record):
    """Of images of one size, so that none is padded; norms in evaluation mode, else they see the batch."""
    images = batch_of([make_record(seed=i) for i in range(3)])
    model = built().train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    with torch.no_grad():
        together = model(images)
        each = [model([x]) for x in images]
    for name in MAPS | OFFSETS:
        assert float(together[name]) == pytest.approx(np.mean([float(x[name]) for x in each]), rel=1e-4)


def test_a_few_steps_on_one_picture_lower_the_losses(make_record):
    model = built().train()
    images = batch_of([make_record(("stone", "river"), font=0.8)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(12):
        losses = model(images)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    for name, share in {"loss_center": 0.85, "loss_boundary": 0.85, "loss_outline_offsets": 0.85, "loss_rec": 0.95}.items():
        assert history[-1][name] < share * history[0][name], (name, history[0][name], history[-1][name])


@pytest.mark.parametrize("reader", ["", "StripRecognizer"])
def test_words_of_right_maps_are_found_where_they_are_annotated(make_record, monkeypatch, reader):
    model = built("MODEL.RECOGNITION.READER", reader, "MODEL.STRIPS.SCORE_THRESH", 0.0).eval()
    record = make_record(("stone", "river"), font=0.9)
    train, test = batch_of([record])[0], batch_of([record], train=False)[0]
    test["height"], test["width"] = 192, 256  # results are in pixels of the picture that the input came from
    knowing(model, [train["instances"]], monkeypatch)
    with torch.no_grad():
        found = model([test])[0]
    words = found["instances"]
    assert words.image_size == (192, 256) and len(words) == 2 and min(words.scores) > (0.99 if not reader else 0)
    boxes = 2 * np.stack([[*a["polygon"].min(0), *a["polygon"].max(0)] for a in record["annotations"]])
    order = np.argsort([p[:, 1].mean() for p in words.pred_polygons])
    for box, i in zip(boxes, order, strict=True):
        polygon = words.pred_polygons[i]
        assert polygon.shape == (14, 2)
        np.testing.assert_allclose([*polygon.min(0), *polygon.max(0)], box, atol=3)
        np.testing.assert_allclose(polygon[0], box[:2], atol=3)  # from the word's start, above
    assert all(isinstance(text, str) for text in words.pred_texts) and ("strip_sizes" in found) == bool(reader)
    if reader:
        assert [words.pred_texts[i] for i in order] == ["stone", "river"]


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
    assert expected.roi.shape == (2, 16, 8, 32) and expected.context.shape == (2, 33, 16)


def test_a_batch_gives_the_words_of_its_images(make_record):
    """Untrained: whatever these maps show, at thresholds at which they show something."""
    opts = ["MODEL.TEXT_PERCEPTRON.CONTACT_SHARE", 0.0, "MODEL.TEXT_PERCEPTRON.SCORE_THRESH_TEST", 0.0]
    model = built(*opts).eval()
    images = batch_of([make_record(seed=i) for i in range(2)], train=False)
    with torch.no_grad():
        together, alone = model(images), [model([x])[0] for x in images]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores, atol=1e-4, rtol=1e-4)
        assert a["instances"].pred_texts == b["instances"].pred_texts


@pytest.mark.parametrize(("size", "words", "steps"), [((224, 416), 3, 5), ((96, 160), 0, 12), ((352, 352), 20, 11)])
def test_the_cost_law_holds_within_one_percent(size, words, steps):
    model = built().eval()
    counted = model.count_parts(size, words, steps)
    predicted = SpotterCost.measure(model).flops(torch.tensor(size[0] * size[1]), torch.tensor(words), steps)
    assert float(predicted) == pytest.approx(counted.total, rel=0.01)
    assert (counted.boxes, counted.masks, counted.locating) == (0, 0, 0), "nothing is paid for each proposal"


def test_the_cost_law_is_that_of_what_runs(make_record, monkeypatch):
    """With two words, whose reading the weights end after some steps."""
    model = built().eval()
    train = batch_of([make_record(("stone", "river"), 96, 128, font=0.9)])[0]
    law, heads = SpotterCost.measure(model), model.count_parts((96, 128), 0, 1).rpn
    knowing(model, [train["instances"]], monkeypatch)
    images = model.preprocess_image([train])
    ran = count_flops(lambda: model.spot(images)).total_flops + heads
    # padding has probability 1; no step of untrained weights is so sure
    steps = int((model.spot(images)[0].pred_id_scores != 1).sum(1).max())
    predicted = law.flops(torch.tensor(96 * 128), torch.tensor(2), float(steps))
    assert float(predicted) == pytest.approx(ran, rel=0.01)


def test_teacher_and_student_take_two_steps(make_record, storage):
    cfg = configured("dld_text_perceptron_tiny", "MODEL.SELECTOR.SCALES", [0.4, 0.7, 1.0])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    assert isinstance(model.teacher, TextPerceptron) and isinstance(model.student, TextPerceptron)
    model.student.load_state_dict(model.teacher.state_dict())
    images = batch_of([make_record(seed=i) for i in range(2)], cfg)
    before, norms = copy.deepcopy(model.teacher.state_dict()), statistics(model.student)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        losses = check_losses_and_gradients(model, images)
        assert MAPS | OFFSETS | READING | {"loss_kd_roi", "loss_kd_context", "loss_kd_sequence", "loss_selector"} == set(losses)
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.teacher.state_dict().items())
    assert all(torch.equal(value, norms[name]) for name, value in statistics(model.student).items())
    costs = model.cost_table.costs([(96, 128)], [2])[0]
    assert bool((costs.diff() > 0).all())


def test_at_full_size_a_copy_of_the_teacher_learns_nothing_from_it(make_record, storage):
    cfg = configured("dld_text_perceptron_tiny", "MODEL.SELECTOR.SCALES", [0.4, 0.7, 1.0], "MODEL.SELECTOR.FIXED_SCALE", 1.0)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    model.student.load_state_dict(model.teacher.state_dict())
    with torch.no_grad():
        losses = model(batch_of([make_record()], cfg))
    assert float(losses["loss_kd_roi"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["loss_kd_context"]) == pytest.approx(0, abs=1e-6)


def test_a_selector_can_ask_what_is_found_at_every_scale(make_record, storage):
    opts = ["MODEL.SELECTOR.SCALES", [0.5, 1.0], "MODEL.SELECTOR.WORDS.LOSS", "spotting"]
    model = built(*opts, name="dld_text_perceptron_tiny").train()
    annotated = model.annotate(batch_of([make_record()]))
    comparison = model.compare_scales(annotated, model.ask_teacher(annotated))
    assert comparison.kl.shape == (1, 2)


def test_backbone_and_recogniser_start_from_the_shipped_spotter(tmp_path):
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "text_perceptron_tiny.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.INFERENCE_DTYPE", "float32"])
    model = build_model(cfg)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    SpotterCheckpointer(model).load("dld://teacher_tiny")
    same = [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]
    # the heads, and what no training changed
    assert {name.split(".")[0] for name in same if "bias" not in name} <= {"heads", "recognizer"}
    assert not any(name.startswith(("recognizer.stem.0", "recognizer.decoder.output", "backbone.bottom_up")) for name in same)
    assert sum(name.startswith("heads.") for name in same) == sum(name.startswith("heads.") for name in before)


def test_pictures_are_read_from_a_checkpoint_at_any_scale(tmp_path, make_record):
    opts = ["MODEL.TEXT_PERCEPTRON.CONTACT_SHARE", 0.0, "MODEL.TEXT_PERCEPTRON.SCORE_THRESH_TEST", 0.0]
    cfg = configured("text_perceptron_tiny", *opts)
    torch.manual_seed(0)
    SpotterCheckpointer(build_model(cfg), str(tmp_path), extra={"config": cfg.dump()}).save("model")
    spotter = TextSpotter.from_checkpoint(tmp_path / "model.pth", device="cpu")
    picture = make_record()["image"]
    assert spotter(picture).cost is None
    half = spotter(picture, scale=0.5)
    assert half.scale == 0.5 and 0 < half.cost < 0.6
    assert json.loads(half.to_json())["width"] == 128
    with pytest.raises(ValueError, match="a TextPerceptron cannot be exported: words are made of its maps by"):
        spotter_parts(spotter.model)


def test_given_words_are_read_whatever_the_maps_show(make_record):
    model = built().eval()
    given = {"boxes": torch.tensor([[4.0, 4, 60, 24], [8, 40, 100, 60]]), "size": (48, 64)}
    images = batch_of([make_record()], train=False)
    with torch.no_grad(), model.reading_given_words(given, 4):
        results = model.spot(model.preprocess_image(images))
    assert len(results[0]) == 2 and (results[0].pred_id_scores != 1).sum(1).max() <= 4
    torch.testing.assert_close(results[0].pred_boxes.tensor[1], torch.tensor([16.0, 80, 200, 120]))
    assert "find_words" not in vars(model) and model.max_length == 10


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.RECOGNITION.NAME", "StripRecognizer"], "MODEL.RECOGNITION.NAME must be TextRecognizer in a TextPerceptron"),
        (["MODEL.STRIPS.LOCATOR.NAME", "points"], "MODEL.STRIPS.LOCATOR.NAME must be mask: a TextPerceptron finds sides"),
        (["MODEL.TEXT_PERCEPTRON.MAPS", "cell"], "MODEL.TEXT_PERCEPTRON.MAPS must be one of share, pixel, got 'cell'"),
        (["MODEL.TEXT_PERCEPTRON.READ_POINTS", "own"], "MODEL.TEXT_PERCEPTRON.READ_POINTS must be one of annotated, regressed"),
        (["MODEL.TEXT_PERCEPTRON.THRESHOLDS", [0.5]], "MODEL.TEXT_PERCEPTRON.THRESHOLDS must be four numbers"),
        (["MODEL.TEXT_PERCEPTRON.CONTACT_SHARE", 2.0], r"MODEL.TEXT_PERCEPTRON.CONTACT_SHARE must be in \[0, 1\], got 2.0"),
        (["MODEL.TEXT_PERCEPTRON.OUTLINE_WEIGHT", -0.5], "MODEL.TEXT_PERCEPTRON.OUTLINE_WEIGHT must be at least 0, got -0.5"),
        (["MODEL.PARSIMONIOUS.WHERE", ["rpn"]], "MODEL.PARSIMONIOUS.WHERE rpn: this spotter has no 3x3 convolution there"),
        (["MODEL.TEXT_PERCEPTRON.POINTS", 1], "MODEL.TEXT_PERCEPTRON.POINTS must be at least 2, got 1"),
        (["MODEL.RECOGNITION.IN_FEATURE", "p3"], "MODEL.RECOGNITION.IN_FEATURE must be p2 in a TextPerceptron, got 'p3'"),
    ],
)
def test_a_wrong_setting_is_named(opts, message):
    with pytest.raises(ValueError, match=message):
        built(*opts)


def test_words_without_sides_are_refused(batch):
    model = built().train()
    for x in batch:
        x["instances"].remove("gt_fiducials")
    with pytest.raises(ValueError, match=r"words have sides of 0 points: INPUT\.SIDE_POINTS must be .*POINTS, 7"):
        model(batch)
    with pytest.raises(ValueError, match=r"INPUT\.SIDE_POINTS must be MODEL\.TEXT_PERCEPTRON\.POINTS, 7, to train it, got 5"):
        check_maps_training(configured("dld_text_perceptron_tiny", "INPUT.SIDE_POINTS", 5))
    check_maps_training(configured())


def test_it_is_a_spotter_by_name():
    assert spotter_class("TextPerceptron") is TextPerceptron


def test_reading_alone_can_be_trained(batch):
    model = built("MODEL.RECOGNITION.ONLY", True).train()
    assert set(check_losses_and_gradients(model, batch)) == READING
    step = model.reading_step(model.preprocess_image(batch), [x["instances"] for x in batch])
    assert set(step()) == READING
