"""Facts about what inference runs: one scale an image, words in its own pixels, costs that were really spent."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from dld.data.dataset_mapper import TextDatasetMapper
from dld.inference.predictor import TextSpotter
from dld.modeling.flops import DECODER_STEPS, count_flops
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.resolution.cost import CostTable
from dld.modeling.resolution.rescale import scaled_size

SIZES = ((96, 128), (128, 96), (96, 128), (96, 170), (128, 96))


@pytest.fixture
def spotter(tiny_weights) -> DynamicSpotter:
    """Three scales, of which it prefers different ones for different pictures; finds four words in each."""
    return TextSpotter.from_checkpoint(tiny_weights["student"]).model


@pytest.fixture
def inputs(tiny_cfg, spotter, make_record):
    """Mapped pictures of several sizes, 192 pixels high or wide."""
    mapper = TextDatasetMapper(tiny_cfg, False)
    return [mapper(make_record(height=h, width=w, seed=seed)) for seed, (h, w) in enumerate(SIZES)]


def read(model, inputs):
    with torch.no_grad():
        return model(inputs)


def same_output(a, b):
    assert {k: v for k, v in a.items() if k != "instances"} == {k: v for k, v in b.items() if k != "instances"}
    a, b = a["instances"], b["instances"]
    assert len(a) == len(b) > 0 and a.pred_texts == b.pred_texts and a.image_size == b.image_size
    torch.testing.assert_close(a.pred_boxes.tensor, b.pred_boxes.tensor, atol=1e-4, rtol=0)
    for p, q in zip(a.pred_polygons, b.pred_polygons, strict=True):
        np.testing.assert_allclose(p, q, atol=1e-4)


def test_the_same_picture_twice(spotter, inputs):
    state = torch.get_rng_state()
    for first, again in zip(read(spotter, inputs), read(spotter, inputs), strict=True):
        same_output(first, again)
        assert first["instances"].scores.tolist() == again["instances"].scores.tolist()
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn at test"


def test_a_batch_gives_what_its_images_give_one_by_one(spotter, inputs):
    together = read(spotter, inputs)
    assert len({x["scale"] for x in together}) > 1 and len({tuple(x["image"].shape) for x in inputs}) > 2
    for whole, one in zip(together, inputs, strict=True):
        same_output(whole, read(spotter, [one])[0])


def test_images_of_one_scale_and_padded_size_run_together(spotter, inputs, monkeypatch):
    """Nothing is padded to the largest: what a batch feeds is what its images need alone."""
    fed, spot = [], spotter.student.spot
    monkeypatch.setattr(spotter.student, "spot", lambda batch: fed.append(tuple(batch.tensor.shape)) or spot(batch))
    spotter.fixed_scale = 0.5
    read(spotter, inputs)
    # 192 x 256, 256 x 192 and 192 x 340 at 0.5 are 96 x 128, 128 x 96 and 96 x 170, padded to 192
    assert fed == [(2, 3, 96, 128), (2, 3, 128, 96), (1, 3, 96, 192)]


@pytest.mark.parametrize("scale", [0.6, 0.45, 1.0])
def test_a_fixed_scale_is_honoured(spotter, inputs, monkeypatch, scale):
    sizes, spot = [], spotter.student.spot
    monkeypatch.setattr(spotter.student, "spot", lambda batch: sizes.extend(batch.image_sizes) or spot(batch))
    monkeypatch.setattr(spotter, "selector", None)
    spotter.fixed_scale = scale
    outputs = read(spotter, inputs[:2])
    assert [x["scale"] for x in outputs] == [scale, scale]
    assert [tuple(s) for s in sizes] == [scaled_size(tuple(x["image"].shape[-2:]), scale) for x in inputs[:2]]
    if scale == 1.0:
        for output, image in zip(outputs, inputs, strict=False):
            (alone,) = read(spotter.student, [image])  # together, the student would pad them to one size
            assert output["cost"] == pytest.approx(1.0)
            torch.testing.assert_close(output["instances"].pred_boxes.tensor, alone["instances"].pred_boxes.tensor)
            assert output["instances"].pred_texts == alone["instances"].pred_texts


def test_words_are_in_the_pixels_of_the_given_image_at_every_scale(spotter, inputs, monkeypatch):
    """A student that finds one word in the left half of what it is fed."""
    charset = spotter.charset

    def find(batch):
        found = []
        for h, w in batch.image_sizes:
            words = Instances((h, w))
            words.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, w / 2, h]]))
            words.scores, words.pred_classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
            words.pred_masks = torch.ones(1, 1, 28, 28)
            words.pred_ids = charset.encode("ab", 2)[None]
            words.pred_id_scores = torch.ones(1, 3)
            found.append(words)
        return found

    monkeypatch.setattr(spotter.student, "spot", find)
    for scale in (0.31, 0.6, 1.0):
        spotter.fixed_scale = scale
        for (height, width), output in zip(SIZES, read(spotter, inputs), strict=True):
            words = output["instances"]
            assert words.image_size == (height, width) and words.pred_texts == ["ab"]
            torch.testing.assert_close(words.pred_boxes.tensor, torch.tensor([[0.0, 0.0, width / 2, height]]))
            polygon = words.pred_polygons[0]
            # the contour of a full mask runs through the centres of its outermost cells
            np.testing.assert_allclose([*polygon.min(0), *polygon.max(0)], [0, 0, width / 2, height], atol=1)
    # and of the image the input says it came from
    output = read(spotter, [{**inputs[0], "height": 960, "width": 640}])[0]["instances"]
    torch.testing.assert_close(output.pred_boxes.tensor, torch.tensor([[0.0, 0.0, 320.0, 960.0]]))


def test_the_cost_is_that_of_what_ran(spotter, inputs, monkeypatch):
    """Against a count of the whole call, with every proposal kept and words of exactly as many steps as are charged."""
    heads = spotter.student.roi_heads
    monkeypatch.setattr(heads.box_predictor, "test_nms_thresh", 1.0)
    monkeypatch.setattr(spotter.student.proposal_generator, "nms_thresh", 1.0)
    monkeypatch.setattr(heads.recognizer.decoder, "end", -1)  # an id no step predicts
    monkeypatch.setattr(heads.recognizer, "max_length", DECODER_STEPS - 1)
    table = CostTable.measure(spotter.student, None, None, (1.0,))
    for scale, one in ((None, inputs[0]), (None, inputs[3]), (0.5, inputs[3]), (1.0, inputs[0])):
        spotter.fixed_scale = scale
        outputs = []
        counted = count_flops(lambda x=one, to=outputs: to.extend(spotter.inference([x], do_postprocess=False)))
        output, size = outputs[0], tuple(one["image"].shape[-2:])
        assert len(output["instances"]) == 4
        assert output["gflops"] == pytest.approx(counted.gflops, rel=0.02)
        teacher = table.teacher_flops([size], [4]).item()
        assert output["cost"] == pytest.approx(counted.total_flops / teacher, rel=0.02)
        assert 0 < output["paper_gflops"] * 2 * 2**30 < counted.total_flops
        assert ("ResolutionSelector" in counted.by_module) == (scale is None)


def test_the_larger_mu_the_cheaper_every_choice(spotter, inputs):
    images = spotter.normalize(inputs)
    choices = []
    with torch.no_grad():
        for mu in (-1e4, -10, 0, 1, 10, 100, 1e4):
            spotter.mu.fill_(mu)
            choices.append(spotter.select_scales(images))
    assert set(choices[0]) == {0.8} and set(choices[-1]) == {0.4}
    for dear, cheap in zip(choices[:-1], choices[1:], strict=True):
        assert all(a >= b for a, b in zip(dear, cheap, strict=True))


def test_mu_weighs_cost_against_the_scores(spotter, monkeypatch):
    """p = 1/7, 2/7, 4/7 for scales 0.4, 0.6, 0.8: a scale is left once mu x what the next saves exceeds log 2."""
    monkeypatch.setattr(spotter, "score_scales", lambda images: torch.tensor([[1.0, 2.0, 4.0]]).log())
    images = [torch.zeros(3, 192, 256)]
    low, mid, high = spotter.cost_table.costs([(192, 256)], [spotter.expected_words])[0].tolist()
    first, second = np.log(2) / (high - mid), np.log(2) / (mid - low)
    assert first < second, "costs rise with the square of the scale"
    for mu, scale in ((0, 0.8), (first * 0.99, 0.8), (first * 1.01, 0.6), (second * 0.99, 0.6), (second * 1.01, 0.4)):
        spotter.mu.fill_(mu)
        assert spotter.select_scales(images) == [scale]


def test_the_full_size_may_be_a_candidate(tiny_cfg, make_record):
    tiny_cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"
    tiny_cfg.MODEL.SELECTOR.SCALES = [0.5, 1.0]
    torch.manual_seed(0)
    model = build_model(tiny_cfg).eval()
    model.selector.head.bias.data.copy_(torch.tensor([0.0, 9.0]))
    output = read(model, [TextDatasetMapper(tiny_cfg, False)(make_record())])[0]
    assert output["scale"] == 1.0
    assert 1.0 < output["cost"] < 1.2, "the teacher's cost, and the selector's"


def test_without_selector_the_largest_candidate_is_used(tiny_cfg):
    tiny_cfg.MODEL.META_ARCHITECTURE, tiny_cfg.MODEL.SELECTOR.ENABLED = "DynamicSpotter", False
    model = build_model(tiny_cfg)
    assert model.selector is None and model.fixed_scale == 0.8
    with pytest.raises(ValueError, match="without a selector a fixed scale is needed"):
        DynamicSpotter(student=model.student, selector=None, scales=(0.5,), cost_table=model.cost_table)


def test_images_in_which_nothing_is_found(spotter, inputs, monkeypatch):
    monkeypatch.setattr(spotter.student.roi_heads.box_predictor, "test_score_thresh", 1.1)
    for output, (height, width), one in zip(read(spotter, inputs), SIZES, inputs, strict=True):
        assert len(output["instances"]) == 0 and output["instances"].image_size == (height, width)
        assert output["instances"].pred_texts == [] and output["instances"].pred_polygons == []
        # nothing was read: that is cheaper than four words
        size = tuple(one["image"].shape[-2:])
        index = spotter.scales.index(output["scale"])
        assert output["gflops"] * 1e9 == pytest.approx(spotter.cost_table.flops([size], [0])[0, index].item())
        assert output["gflops"] * 1e9 < spotter.cost_table.flops([size], [4])[0, index].item()
