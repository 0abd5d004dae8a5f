"""The sides of annotated words go with the image through crop, rotation and scale, whatever becomes of their outlines."""

import numpy as np
import pytest
import torch

from dld.data.dataset_mapper import TextDatasetMapper
from dld.modeling.resolution.rescale import rescale_instances
from dld.structures.sides import word_sides
from dld.text.charset import Charset

WORD = np.array([[20.0, 30], [100, 30], [100, 50], [20, 50]], np.float32)


def mapped(polygons, side_points=7, **options):
    image = np.zeros((100, 160, 3), np.uint8)
    annotations = [{"polygon": p, "text": "word", "ignore": False} for p in polygons]
    mapper = TextDatasetMapper(
        is_train=True,
        charset=Charset.default(),
        max_length=10,
        short_sides=(50,),
        longest=200,
        side_points=side_points,
        **options,
    )
    return mapper({"image": image, "image_id": "a", "annotations": annotations}, np.random.default_rng(3))["instances"]


def test_sides_are_those_of_the_outline_in_pixels_of_the_input():
    words = mapped([WORD])
    assert words.gt_fiducials.points.shape == (1, 14, 2)
    expected = word_sides(WORD, 7).reshape(14, 2) * 0.5
    np.testing.assert_allclose(words.gt_fiducials.points[0].numpy(), expected, atol=1e-4)
    smaller = rescale_instances(words, (25, 40))
    torch.testing.assert_close(smaller.gt_fiducials.points, words.gt_fiducials.points * 0.5)


def test_a_turned_image_turns_its_sides():
    words = mapped([WORD], rotation=20.0)
    top, bottom = words.gt_fiducials.points[0].view(2, 7, 2)
    straight = np.hypot(*(top[-1] - top[0]).tolist()), np.hypot(*(bottom[0] - top[0]).tolist())
    assert straight == pytest.approx((40, 10), abs=1e-3)
    assert abs(float(top[-1, 1] - top[0, 1])) > 1, "else it did not turn"
    inside = words.gt_boxes.tensor[0]
    points = words.gt_fiducials.points[0]
    assert (points.amin(0) >= inside[:2] - 1e-3).all() and (points.amax(0) <= inside[2:] + 1e-3).all()


def test_sides_go_on_beyond_the_edge_that_clips_the_outline():
    beyond = WORD - np.array([24.0, 0], np.float32)
    words = mapped([beyond])
    assert words.gt_masks.points[0, :, 0].min() == 0 and words.gt_fiducials.points[0, :, 0].min() == pytest.approx(-2)


def test_words_without_sides_have_none_and_keep_their_place():
    triangle = np.array([[110.0, 70], [150, 70], [130, 95]], np.float32)
    words = mapped([WORD, triangle, WORD + 30], 5)
    missing = torch.isnan(words.gt_fiducials.points).all(2).all(1)
    assert missing.tolist() == [False, True, False]
    assert words.gt_fiducials.points.shape == (3, 10, 2)


def test_nothing_is_made_where_nothing_asks_for_it():
    assert not mapped([WORD], side_points=0).has("gt_fiducials")
    assert mapped([]).gt_fiducials.points.shape == (0, 14, 2)
