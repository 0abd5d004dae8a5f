"""Facts about costs: the linear law against direct counts, shares worked by hand, nothing disturbed by measuring."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

import dld.modeling  # noqa: F401  only registration
from dld.config import get_dld_cfg
from dld.modeling.flops import DECODER_STEPS, count_flops, spotter_flops, strip_flops
from dld.modeling.resolution.cost import CostTable, SpotterCost, stored_cost
from dld.modeling.resolution.selector import ResolutionSelector
from dld.strips.grouping import StripSize
from dld.strips.heights import FORMS

CONFIGS = Path(__file__).parents[3] / "configs"


def tiny_teacher(reader: str):
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(CONFIGS / "teacher_tiny.yaml"))
    cfg.MODEL.DEVICE, cfg.MODEL.RECOGNITION.READER, cfg.MODEL.INFERENCE_DTYPE = "cpu", reader, "float32"
    torch.manual_seed(0)
    return build_model(cfg).eval()


@pytest.fixture(scope="module")
def spotter():
    """Reads masked crops."""
    return tiny_teacher("")


@pytest.fixture(scope="module")
def strip_spotter():
    return tiny_teacher("StripRecognizer")


@pytest.fixture(scope="module")
def table(spotter):
    return CostTable.measure(spotter, None, ResolutionSelector())


@pytest.mark.parametrize(("size", "words", "steps"), [((224, 416), 3, 5), ((96, 160), 0, 12), ((352, 352), 20, 33)])
def test_the_linear_law_holds_within_one_percent(spotter, table, size, words, steps):
    counted = spotter_flops(spotter, size, words, num_steps=steps)
    predicted = table.student.flops(torch.tensor(size[0] * size[1]), torch.tensor(words), steps)
    assert predicted.item() == pytest.approx(counted.total, rel=0.01)
    assert (counted.stem == 0) == (words == 0)


def test_the_table_agrees_with_counting_whole_inference(spotter, table, monkeypatch):
    """With 7 words and every proposal kept."""
    heads = spotter.roi_heads
    for name, value in {"test_score_thresh": 0.0, "test_nms_thresh": 1.0, "test_topk_per_image": 7}.items():
        monkeypatch.setattr(heads.box_predictor, name, value)
    monkeypatch.setattr(spotter.proposal_generator, "nms_thresh", 1.0)
    monkeypatch.setattr(heads.recognizer.decoder, "end", -1)  # an id no step predicts: every word takes 33 steps
    image = torch.rand(3, 250, 310, generator=torch.Generator().manual_seed(0)) * 255
    outputs = []
    counted = count_flops(lambda: outputs.extend(spotter.inference([{"image": image}], do_postprocess=False)))
    assert len(outputs[0]) == 7
    assert table.teacher_flops([(250, 310)], [7], 33).item() == pytest.approx(counted.total_flops, rel=0.01)


@pytest.mark.parametrize(("rows", "used"), [((48,), {48}), ((24,), {24}), ((48, 32, 24, 16), {48, 32, 24, 16})])
def test_the_law_of_strips_agrees_with_counting_what_ran(strip_spotter, monkeypatch, rows, used):
    """Some words of a picture of noise, strips of the widths and heights that were cut."""
    monkeypatch.setattr(strip_spotter.roi_heads.box_predictor, "test_topk_per_image", 12)
    monkeypatch.setattr(strip_spotter.roi_heads, "spot_threshold", 0.0)
    monkeypatch.setattr(strip_spotter, "min_score", 0.0)
    image = torch.rand(3, 250, 310, generator=torch.Generator().manual_seed(0)) * 255
    found = []
    finding = count_flops(lambda: found.extend(strip_spotter.inference([{"image": image}], do_postprocess=False)))
    monkeypatch.setattr(strip_spotter, "strip_rows", rows)
    table = CostTable.measure(strip_spotter, None, None, [1.0])
    sizes = strip_spotter.inference([{"image": image}])[0]["strip_sizes"]
    assert len(sizes) >= len(found[0]) / 2 > 0
    reader = strip_spotter.reader
    reading = count_flops(lambda: [reader.logits(torch.zeros(1, 3, r, int(FORMS[r].columns(w)))) for r, w in sizes])
    assert {r for r, _ in sizes} <= used
    assert len({r for r, _ in sizes}) == min(len(rows), 2)
    selecting = dataclasses.replace(table, selector_per_pixel=0.0)
    ours = selecting.flops([(250, 310)], [len(found[0])], strip_sizes=sizes).item()
    # as many proposals are charged as the network may have, and noise has fewer
    missing = (strip_spotter.proposal_generator.post_nms_topk[False] - found_proposals(strip_spotter, image)) * per_box(table)
    assert ours - missing == pytest.approx(finding.total_flops + reading.total_flops, rel=0.01)


def found_proposals(spotter, image) -> int:
    images = spotter.preprocess_image([{"image": image}])
    with torch.no_grad():
        return len(spotter.proposal_generator(images, spotter.backbone(images.tensor), None)[0][0])


def per_box(table) -> float:
    return table.student.per_image / 200


@pytest.mark.parametrize("rows", sorted(FORMS))
def test_a_strip_costs_what_counting_says(strip_spotter, rows, monkeypatch):
    monkeypatch.setattr(strip_spotter, "strip_rows", (rows,))
    law = SpotterCost.measure(strip_spotter)
    for width in (96, 160, 416, 808):
        size = StripSize(rows, width)
        assert law.reading_flops([size]) == pytest.approx(strip_flops(strip_spotter.reader, width, rows), rel=0.001)
        assert law.reading_flops([size, size]) == 2 * law.reading_flops([size]) and law.reading_flops([]) == 0
    assert stored_cost(law.numbers()) == law
    # words of which nothing is known are charged a strip of the expected width
    unknown = law.flops(torch.tensor(0), torch.tensor(3)) - law.flops(torch.tensor(0), torch.tensor(3), strips=0.0)
    assert unknown.item() == pytest.approx(3 * law.reading_flops([StripSize(48, 160)]))


def test_a_law_by_words_and_pixels_is_stored_and_one_without_as_before():
    law = SpotterCost(100.0, 10.0, 1e6, 1e4, 100.0, 32, other_strips=((32.0, 5.0, 6.0),), padded_strips=((48.0, 16.0, 7.0),))
    numbers = law.numbers()
    assert len(numbers) == 10 + 6 and stored_cost(numbers) == law and law.per_word_pixel == 0
    more = replace(law, per_word_pixel=800.0)
    assert more.numbers() == [*numbers, 800.0] and stored_cost(more.numbers()) == more
    pixels, words = torch.tensor([1000, 1000, 500]), torch.tensor([0, 3, 3])
    torch.testing.assert_close(more.flops(pixels, words) - law.flops(pixels, words), pixels.double() * words * 800)
    with pytest.raises(ValueError, match="and per_word_pixel where there is one, got 12 numbers"):
        stored_cost(numbers[:12])


def test_a_joint_reading_is_charged_both_heads_and_every_candidate():
    spotter = tiny_teacher("StripRecognizer")
    reader = spotter.reader
    reader.add_decoder(160)
    costs = {}
    for head in ("ctc", "attention", "joint"):
        reader.use_head(head)
        costs[head] = [strip_flops(reader, width, 48) for width in (96, 160, 256)]
    law = SpotterCost.measure(spotter)
    for width, counted in zip((96, 160, 256), costs["joint"], strict=True):
        assert law.reading_flops([StripSize(48, width)]) == pytest.approx(counted, rel=0.01)
    for ctc, decoder, both in zip(*costs.values(), strict=True):
        assert decoder < ctc * 1.02 < both < ctc * 1.1


@pytest.mark.parametrize("rows", [48, 16])
def test_the_attention_head_is_charged_its_steps(rows, monkeypatch):
    """The closed form against counting what runs where every strip takes as many steps as are charged."""
    spotter = tiny_teacher("StripRecognizer")
    ctc = SpotterCost.measure(spotter)
    reader = spotter.reader
    reader.add_decoder(160)
    reader.use_head("attention")
    monkeypatch.setattr(reader.decoder, "end", -1)  # an id no step predicts
    monkeypatch.setattr(spotter, "strip_rows", (rows,))
    law = SpotterCost.measure(spotter)
    for width in (96, 256):
        pixels = np.zeros((3, rows, int(FORMS[rows].columns(width)), 3), np.float32)
        decoder = reader.decoder.greedy_with_columns
        with monkeypatch.context() as m:
            m.setattr(reader.decoder, "greedy_with_columns", lambda x, _, d=decoder, **k: d(x, DECODER_STEPS - 1, **k))
            counted = count_flops(lambda pixels=pixels: reader.read(pixels))
        assert law.reading_flops([StripSize(rows, width)] * 3) == pytest.approx(counted.total_flops, rel=0.01)
    step = strip_flops(reader, 160, 48) - ctc.reading_flops([StripSize(48, 160)])
    # keys, and of each step: query, attention, LSTM cell, output, where it has been, what it looks at; without the CTC head
    columns, width, V = 20, 160, 96
    keys, per_step = columns * 120 * width, width * width + columns * (width + 120) + 4 * width * (2 * width + 120) + width * V
    per_step += columns * (8 * 11 + 8 * width) + 120 * V
    assert step == pytest.approx(2 * (keys + DECODER_STEPS * per_step - columns * 120 * V), rel=1e-3)


def test_padded_pixels_worked_by_hand(table):
    assert table.scales == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    # 100 x 200 at 0.3 is 30 x 60: padded to 32 x 64
    assert table.padded_pixels([(100, 200), (640, 640)])[:, 0].tolist() == [32 * 64, 192 * 192]
    assert table.padded_pixels([]).shape == (0, 6)


def test_a_student_at_full_size_without_selector_costs_what_its_teacher_does(spotter):
    table = CostTable.measure(spotter, None, None, [1.0])
    torch.testing.assert_close(table.costs([(640, 640), (333, 500)], [8, 0]), torch.ones(2, 1))


def test_costs_rise_with_the_scale_and_stay_below_the_teachers(table):
    costs = table.costs([(640, 640), (720, 1280)], torch.tensor([8, 0]))
    assert costs.shape == (2, 6) and bool((costs.diff(dim=1) > 0).all()) and bool((costs < 1).all())
    # all that remains at scale 0.3 beside 9 % of the pixels is boxes, words and selector
    assert costs[0, 0] < 0.25 and costs[1, 0] < 0.15


def test_another_scale_is_one_replace_away(table):
    doubled = dataclasses.replace(table, scales=(0.3, 0.45))
    assert doubled.costs([(640, 640)], [3])[0, 0] == table.costs([(640, 640)], [3])[0, 0]


def test_selector_and_resize_are_charged(spotter, table):
    free = CostTable.measure(spotter, None, None, table.scales)
    selector = ResolutionSelector()
    image = torch.zeros(1, 3, 640, 640)
    ran = count_flops(lambda: selector(image, [(640, 640)])).total_flops
    charged = table.flops([(640, 640)], [8]) - free.flops([(640, 640)], [8])
    torch.testing.assert_close(charged, torch.full((1, 6), float(ran), dtype=torch.float64), rtol=0.02, atol=0)
    assert 0.005 < ran / table.teacher_flops([(640, 640)], [8]).item() < 0.03


def test_the_tiny_teacher_can_be_made_cheaper(spotter):
    flops = spotter_flops(spotter, (640, 640), 8)
    assert flops.fixed <= 0.2 * flops.total


def test_the_papers_convention_counts_backbone_pyramid_and_proposals(spotter, table):
    direct = spotter_flops(spotter, (320, 320), 0)
    assert table.paper_gflops([(640, 640)])[0, 2].item() == pytest.approx(direct.paper_gflops, rel=0.01)


def test_a_table_survives_json(table):
    assert CostTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    broken = table.to_dict()
    del broken["teacher"]["per_word"]
    with pytest.raises(KeyError, match="teacher.per_word"):
        CostTable.from_dict(broken)
    with pytest.raises(KeyError, match="scales"):
        CostTable.from_dict({k: v for k, v in table.to_dict().items() if k != "scales"})


def test_measuring_disturbs_nothing(spotter):
    spotter.train()
    spotter.backbone.eval()
    try:
        before = {k: v.clone() for k, v in spotter.state_dict().items()}
        modes = [m.training for m in spotter.modules()]
        random_state = torch.get_rng_state()
        SpotterCost.measure(spotter)
        assert [m.training for m in spotter.modules()] == modes
        assert torch.equal(torch.get_rng_state(), random_state)
        assert all(torch.equal(v, before[k]) for k, v in spotter.state_dict().items())
    finally:
        spotter.eval()


def test_a_network_that_is_not_linear_in_pixels_is_refused(spotter, monkeypatch):
    bottom_up = spotter.backbone.bottom_up.forward

    def attending(x):
        flat = x[0].flatten(1).to("meta")  # shapes only: the product itself would not fit
        flat.T @ flat  # every pixel with every pixel
        return bottom_up(x)

    monkeypatch.setattr(spotter.backbone.bottom_up, "forward", attending)
    with pytest.raises(ValueError, match="not linear"):
        SpotterCost.measure(spotter)


def test_scales_must_come_from_somewhere(spotter):
    with pytest.raises(ValueError, match="scales"):
        CostTable.measure(spotter, None, None)
