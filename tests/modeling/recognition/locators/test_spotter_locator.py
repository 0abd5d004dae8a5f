"""Learned locators as a part of the spotter: built, trained, asked at test, counted, refused."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from distilling import DETECTION, SCENES, WORDS, as_distiller

import dld.modeling  # noqa: F401  only registration
from dld.data.dataset_mapper import TextDatasetMapper
from dld.modeling.flops import count_flops
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.postprocess import VIEW_FIELDS
from dld.modeling.recognition.locators.locator import LOCATOR_REGISTRY, box_sides, square_views, to_view
from dld.modeling.recognition.locators.point_locator import PointLocator
from dld.modeling.resolution.cost import CostTable, SpotterCost

LOSSES = {
    "points": {"loss_points"},
    "scrn": {"loss_line", "loss_scale", "loss_phi", "loss_theta"},
    "stn": {"loss_fold", "loss_read"},
}
READER = ["MODEL.RECOGNITION.READER", "StripRecognizer"]


def build(cfg, name, *opts):
    cfg.merge_from_list([*READER, "MODEL.STRIPS.LOCATOR.NAME", name, "INPUT.SIDE_POINTS", 7, *opts])
    torch.manual_seed(0)
    return build_model(cfg)


@pytest.fixture
def make_batch(tiny_cfg, make_record):
    def batch(*images):
        mapper, rng = TextDatasetMapper(tiny_cfg, True), np.random.default_rng(0)
        return [mapper(make_record(words, ignore=ignore, seed=i), rng) for i, (words, ignore) in enumerate(images)]

    return batch


def found_boxes(model, boxes, masks, size=(96, 128)):
    """What `spot` would give for boxes (R, 4), with blank views."""
    found = Instances(size)
    found.pred_boxes, found.scores = Boxes(torch.tensor(boxes)), torch.full((len(boxes),), 0.9)
    found.pred_classes, found.pred_masks = torch.zeros(len(boxes), dtype=torch.int64), masks
    if model.locator is not None:
        found.set(VIEW_FIELDS[0], torch.zeros(len(boxes), 16, 16, 16))
        found.set(VIEW_FIELDS[1], torch.tensor(boxes))
    return found


def bent_mask() -> torch.Tensor:
    """An arch over the whole box, (1, 28, 28)."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    top = 0.05 * (x - 13.5) ** 2 + 2
    return ((y > top) & (y < top + 12)).float()[None]


BOXES = [[10.0, 10.0, 90.0, 50.0], [10.0, 60.0, 90.0, 80.0]]


@pytest.fixture
def one_bent_one_straight():
    return torch.stack([bent_mask(), torch.ones(1, 28, 28)])


def test_by_default_a_spotter_has_no_locator_and_keeps_no_views(tiny_cfg, make_record):
    tiny_cfg.merge_from_list([*READER, "MODEL.STRIPS.DETECTION_THRESH", 0.0, "MODEL.STRIPS.SCORE_THRESH", 0.0])
    torch.manual_seed(0)
    model = build_model(tiny_cfg).eval()
    assert model.locator is None and not [name for name in model.state_dict() if "locator" in name]
    record = TextDatasetMapper(tiny_cfg, False)(make_record())
    with torch.no_grad():
        results = model.spot(model.preprocess_image([record]))
        words = model.words_to_read(results, [record])[0]
    assert len(results[0]) and not any(results[0].has(name) for name in VIEW_FIELDS)
    assert words.sides == [None] * len(words.outlines)
    other = build(tiny_cfg, "points").eval()
    own = model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in other.state_dict().items() if not name.startswith("locator."))
    with torch.no_grad():
        views = other.spot(other.preprocess_image([record]))[0]
    assert views.pred_views.shape == (len(views), 16, 16, 16)
    torch.testing.assert_close(views.pred_view_boxes, results[0].pred_boxes.tensor)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_gives_finite_losses_and_a_gradient_for_every_weight(tiny_cfg, make_batch, storage, name, scene):
    model = build(tiny_cfg, name).train()
    losses = model(make_batch(*SCENES[scene]))
    assert set(losses) == {"loss_rec", "loss_ctc"} | DETECTION | LOSSES[name]
    assert {name: losses.units[name] for name in LOSSES[name]} == dict.fromkeys(LOSSES[name], "word")
    assert all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("name", list(LOSSES))
