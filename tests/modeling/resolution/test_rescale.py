"""Facts about resizing: sizes worked by hand, padding that never bleeds, words that follow their image."""

import pytest
import torch
from detectron2.structures import Boxes, ImageList, Instances
from hypothesis import given
from hypothesis import strategies as st

from dld.modeling.resolution.rescale import (
    group_by,
    group_by_scale,
    padded_size,
    rescale_images,
    rescale_instances,
    scaled_size,
)
from dld.structures.padded_polygons import PaddedPolygons


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((480, 640), 0.3, (144, 192)),
        ((5, 7), 0.5, (3, 4)),  # halves up, for odd and even results alike
        ((10, 30), 0.35, (4, 11)),  # 3.5 and 10.5, neither exact in floating point
        ((720, 1280), 1.0, (720, 1280)),
        ((1, 2), 0.1, (1, 1)),
    ],
)
def test_sizes_worked_by_hand(size, scale, expected):
    assert scaled_size(size, scale) == expected


@pytest.mark.parametrize("scale", [0.0, -0.5, float("nan"), float("inf")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="scale must be positive"):
        scaled_size((10, 10), scale)


def test_padding_goes_up_to_the_next_multiple():
    assert padded_size((33, 64), 32) == (64, 64)
    assert padded_size((33, 64), 0) == (33, 64)


def batch_of(sizes, fill):
    images = [torch.rand(3, *size, generator=torch.Generator().manual_seed(i)) for i, size in enumerate(sizes)]
    padded = ImageList.from_tensors(images, 32, pad_value=fill)
    return images, padded


@pytest.mark.parametrize("scale", [0.3, 0.55, 1.0])
def test_an_image_is_resized_the_same_alone_and_in_a_batch_with_any_padding(scale):
    images, padded = batch_of([(50, 70), (64, 33), (20, 90)], fill=1e4)
    together = rescale_images(padded, scale)
    for i, image in enumerate(images):
        alone = rescale_images([image], scale)
        assert together.image_sizes[i] == alone.image_sizes[0] == scaled_size(image.shape[1:], scale)
        assert torch.equal(together[i], alone[0])
        assert torch.equal(rescale_images([image], scale, 1)[0], alone[0])
    H, W = together.image_sizes[0]
    assert not together.tensor[0, :, H:].any() and not together.tensor[0, :, :, W:].any()
    assert together.tensor.shape[2] % 32 == together.tensor.shape[3] % 32 == 0


def test_scale_one_leaves_pixels_untouched():
    images, padded = batch_of([(40, 40)], fill=0)
    assert torch.equal(rescale_images(padded, 1.0)[0], images[0])


@pytest.mark.parametrize("column", range(20, 28))
def test_a_thin_stroke_keeps_its_ink_wherever_it_stands(column):
    """Without antialiasing a line one pixel wide vanishes at a quarter of the size for half of the positions."""
    image = torch.zeros(3, 48, 48)
    image[:, :, column] = 1
    assert rescale_images([image], 0.25, 1).tensor.sum().item() == pytest.approx(image.sum().item() / 16, rel=0.02)


def test_the_memory_format_of_a_batch_is_kept():
    _, padded = batch_of([(40, 40), (40, 50)], fill=0)
    padded.tensor = padded.tensor.contiguous(memory_format=torch.channels_last)
    assert rescale_images(padded, 0.5).tensor.is_contiguous(memory_format=torch.channels_last)


def words():
    instances = Instances((100, 200))
    instances.gt_boxes = Boxes(torch.tensor([[10.0, 20.0, 30.0, 60.0]]))
    instances.gt_read_boxes = Boxes(torch.tensor([[8.0, 20.0, 32.0, 60.0]]))
    instances.gt_masks = PaddedPolygons.from_list([[[10.0, 20.0], [30.0, 20.0], [30.0, 60.0]]])
    instances.gt_classes = torch.tensor([0])
    instances.gt_ignore = torch.tensor([False])
    instances.gt_readable = torch.tensor([True])
    instances.gt_text = torch.tensor([[5, 6, 7]])
    instances.gt_tall = torch.tensor([True])
    return instances


def test_words_follow_their_image():
    original = words()
    scaled = rescale_instances(original, (50, 60))  # x 0.5 down, x 0.3 across
    assert scaled.image_size == (50, 60)
    torch.testing.assert_close(scaled.gt_boxes.tensor, torch.tensor([[3.0, 10.0, 9.0, 30.0]]))
    torch.testing.assert_close(scaled.gt_read_boxes.tensor, torch.tensor([[2.4, 10.0, 9.6, 30.0]]))
    torch.testing.assert_close(scaled.gt_masks.points, torch.tensor([[[3.0, 10.0], [9.0, 10.0], [9.0, 30.0]]]))
    for name in ("gt_classes", "gt_ignore", "gt_readable", "gt_text", "gt_tall"):
        assert torch.equal(scaled.get(name), original.get(name))
    assert original.gt_boxes.tensor[0, 0] == 10 and original.gt_masks.points[0, 0, 0] == 10


def test_an_image_without_words_is_rescaled():
    scaled = rescale_instances(words()[torch.tensor([False])], (50, 100))
    assert len(scaled) == 0 and scaled.image_size == (50, 100)


@given(st.lists(st.sampled_from([0.3, 0.5, 0.8]), max_size=12))
def test_every_image_is_in_exactly_one_group_of_its_key(keys):
    groups = group_by(keys)
    assert all(keys[i] == key for key, indices in groups.items() for i in indices)
    assert sorted(i for indices in groups.values() for i in indices) == list(range(len(keys)))


def test_images_run_together_when_scale_and_padded_size_agree():
    sizes = [(640, 640), (630, 640), (640, 640), (320, 640)]
    groups = group_by_scale(sizes, [0.5, 0.5, 0.3, 0.5])
    assert groups == {(0.5, (320, 320)): [0, 1], (0.3, (192, 192)): [2], (0.5, (160, 320)): [3]}
