import pytest
import torch

from dld.modeling.poolers.masked_roi_pooler import MaskedRoIPooler
from dld.structures.padded_polygons import PaddedPolygons
from dld.structures.tall import is_tall

STRIDE = 4


@pytest.fixture
def pooler():
    return MaskedRoIPooler((8, 32), STRIDE)


def ramps(H, W):
    """Two channels that hold x and y of each cell's center in pixels."""
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    return torch.stack([x, y])[None] * STRIDE


def steps(start, end, n):
    return start + (end - start) * (torch.arange(n) + 0.5) / n


def ones(R):
    return torch.ones(R, 8, 32)


def test_a_crop_samples_the_middle_of_each_bin(pooler):
    box = torch.tensor([[17.0, 9, 81, 41]])
    x, y = pooler(ramps(20, 40), [box], ones(1), is_tall(box))[0]
    torch.testing.assert_close(x, steps(17.0, 81, 32).expand(8, 32))
    torch.testing.assert_close(y, steps(9.0, 41, 8)[:, None].expand(8, 32))


def test_a_tall_word_is_read_downwards(pooler):
    box = torch.tensor([[12.0, 10, 28, 74]])
    x, y = pooler(ramps(40, 20), [box], ones(1), is_tall(box))[0]
    torch.testing.assert_close(y, steps(10.0, 74, 32).expand(8, 32))
    torch.testing.assert_close(x, steps(12.0, 28, 8)[:, None].expand(8, 32))


def test_tall_begins_above_one_and_a_half_times_the_width():
    boxes = torch.tensor([[0.0, 0, 10, 15], [0, 0, 10, 15.5], [5, 5, 15, 9]])
    assert is_tall(boxes).tolist() == [False, True, False]


def test_nothing_outside_the_mask_passes(pooler):
    boxes = torch.tensor([[8.0, 8, 72, 40]])
    # the left half of the box
    polygons = PaddedPolygons.from_list([[[8, 8], [40, 8], [40, 40], [8, 40]]])
    masks = pooler.polygon_masks(polygons, boxes, is_tall(boxes))
    crop = pooler(torch.randn(1, 5, 20, 20) + 9, [boxes], masks, is_tall(boxes))
    assert (crop[..., :16] > 1).all() and (crop[..., 16:] == 0).all()


def test_words_keep_their_order_whatever_mix_of_images_and_tall_ones(pooler):
    g = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 40, 40, generator=g)
    corner = torch.rand(9, 2, generator=g) * 80
    size = torch.tensor([[60.0, 12], [10, 50], [30, 30], [9, 60], [70, 20], [12, 40], [40, 10], [8, 70], [20, 20]])
    boxes = torch.cat([corner, corner + size], 1)
    tall, masks = is_tall(boxes), torch.rand(9, 8, 32, generator=g)
    assert 0 < tall.sum() < 9
    crops = pooler(features, list(boxes.split([4, 0, 5])), masks, tall)
    image = [0, 0, 0, 0, 2, 2, 2, 2, 2]
    for i in range(9):
        alone = pooler(features[image[i]][None], [boxes[i : i + 1]], masks[i : i + 1], tall[i : i + 1])
        torch.testing.assert_close(crops[i], alone[0])


@pytest.mark.parametrize("size", [(80.0, 24.0), (24.0, 80.0)], ids=["lying", "tall"])
def test_a_perfect_mask_head_gives_the_masks_of_the_annotation(pooler, size):
    w, h = size
    box = torch.tensor([[10.0, 20, 10 + w, 20 + h]])
    # a parallelogram that is neither symmetric nor its own transpose
    polygon = torch.tensor([[0.0, 0], [0.7, 0.1], [1, 1], [0.35, 0.8]]) * torch.tensor(size) + box[0, :2]
    polygons = PaddedPolygons(polygon[None])
    probabilities = polygons.crop_and_resize(box, 28).float()
    annotated = pooler.polygon_masks(polygons, box, is_tall(box))
    predicted = pooler.predicted_masks(probabilities, is_tall(box))
    assert predicted.shape == annotated.shape == (1, 8, 32)
    assert (predicted - annotated).abs().mean() < 0.05
    wrong = pooler.predicted_masks(probabilities, ~is_tall(box))
    assert (wrong - annotated).abs().mean() > 0.15


def test_no_words(pooler):
    features = torch.randn(2, 4, 10, 10, requires_grad=True)
    crops = pooler(features, [torch.zeros(0, 4)] * 2, torch.zeros(0, 8, 32), torch.zeros(0, dtype=torch.bool))
    assert crops.shape == (0, 4, 8, 32)
    crops.sum().backward()
    assert (features.grad == 0).all()


def test_half_precision_features_do_not_round_the_boxes(pooler):
    # at x = 1003 neighbouring bfloat16 numbers are 4 apart, a fifth of this word
    box = torch.tensor([[1003.0, 8, 1023, 18]])
    features = torch.zeros(1, 1, 8, 300)
    features[..., 252] = 1  # pixels 1008 to 1012
    exact = pooler(features, [box], ones(1), is_tall(box))
    with torch.autocast("cpu", torch.bfloat16):
        half = pooler(features.bfloat16(), [box], ones(1), is_tall(box))
    torch.testing.assert_close(half.float(), exact, atol=0.01, rtol=0)