def test_alone_the_locator_learns_and_nothing_else_changes(tiny_cfg, make_batch, storage, name):
    model = build(tiny_cfg, name, "MODEL.STRIPS.LOCATOR.ONLY", True).train()
    assert all(n.startswith("locator.") for n, p in model.named_parameters() if p.requires_grad)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    reader = {n: v.clone() for n, v in model.reader.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    batch, course = make_batch(WORDS, WORDS), []
    for _ in range(2 if name == "stn" else 12):
        losses = model(batch)
        assert set(losses) == LOSSES[name]
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        course.append(float(sum(losses.values()).detach()))
    assert np.isfinite(course).all() and (name == "stn" or course[-1] < 0.9 * course[0])
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed and all(n.startswith("locator.") for n in changed)
    assert all(torch.equal(v, reader[n]) for n, v in model.reader.state_dict().items())


def test_reading_moves_the_sides_and_better_ones_are_read_at_less_loss(tiny_cfg, make_batch, storage):
    """The frozen reader prefers the annotated sides to those of a box twice as high, and says so by a gradient."""
    from dld.modeling.recognition.locators.located_words import ReadingLoss

    model = build(tiny_cfg, "stn").train()
    batch = make_batch((("stone", "river"), ()))
    words = [batch[0]["instances"]]
    reading_loss = ReadingLoss(model.reader, model.preprocess_image(batch), model.pixel_mean, model.pixel_std)
    right = words[0].gt_fiducials.points.view(2, 2, 7, 2)
    wrong = right.clone()
    wrong[:, 0, :, 1] -= 14
    wrong.requires_grad_()
    loss = reading_loss(wrong, words)
    loss.backward()
    assert reading_loss(right, words) < 0.5 * loss
    assert wrong.grad.isfinite().all() and wrong.grad.abs().sum() > 0


def test_a_spotter_that_reads_strips_itself_may_have_one(tiny_cfg, make_batch, storage):
    own = ["MODEL.RECOGNITION.NAME", "StripRecognizer", "MODEL.STRIPS.WEIGHTS", "", "MODEL.RECOGNITION.READER", ""]
    model = build(tiny_cfg, "stn", *own).train()
    losses = model(make_batch(WORDS))
    assert set(losses) == {"loss_ctc"} | DETECTION | LOSSES["stn"] and all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_sides_of_the_locator_are_where_the_strip_is_cut(tiny_cfg, one_bent_one_straight):
    model = build(tiny_cfg, "points").eval()
    asked = []

    def stub(view, box):
        asked.append(len(view))
        return box * torch.tensor([1.0, 1.02]), torch.ones(len(box), dtype=torch.bool)

    model.locator.sides_in_view = stub
    # the photo is twice as wide and three times as high as what the network saw
    photo = np.zeros((288, 256, 3), np.uint8)
    record = {"image": torch.zeros(3, 96, 128), "photo": photo, "height": 192, "width": 128}
    found = found_boxes(model, BOXES, one_bent_one_straight)
    bent, straight = model.words_to_read([found], [record])[0].sides
    assert asked == [1] and straight is None
    squares = square_views(torch.tensor(BOXES[:1]), 0.1)
    box = to_view(box_sides(torch.tensor(BOXES[:1]), 7), squares) * torch.tensor([1.0, 1.02])
    expected = (box * squares[:, 2] + squares[:, :2])[0].numpy() * [2, 3]
    np.testing.assert_allclose(bent, expected, rtol=1e-5)
    model.least_bend = 0.0
    assert all(own is not None for own in model.words_to_read([found], [record])[0].sides) and asked == [1, 2]
    model.least_bend = 1.0
    assert model.words_to_read([found], [record])[0].sides == [None, None] and asked == [1, 2]


def test_where_the_locator_finds_none_the_mask_stands(tiny_cfg, one_bent_one_straight):
    model = build(tiny_cfg, "points", "MODEL.STRIPS.LOCATOR.LEAST_BEND", 0.0).eval()
    record = {"image": torch.zeros(3, 96, 128), "height": 96, "width": 128}
    found = found_boxes(model, BOXES, one_bent_one_straight)
    model.locator.sides_in_view = lambda view, box: (box, torch.tensor([False, True]))
    words = model.words_to_read([found], [record])[0]
    assert words.sides[0] is None and words.sides[1] is not None
    # twisted
    model.locator.sides_in_view = lambda view, box: (box.flip(1), torch.ones(2, dtype=torch.bool))
    assert model.words_to_read([found], [record])[0].sides == [None, None]
    for name in VIEW_FIELDS:
        found.remove(name)
    assert model.words_to_read([found], [record])[0].sides == [None, None]


def test_photos_of_a_batch_get_the_sides_that_they_get_alone(tiny_cfg, make_record):
    model = build(tiny_cfg, "points", "MODEL.STRIPS.DETECTION_THRESH", 0.0, "MODEL.STRIPS.SCORE_THRESH", 0.0).eval()
    model.least_bend = 0.0
    mapper = TextDatasetMapper(tiny_cfg, False)
    records = [mapper(make_record(words, seed=i)) for i, words in enumerate([("stone", "river"), ("exit", "cafe")])]
    with torch.no_grad():
        together = model.words_to_read(model.spot(model.preprocess_image(records)), records)
        alone = [model.words_to_read(model.spot(model.preprocess_image([r])), [r])[0] for r in records]
        assert len(model(records)) == 2
    assert sum(len(x.outlines) for x in together)
    for one, other in zip(together, alone, strict=True):
        assert [s is None for s in one.sides] == [s is None for s in other.sides]
        for a, b in zip(one.sides, other.sides, strict=True):
            if a is not None:
                np.testing.assert_allclose(a, b, atol=1e-2)


def test_a_locator_of_ones_own_is_built_by_its_name(tiny_cfg, monkeypatch):
    class WideLocator(PointLocator):
        pass

    monkeypatch.setitem(LOCATOR_REGISTRY._obj_map, "WideLocator", WideLocator)
    assert type(build(tiny_cfg, "WideLocator").locator) is WideLocator
    with pytest.raises(KeyError, match="MODEL.STRIPS.LOCATOR.NAME 'polygon' is unknown"):
        build(tiny_cfg, "polygon")


@pytest.mark.parametrize(
    ("name", "opts", "message"),
    [
        ("mask", ["MODEL.STRIPS.LOCATOR.ONLY", True], "MODEL.STRIPS.LOCATOR.ONLY needs .*LOCATOR.NAME that learns, not mask"),
        (
            "points",
            ["MODEL.STRIPS.LOCATOR.ONLY", True, "MODEL.RECOGNITION.ONLY", True],
            "MODEL.STRIPS.LOCATOR.ONLY needs MODEL.RECOGNITION.ONLY False",
        ),
        ("points", ["MODEL.RECOGNITION.READER", ""], "LOCATOR.NAME must be mask where no strips are read"),
        ("points", ["MODEL.STRIPS.LOCATOR.LEAST_BEND", -0.1], "LEAST_BEND must be at least 0, got -0.1"),
        ("stn", ["MODEL.STRIPS.LOCATOR.VIEW", 0], "MODEL.STRIPS.LOCATOR.VIEW must be at least 1, got 0"),
        ("scrn", ["MODEL.STRIPS.LOCATOR.WIDTH", 0], "MODEL.STRIPS.LOCATOR.WIDTH must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_said(tiny_cfg, name, opts, message):
    with pytest.raises(ValueError, match=message):
        build(tiny_cfg, name, *opts)


def test_words_without_sides_and_other_characters_are_said(tiny_cfg, make_batch, storage):
    batch = make_batch(WORDS)
    with pytest.raises(ValueError, match="INPUT.SIDE_POINTS must be MODEL.STRIPS.LOCATOR.POINTS, 7"):
        build(tiny_cfg, "scrn").train()(batch)
    with pytest.raises(ValueError, match="MODEL.STRIPS.CHARSET must be empty to train a locator by reading"):
        build(tiny_cfg, "stn", "MODEL.STRIPS.CHARSET", "latin").train()(batch)


def test_a_learned_locator_is_not_exported(tiny_cfg):
    model = build(tiny_cfg, "points").eval()
    for call in (model.graph_settings, lambda: model.graph_parts((96, 128), 1, torch.Generator())):
        with pytest.raises(ValueError, match="a PointLocator cannot be exported: MODEL.STRIPS.LOCATOR.NAME must be mask"):
            call()


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_cost_of_a_word_counts_the_locator(tiny_cfg, name):
    """The law checks itself against a second count to 1 %."""
    with_it, without = (SpotterCost.measure(build(tiny_cfg, n).eval()) for n in (name, "mask"))
    model = build(tiny_cfg, name).eval()
    network = count_flops(lambda: model.locator.network(torch.zeros(1, 16, 16, 16))).total_flops
    pooled = 2 * 4 * 4 * 16 * 16 * 16
    assert with_it.per_word - without.per_word == pytest.approx(network + pooled, rel=0.01)
    assert with_it.per_pixel == without.per_pixel and with_it.per_image == without.per_image


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_straight_word_costs_no_locator(tiny_cfg, one_bent_one_straight, monkeypatch, name):
    """What ran is counted, and it is what the law charges beside the other parts; what is left is to crop all words."""
    model = build(tiny_cfg, name).eval()
    law, record = SpotterCost.measure(model), {"image": torch.zeros(3, 96, 128), "height": 96, "width": 128}
    pixels, words = torch.tensor(96 * 128), torch.tensor(2)
    for least_bend, asked in ((1.0, 0), (0.1, 1), (0.0, 2)):
        model.least_bend = least_bend
        found, given = found_boxes(model, BOXES, one_bent_one_straight), []
        counted = count_flops(lambda to=given, x=found: to.extend(model.words_to_read([x], [record]))).by_op
        # masks are enlarged to find their outlines
        located = sum(flops for op, flops in counted.items() if "upsample" not in op)
        assert given[0].asked == asked and (located > 0) == (asked > 0)
        charged = law.flops(pixels, words, asked=asked) - law.flops(pixels, words, asked=0)
        assert float(charged) == pytest.approx(located, rel=0.01)
    assert law.flops(pixels, words) == law.flops(pixels, words, asked=2)
    spotter = DynamicSpotter(
        student=model, selector=None, scales=(1.0,), cost_table=CostTable.measure(model, None, None, (1.0,)), fixed_scale=1.0
    )
    model.least_bend = 0.1
    monkeypatch.setattr(model, "spot", lambda images: [found_boxes(model, BOXES, one_bent_one_straight)])
    output = spotter([record])[0]
    every = spotter.cost_table.flops([(96, 128)], [2], strip_sizes=output["strip_sizes"]).item()
    assert output["asked"] == 1 and output["gflops"] * 1e9 == pytest.approx(every - law.per_located)


def test_in_distillation_the_students_locator_learns_and_the_teacher_has_none(tiny_cfg, make_batch, storage):
    model = build(as_distiller(tiny_cfg), "points").train()
    assert model.teacher.locator is None and model.student.locator is not None
    losses = model(make_batch(WORDS, WORDS))
    assert torch.isfinite(losses["loss_points"]) and losses.units["loss_points"] == "word"
    losses["loss_points"].backward()
    assert all(p.grad is not None for p in model.student.locator.parameters())
    with pytest.raises(ValueError, match="MODEL.STRIPS.LOCATOR.ONLY needs MODEL.META_ARCHITECTURE TextSpottingRCNN"):
        build(tiny_cfg, "points", "MODEL.STRIPS.LOCATOR.ONLY", True)
