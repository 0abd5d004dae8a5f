"""Each graph computes what its module does, at sizes and batches that it was not traced with."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances

from dld.export.exporter import spotter_parts
from dld.export.graphs import SelectorGraph
from dld.export.parity import compare_graphs
from dld.modeling.resolution.rescale import rescale_images
from dld.modeling.resolution.selector import ScaleSelector, build_selector

SELECTORS = ("ResolutionSelector", "BackboneSelector", "WordLossSelector")


@pytest.mark.parametrize(("size", "images"), [((224, 160), 1), ((64, 320), 3)])
def test_graphs_agree_with_their_modules_at_any_size(student, size, images):
    report = compare_graphs(spotter_parts(student.pytorch.model, size, images, seed=1), student.onnx.run)
    assert set(report) == {"selector", "detector", "boxes", "masks", "reader", "characters"}
    assert report["characters"]["ids"] == 0 and report["detector"]["proposal_level"] == 0
    for name, outputs in report.items():
        for output, difference in outputs.items():
            limit = 1e-2 if output in ("proposals", "boxes") else 1e-3  # pixels; features and probabilities
            assert difference < limit, (name, output)


def test_a_level_with_fewer_anchors_than_are_asked_for_fills_up(teacher):
    """64 x 64 pixels are one cell of P6: 6 anchors, and K is 300."""
    levels = teacher.onnx.settings["levels"]
    *_, boxes, logits, level = teacher.onnx.run("detector", np.zeros((1, 3, 64, 64), np.float32))
    assert [int(np.isfinite(logits[0, level == k]).sum()) for k in range(5)] == [300, 300, 96, 24, 6]
    assert boxes.shape == (1, 1500, 4) and levels == ["p2", "p3", "p4", "p5"]


@torch.no_grad()
def test_the_modules_are_the_spotter(teacher):
    """Box scores, masks and context of the parts against the heads they were cut from, a standing word among them."""
    model = teacher.pytorch.model
    parts = spotter_parts(model, (96, 128), 1)
    images = parts["detector"].example[0]
    features = model.backbone(images)
    *levels, boxes, logits, level = parts["detector"].module(images)
    torch.testing.assert_close(levels[0], features["p2"])
    proposals, _ = model.proposal_generator(ImageList(images, [(96, 128)]), features, None)
    # whatever detectron2 proposes is among what the graph hands on
    clipped = Boxes(boxes[0].clone())
    clipped.clip((96, 128))
    distance = (proposals[0].proposal_boxes.tensor[:, None] - clipped.tensor[None]).abs().amax(-1).amin(1)
    assert len(distance) > 20 and distance.max() < 1e-3
    regions = torch.tensor([[0, 8, 8, 100, 30], [0, 10, 5, 30, 90], [0, 0, 0, 128, 96]], dtype=torch.float32)
    words = Instances((96, 128))
    words.pred_boxes, words.pred_classes = Boxes(regions[:, 1:]), torch.zeros(3, dtype=torch.int64)
    heads, seen = model.roi_heads, []
    hook = heads.recognizer.encoder.register_forward_hook(lambda module, args, out: seen.append(out))
    wanted = heads.forward_with_given_boxes(features, [words])[0]
    hook.remove()
    masks = parts["masks"].module(*levels, regions)
    torch.testing.assert_close(masks, wanted.pred_masks[:, 0], atol=1e-5, rtol=1e-4)
    context, _ = parts["reader"].module(levels[0], regions, masks)
    torch.testing.assert_close(context, seen[0], atol=1e-4, rtol=1e-3)


def test_the_pooling_matrices_are_adaptive_average_pooling(teacher):
    reader = spotter_parts(teacher.pytorch.model, (64, 64), 1)["reader"].module
    masks = torch.rand(4, 28, 28)
    found = reader.rows.T @ masks @ reader.columns
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(masks[:, None], (8, 32))[:, 0])


def test_other_models_are_refused(tiny_cfg):
    with pytest.raises(ValueError, match="not Linear"):
        spotter_parts(torch.nn.Linear(1, 1))
    tiny_cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"
    model = build_model(tiny_cfg).eval()
    model.selector = ScaleSelector()
    with pytest.raises(ValueError, match="a selector of class ScaleSelector cannot be exported"):
        spotter_parts(model)


@pytest.mark.parametrize("name", SELECTORS)
@torch.no_grad()
def test_selectors_need_no_masks_where_images_are_of_one_size(tiny_cfg, name):
    tiny_cfg.MODEL.SELECTOR.NAME = name
    torch.manual_seed(0)
    selector = build_selector(tiny_cfg).eval()
    for parameter in selector.head.parameters():
        torch.nn.init.normal_(parameter)
    images, size = torch.randn(2, 3, 96, 160), (90, 151)
    reduced = rescale_images([x[:, : size[0], : size[1]] for x in images], selector.input_scale, 1).tensor
    scores = SelectorGraph(selector)(reduced)
    assert scores.std() > 0
    torch.testing.assert_close(scores, selector(images, [size, size]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", ["blocks", "widths"])
def test_graphs_of_other_layers_compute_what_their_modules_do(tiny_cfg, tmp_path, change):
    """Parsimonious convolutions, and searched widths in the shipped backbone and heads."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from dld.export.exporter import export_spotter
    from dld.runtime.onnx_spotter import OnnxTextSpotter

    if change == "blocks":
        tiny_cfg.MODEL.PARSIMONIOUS.WHERE = ["fpn", "rpn", "stem", "encoder", "mask"]
    else:
        tiny_cfg.merge_from_list(
            ["MODEL.BACKBONE.NAME", "build_text_convnet_fpn_backbone", "MODEL.FPN.NORM", "", "MODEL.RPN.CONV_DIMS", [32]]
        )
        names = ["backbone.neck", "backbone.bottom_up.net.blocks.4.widen", "proposal_generator.rpn_head.conv"]
        tiny_cfg.MODEL.PRUNED_WIDTHS = [[name, 24] for name in (*names, "roi_heads.box_head.fc1", "roi_heads.box_head.fc2")]
    torch.manual_seed(0)
    model = build_model(tiny_cfg).eval()
    export_spotter(model, tiny_cfg, tmp_path / "graphs")
    run = OnnxTextSpotter(tmp_path / "graphs", "cpu", threads=1).run
    report = compare_graphs(spotter_parts(model, (96, 160), 2, seed=1), run)
    assert {"detector", "masks", "reader"} <= set(report)
    for name, outputs in report.items():
        for output, difference in outputs.items():
            # proposals and boxes are in pixels
            assert difference < (1e-3 if output in ("proposals", "boxes") else 1e-4), (name, output, difference)
