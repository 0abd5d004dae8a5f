"""Views of words as they stand: the crops of the masked pooler, untransposed, in one tensor whatever their form."""

import pytest
import torch

from dld.modeling.poolers.masked_roi_pooler import MaskedRoIPooler
from dld.modeling.poolers.view_pooler import ViewPooler
from dld.structures.padded_polygons import PaddedPolygons
from dld.structures.tall import view_forms

BOXES = torch.tensor([[8.0, 8, 88, 28], [40, 4, 60, 94], [10, 10, 60, 58], [5, 50, 95, 80]])


@pytest.fixture
def features():
    return torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def polygons(boxes):
    x0, y0, x1, y1 = boxes.T
    return PaddedPolygons(
        torch.stack([torch.stack([x0, y1], 1), torch.stack([(x0 + x1) / 2, y0], 1), torch.stack([x1, y1], 1)], 1)
    )


def test_views_are_the_crops_of_the_masked_pooler_as_they_stand(features):
    pooler, other = ViewPooler((8, 32)), MaskedRoIPooler((8, 32))
    form, per_image = view_forms(BOXES), [BOXES[:3], BOXES[3:]]
    assert form.tolist() == [0, 1, 2, 0]
    masks = pooler.polygon_masks(polygons(BOXES), BOXES, form)
    views = pooler(features, per_image, masks, form)
    assert views.shape == (4, 3, 16, 16) and masks.shape == (4, 16, 16)
    tall = form == 1
    crops = other(features, per_image, other.polygon_masks(polygons(BOXES), BOXES, tall), tall)
    for i in (0, 3):
        torch.testing.assert_close(views[i].reshape(3, 8, 32), crops[i])
    torch.testing.assert_close(views[1].reshape(3, 32, 8).transpose(1, 2), crops[1])
    square = MaskedRoIPooler((16, 16))
    alone = square(
        features, [BOXES[2:3], BOXES[:0]], square.polygon_masks(polygons(BOXES[2:3]), BOXES[2:3], tall[:1]), tall[:1]
    )
    torch.testing.assert_close(views[2], alone[0])


def test_predicted_masks_are_folded_like_views():
    probabilities = torch.zeros(3, 28, 28)
    probabilities[:, :14] = 0.9  # the upper half
    pooler = ViewPooler((8, 32))
    masks = pooler.predicted_masks(probabilities, torch.tensor([1, 0, 2]))
    for mask, shape in zip(masks, ((32, 8), (8, 32), (16, 16)), strict=True):
        upper = mask.view(shape)
        assert (upper[: shape[0] // 2] == 1).all() and (upper[shape[0] // 2 :] == 0).all()


def test_no_words_are_part_of_the_graph(features):
    features.requires_grad_()
    pooler, none = ViewPooler((8, 32)), BOXES[:0]
    form = torch.zeros(0, dtype=torch.int64)
    masks = pooler.polygon_masks(PaddedPolygons.from_list([]), none, form)
    views = pooler(features, [none, none], masks, form)
    assert views.shape == (0, 3, 16, 16)
    views.sum().backward()
    assert not features.grad.any()


def test_the_number_of_cells_must_be_a_square():
    with pytest.raises(ValueError, match=r"POOLER_RESOLUTION must have a square number of cells .*, got 8 x 30"):
        ViewPooler((8, 30))
