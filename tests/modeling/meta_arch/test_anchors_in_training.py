"""A spotter that reads along characters: its losses, its lessons from a teacher, its cost, and what it refuses."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from distilling import DETECTION, DISTILLATION, READING, WORDS, ask, build, check_losses_and_gradients, parts

from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.preflight import check_aggregation, check_anchor_training
from dld.modeling.meta_arch.annotated_batch import read_annotated
from dld.modeling.meta_arch.spotter import NO_LAYERS
from dld.modeling.resolution.cost import SpotterCost

MAPS = {"loss_heat", "loss_order"}
ANCHORS = ["MODEL.RECOGNITION.NAME", "AnchorRecognizer", "INPUT.CHARACTERS", 10]
SIZES = ((96, 128), (128, 96))
MIXED = [(("stone", "a"), ()), (("Blue",), ()), (("north", "a-b", "42"), (1,))]


@pytest.fixture
def anchored(tiny_cfg):
    """The configuration of a spotter, made one that reads along characters."""
    tiny_cfg.merge_from_list(ANCHORS)
    return tiny_cfg


@pytest.fixture
def known_batch(tiny_cfg, make_record):
    """Mapped training images of words whose characters are annotated: equal parts of their boxes."""
    tiny_cfg.merge_from_list(ANCHORS)

    def batch(*images, known=True, sizes=((96, 128),)):
        mapper, rng, mapped = TextDatasetMapper(tiny_cfg, True), np.random.default_rng(0), []
        for i, (words, ignore) in enumerate(images):
            record = make_record(words, *sizes[i % len(sizes)], ignore=ignore, seed=i)
            for word in record["annotations"] if known else ():
                (x0, y0), (x1, y1) = word["polygon"].min(0), word["polygon"].max(0)
                ends = np.linspace(x0, x1, len(word["text"]) + 1)
                word["characters"] = np.stack(
                    [np.array([[a, y0], [b, y0], [b, y1], [a, y1]]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
                )
            mapped.append(mapper(record, rng))
        return mapped

    return batch


def test_a_spotter_learns_to_find_characters_beside_the_rest(anchored, known_batch, storage):
    torch.manual_seed(0)
    model = build_model(anchored).train()
    losses = check_losses_and_gradients(model, known_batch(WORDS, (("exit",), ())))
    assert set(losses) == DETECTION | READING | MAPS and all(losses[name] > 0 for name in MAPS)
    assert losses.units["loss_heat"] == losses.units["loss_order"] == "word"


def test_words_whose_characters_are_spread_teach_to_read_and_not_to_find(anchored, known_batch, storage):
    torch.manual_seed(0)
    model = build_model(anchored).train()
    batch = known_batch(WORDS, known=False)
    assert batch[0]["instances"].gt_read_anchors.points[:, 0].isfinite().all()
    losses = check_losses_and_gradients(model, batch)
    assert losses["loss_rec"] > 0 and all(losses[name] == 0 for name in MAPS)


@pytest.mark.parametrize("words", [((), ()), (("stone",), (0,))])
def test_a_batch_without_readable_words_gives_every_weight_a_gradient(anchored, known_batch, storage, words):
    torch.manual_seed(0)
    check_losses_and_gradients(build_model(anchored).train(), known_batch(words))


def test_reading_alone_is_trained_on_the_finest_level(anchored, known_batch, storage):
    anchored.MODEL.RECOGNITION.ONLY = True
    torch.manual_seed(0)
    losses = check_losses_and_gradients(build_model(anchored).train(), known_batch(WORDS))
    assert set(losses) == READING | MAPS


def test_a_student_is_distilled(cfg, known_batch, storage):
    batch = known_batch(*MIXED, sizes=SIZES)
    model = build(cfg)
    losses = check_losses_and_gradients(model, batch)
    assert set(losses) == DETECTION | READING | MAPS | DISTILLATION | {"loss_selector"}
    assert ask(model, batch).roi.shape == (5, 16, 16, 16)


def test_student_and_teacher_look_at_the_same_view_along_the_same_anchors(cfg, known_batch, storage):
    model, batch = build(cfg), known_batch(*MIXED, sizes=SIZES)
    model.student.load_state_dict(model.teacher.state_dict())
    annotated, targets = parts(model, batch)
    same = model.train_student(annotated, [1.0] * 3, targets)
    for name in ("loss_kd_roi", "loss_kd_context"):
        assert same[name].item() == pytest.approx(0, abs=1e-10)
    assert model.train_student(annotated, [0.4] * 3, targets)["loss_kd_roi"] > 1e-6


def test_losses_of_the_maps_at_mixed_scales_are_those_of_the_images_by_their_words(cfg, known_batch, storage):
    model, batch = build(cfg), known_batch(*MIXED, sizes=SIZES)
    annotated, targets = parts(model, batch)
    together = model.train_student(annotated, [0.4, 1.0, 0.7], targets)
    alone = []
    for record, scale in zip(batch, (0.4, 1.0, 0.7), strict=True):
        image, said = parts(model, [record])
        alone.append(model.train_student(image, [scale], said))
    for name in MAPS:
        expected = sum(share * x[name].item() for share, x in zip((2 / 5, 1 / 5, 2 / 5), alone, strict=True))
        assert together[name].item() == pytest.approx(expected, rel=1e-4)


def test_words_of_a_batch_come_in_its_order(cfg, known_batch):
    model, batch = build(cfg), known_batch(*MIXED, sizes=SIZES)
    together = read_annotated(model.teacher, model.annotate(batch), 0.7).features
    alone = [read_annotated(model.teacher, model.annotate([x]), 0.7).features for x in batch]
    for name in ("roi", "maps", "context"):
        joined = torch.cat([getattr(x, name) for x in alone])
        torch.testing.assert_close(getattr(together, name), joined, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_found_words_are_read_along_what_the_maps_show(anchored, make_record):
    anchored.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    torch.manual_seed(0)
    model = build_model(anchored).eval()
    recognizer = model.roi_heads.recognizer
    mapper = TextDatasetMapper(anchored, False)
    with torch.no_grad():
        recognizer.encoder.maps.bias[0] = 3.0  # warm everywhere: every maximum is a character
        recognizer.encoder.maps.weight.mul_(1000)
    seen = []
    recognizer.encoder.register_forward_hook(lambda module, args, out: seen.append(out))
    found = model([mapper(make_record()), mapper(make_record(seed=3))])
    words = sum(len(x["instances"]) for x in found)
    assert words and len(seen) == 1 and len(seen[0][0]) == words
    model.roi_heads.words_per_chunk = 3
    again = model([mapper(make_record()), mapper(make_record(seed=3))])
    assert [x["instances"].pred_texts for x in found] == [x["instances"].pred_texts for x in again]


@pytest.mark.parametrize(("size", "words", "steps"), [((224, 416), 3, 5), ((96, 160), 0, 12), ((352, 352), 20, 33)])
def test_the_law_of_cost_counts_views_maps_and_columns(anchored, size, words, steps):
    model = build_model(anchored).eval()
    law, counted = SpotterCost.measure(model), model.count_parts(size, words, steps)
    predicted = law.flops(torch.tensor(size[0] * size[1]), torch.tensor(words), steps)
    assert predicted.item() == pytest.approx(counted.total, rel=0.01)
    if words:
        # of a word: view of 16 x 16 cells, four convolutions, two maps, 33 columns, LSTMs, keys of the attention
        view, convs, maps, columns = 32 * 256 * 16, 4 * 2 * 256 * 9 * 16 * 16, 2 * 256 * 16 * 2, 8 * 33 * 16
        lstms = 2 * 33 * 2 * (2 * 4 * 16 * (16 + 16) + 32 * 16)
        keys = 2 * 33 * 16 * 16
        by_hand = view + convs + maps + columns + lstms + keys
        assert counted.recognition / words == pytest.approx(by_hand, rel=0.05)


def test_graphs_are_refused_unless_strips_are_read(anchored):
    model = build_model(anchored).eval()
    for ask_for in (lambda: model.graph_parts((64, 64), 1, torch.Generator()), model.graph_settings):
        with pytest.raises(ValueError, match="^AnchorRecognizer cannot be exported: MODEL.RECOGNITION.NAME must be"):
            ask_for()
    model._reader = [torch.nn.Identity()]
    assert model.reader is not None
    from dld.modeling.spotter_graphs import _refuse_what_has_no_graph

    _refuse_what_has_no_graph(model)


def test_layers_are_not_aggregated(cfg):
    cfg.merge_from_list([*ANCHORS, "MODEL.DISTILLATION.AGGREGATION.ENABLED", True])
    with pytest.raises(ValueError, match=f"AnchorRecognizer {NO_LAYERS}"):
        check_aggregation(cfg)
    with pytest.raises(ValueError, match="AGGREGATION.ENABLED must be False"):
        build(cfg)


def test_a_run_that_would_not_see_all_characters_is_refused(anchored):
    check_anchor_training(anchored)
    anchored.INPUT.CHARACTERS = 9
    with pytest.raises(ValueError, match=r"INPUT\.CHARACTERS must be at least MODEL\.RECOGNITION\.MAX_LENGTH, 10, .* got 9"):
        check_anchor_training(anchored)
    anchored.MODEL.RECOGNITION.NAME = "TextRecognizer"
    check_anchor_training(anchored)
