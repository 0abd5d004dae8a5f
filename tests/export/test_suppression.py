"""Choosing among boxes in numpy, against detectron2 and torchvision."""

import numpy as np
import pytest
import torch
import torchvision
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference

from dld.runtime.suppression import choose_detections, choose_proposals, non_maximum_suppression


def random_boxes(count, seed, side=80):
    rng = np.random.default_rng(seed)
    corner, extent = rng.uniform(-10, side, (count, 2)), rng.exponential(15, (count, 2))
    return np.concatenate([corner, corner + extent], 1).astype(np.float32)


def test_a_box_falls_to_a_better_one_that_covers_half_of_it():
    """IoU of the first two is 50 / 100; the third touches neither."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]], dtype=np.float32)
    scores = np.array([0.5, 0.6, 0.9], dtype=np.float32)
    assert non_maximum_suppression(boxes, scores, 0.49).tolist() == [2, 1]
    assert non_maximum_suppression(boxes, scores, 0.5).tolist() == [2, 1, 0]
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.5).tolist() == []


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7])
def test_suppression_is_torchvisions(threshold):
    boxes, scores = random_boxes(300, 1), np.random.default_rng(2).integers(0, 40, 300).astype(np.float32)
    wanted = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert non_maximum_suppression(boxes, scores, threshold).tolist() == wanted.tolist()


@pytest.mark.parametrize("min_size", [0.0, 5.0])
def test_proposals_are_detectron2s(min_size):
    """Two levels, of which the second has fewer anchors than K: it is filled up with -inf as the graph does."""
    K, size = 200, (60, 90)
    rng = np.random.default_rng(3)
    boxes = [random_boxes(K, 4), random_boxes(50, 5)]
    logits = [rng.permutation(n).astype(np.float32) for n in (K, 50)]
    result = find_top_rpn_proposals(
        [torch.from_numpy(b)[None] for b in boxes],
        [torch.from_numpy(s)[None] for s in logits],
        [size],
        0.5,
        K,
        60,
        min_size,
        False,
    )[0]
    filled = np.concatenate([*boxes, np.repeat(boxes[1][-1:], K - 50, 0)])
    scores = np.concatenate([*logits, np.full(K - 50, -np.inf, np.float32)])
    # equal logits of two levels may come in either order
    found = choose_proposals(filled, scores, np.repeat([0, 1], K), size, nms_threshold=0.5, count=60, min_size=min_size)
    wanted = result.proposal_boxes.tensor.numpy()
    assert len(found) == len(wanted) == 60
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(wanted, axis=0))


def test_without_a_finite_box_there_are_no_proposals():
    boxes = np.full((4, 4), np.nan, np.float32)
    options = {"nms_threshold": 0.5, "count": 9, "min_size": 0.0}
    assert choose_proposals(boxes, np.zeros(4, np.float32), np.zeros(4, np.int64), (9, 9), **options).shape == (0, 4)


@pytest.mark.parametrize("count", [-1, 5])
def test_detections_are_detectron2s(count):
    boxes, size = random_boxes(120, 6), (60, 90)
    boxes[7] = np.nan
    scores = np.random.default_rng(7).permutation(120).astype(np.float32) / 120
    both = torch.from_numpy(np.stack([scores, 1 - scores], 1))
    wanted = fast_rcnn_inference([torch.from_numpy(boxes)], [both], [size], 0.4, 0.3, count)[0][0]
    found, kept = choose_detections(boxes, scores, size, score_threshold=0.4, nms_threshold=0.3, count=count)
    assert len(kept) == (5 if count == 5 else len(wanted)) > 4
    np.testing.assert_array_equal(found, wanted.pred_boxes.tensor.numpy())
    np.testing.assert_array_equal(kept, wanted.scores.numpy())
