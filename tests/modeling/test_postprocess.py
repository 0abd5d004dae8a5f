import cv2
import numpy as np
import pytest
import shapely
import torch
from detectron2.structures import Boxes, Instances
from shapely.geometry import Polygon

from dld.modeling.postprocess import masks_to_polygons, spotting_postprocess, text_scores
from dld.structures.padded_polygons import PaddedPolygons
from dld.text.charset import Charset


def rotated(center, size, degrees):
    return cv2.boxPoints((center, size, degrees)).astype(np.float64)


def box_of(polygon):
    return np.array([*polygon.min(0), *polygon.max(0)], dtype=np.float32)


def soft_masks(polygons, boxes, side=28):
    """What a perfect mask head gives: the share of each cell inside the word."""
    return PaddedPolygons.from_list(polygons).coverage(torch.from_numpy(boxes), (side, side), samples=8)


def iou(a, b):
    a, b = Polygon(a), Polygon(b)
    return a.intersection(b).area / a.union(b).area


@pytest.mark.parametrize("degrees", [0, 7, 30, 45, 75, 90])
@pytest.mark.parametrize("size", [(90, 30), (60, 40)])
def test_a_rotated_rectangle_comes_back(degrees, size):
    word = rotated((300.3, 200.8), size, degrees)
    box = box_of(word)[None]
    (polygon,) = masks_to_polygons(soft_masks([word], box), box)
    assert iou(polygon, word) > 0.9
    assert polygon.dtype == np.float32 and len(polygon) < 12
    x, y = polygon.astype(float).T
    assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0  # clockwise on a screen: the order submissions must have


def test_each_word_has_its_own_mask():
    words = [rotated((100 + 80 * i, 60), (60, 20 + 5 * i), 11 * i) for i in range(6)]
    boxes = np.stack([box_of(w) for w in words])
    masks = soft_masks(words, boxes)
    together = masks_to_polygons(masks, boxes)
    for i, word in enumerate(words):
        assert iou(together[i], word) > 0.9
        np.testing.assert_array_equal(together[i], masks_to_polygons(masks[i : i + 1], boxes[i : i + 1])[0])


def test_of_several_blobs_the_largest_is_the_word():
    masks = torch.zeros(1, 28, 28)
    masks[0, 2:6, 2:6] = 1
    masks[0, 10:24, 8:26] = 1
    (polygon,) = masks_to_polygons(masks, np.array([[0.0, 0, 28, 28]]))
    assert iou(polygon, [[8, 10], [26, 10], [26, 24], [8, 24]]) > 0.9


def test_full_and_empty_masks_give_the_box():
    box = np.array([[10.0, 20, 60, 35]] * 2)
    full, empty = masks_to_polygons(torch.stack([torch.ones(28, 28), torch.zeros(28, 28)]), box)
    corners = [[10, 20], [60, 20], [60, 35], [10, 35]]
    assert iou(full, corners) > 0.97
    np.testing.assert_array_equal(empty, corners)
    assert masks_to_polygons(torch.zeros(0, 28, 28), np.zeros((0, 4))) == []


def test_outlines_are_centered_on_their_masks():
    box = np.array([[10.0, 20, 122, 132]])  # one pixel for each cell of the enlarged mask
    (polygon,) = masks_to_polygons(torch.ones(1, 28, 28), box)
    np.testing.assert_allclose((polygon.min(0) + polygon.max(0)) / 2, [66, 76], atol=0.01)


def network_output(boxes, texts, image_size, charset, length=6):
    R = len(boxes)
    out = Instances(image_size, pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)))
    out.scores, out.pred_classes = torch.linspace(0.9, 0.6, R), torch.zeros(R, dtype=torch.int64)
    out.pred_masks = torch.ones(R, 1, 28, 28)
    ids = torch.stack([charset.encode(t, length) for t in texts])
    out.pred_ids = torch.where(ids == charset.pad, charset.end, ids)
    out.pred_id_scores = torch.where(out.pred_ids == charset.end, 0.25, 0.75)
    return out


def test_boxes_texts_and_scores_of_the_original_image():
    charset = Charset("abcdef")
    boxes = [[10, 10, 50, 20], [-5, 30, 20, 120], [96, 5, 99, 9]]
    out = network_output(boxes, ["abc", "", "fade"], (100, 100), charset)
    words = spotting_postprocess(out, 200, 50, charset)
    assert words.image_size == (200, 50)
    # x halves, y doubles; the second box reached out of the image
    assert words.pred_boxes.tensor.tolist() == [[5, 20, 25, 40], [0, 60, 10, 200], [48, 10, 49.5, 18]]
    assert words.pred_texts == ["abc", "", "fade"]
    assert words.pred_char_scores == [[0.75] * 3, [], [0.75] * 4]
    assert words.scores.tolist() == pytest.approx([0.9, 0.75, 0.6])
    assert shapely.box(5, 20, 25, 40).buffer(0.01).contains(Polygon(words.pred_polygons[0]))
    assert out.pred_boxes.tensor[0].tolist() == [10, 10, 50, 20], "the network's own output is left alone"


def test_boxes_outside_the_image_are_left_out_with_all_their_fields():
    charset = Charset("abcdef")
    out = network_output([[120, 10, 150, 20], [10, 10, 50, 20]], ["abc", "de"], (100, 100), charset)
    words = spotting_postprocess(out, 100, 100, charset)
    assert len(words) == 1 and words.pred_texts == ["de"] and words.scores.tolist() == pytest.approx([0.6])


def test_without_masks_and_sides_the_box_is_the_outline():
    charset = Charset("abcdef")
    out = network_output([[10, 10, 50, 20], [-5, 30, 20, 120]], ["abc", "de"], (100, 100), charset)
    out.remove("pred_masks")
    out.remove("pred_classes")
    words = spotting_postprocess(out, 200, 50, charset)
    assert [x.tolist() for x in words.pred_polygons] == [
        [[5, 20], [25, 20], [25, 40], [5, 40]],
        [[0, 60], [10, 60], [10, 200], [0, 200]],
    ]
    assert words.pred_classes.tolist() == [0, 0]


def test_ids_end_with_the_longest_word():
    """The decoder stops when all words have ended: what it gives has fewer columns than the longest word may have."""
    charset = Charset("abcdef")
    out = network_output([[10, 10, 50, 20]] * 2, ["abc", "de"], (100, 100), charset, length=3)
    longer = network_output([[10, 10, 50, 20]] * 2, ["abc", "de"], (100, 100), charset, length=9)
    for a, b in zip(*(spotting_postprocess(x, 100, 100, charset).get_fields().items() for x in (out, longer)), strict=True):
        assert str(a) == str(b)


def test_words_that_are_not_surely_read_are_left_out():
    charset = Charset("abcdef")
    out = network_output([[10, 10, 50, 20]] * 3, ["abc", "", "fad"], (100, 100), charset)
    out.pred_id_scores[0, :3] = torch.tensor([0.9, 0.1, 0.3])  # geometric mean 0.3, as 0.3^3 = 0.027 = 0.9 x 0.1 x 0.3
    out.pred_id_scores[2, :3] = torch.tensor([0.2, 0.8, 0.4])  # 0.4
    np.testing.assert_allclose(text_scores(out.pred_id_scores, torch.tensor([3, 0, 3])), [0.3, 0, 0.4], rtol=1e-5)
    kept = [spotting_postprocess(out, 100, 100, charset, t).pred_texts for t in (0.0, 0.01, 0.299, 0.301, 0.5)]
    assert kept == [["abc", "", "fad"], ["abc", "fad"], ["abc", "fad"], ["fad"], []]
