import numpy as np
import pytest
import shapely
import torch
from detectron2.structures import Instances, PolygonMasks
from shapely.geometry import Polygon

from dld.structures.padded_polygons import PaddedPolygons


def star(rng, corners, center=(50, 50), radius=40):
    """A simple polygon, mostly concave: random radii at increasing angles."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    r = rng.uniform(0.25, 1, corners) * radius
    return np.stack([center[0] + r * np.cos(angles), center[1] + r * np.sin(angles)], 1)


def cell_centers(box, H, W):
    x = box[0] + (np.arange(W) + 0.5) / W * (box[2] - box[0])
    y = box[1] + (np.arange(H) + 0.5) / H * (box[3] - box[1])
    return np.meshgrid(x, y)


def covered(polygon, box, size, samples=1):
    polygons, boxes = PaddedPolygons.from_list([polygon]), torch.tensor([box], dtype=torch.float32)
    return polygons.coverage(boxes, size, samples)[0].numpy()


def test_share_of_a_cell_worked_out_by_hand():
    # the left 1.5 of 4 columns, the lower half of the window; four samples a cell
    mask = covered([[0, 5], [3, 5], [3, 10], [0, 10]], [0, 0, 8, 10], (2, 4), samples=2)
    assert mask.tolist() == [[0, 0, 0, 0], [1, 0.5, 0, 0]]


@pytest.mark.parametrize("seed", range(8))
def test_a_cell_is_inside_exactly_when_shapely_says_so_of_its_center(seed):
    rng = np.random.default_rng(seed)
    polygon = star(rng, int(rng.integers(3, 24)))
    box = [8.3, 5.7, 93.1, 88.9]
    inside = shapely.contains_xy(Polygon(polygon), *cell_centers(box, 23, 37))
    np.testing.assert_array_equal(covered(polygon, box, (23, 37)) == 1, inside)


def test_a_self_crossing_outline_follows_the_even_odd_rule():
    rng = np.random.default_rng(3)
    polygon = rng.uniform(5, 95, (9, 2))
    inside = shapely.contains_xy(shapely.make_valid(Polygon(polygon)), *cell_centers([0, 0, 100, 100], 31, 29))
    np.testing.assert_array_equal(covered(polygon, [0, 0, 100, 100], (31, 29)) == 1, inside)


@pytest.mark.parametrize("seed", range(4))
def test_shares_add_up_to_the_area(seed):
    polygon = star(np.random.default_rng(seed), 11)
    box = [20, 15, 80, 85]
    area = Polygon(polygon).intersection(shapely.box(*box)).area / (60 * 70)
    assert covered(polygon, box, (16, 16), samples=8).mean() == pytest.approx(area, abs=0.01)


def test_neither_direction_nor_starting_point_nor_repeated_points_matter():
    polygon = star(np.random.default_rng(1), 9)
    expected = covered(polygon, [0, 0, 100, 100], (40, 40))
    for same in (
        polygon[::-1],
        np.roll(polygon, 4, axis=0),
        np.concatenate([polygon, polygon[:1]]),
        np.repeat(polygon, 3, axis=0),
        np.concatenate([polygon, np.repeat(polygon[-1:], 20, axis=0)]),
    ):
        np.testing.assert_array_equal(covered(same, [0, 0, 100, 100], (40, 40)), expected)


def test_polygons_of_different_length_do_not_disturb_each_other():
    rng = np.random.default_rng(2)
    polygons = [star(rng, n) for n in (3, 17, 5, 8)]
    boxes = torch.tensor(rng.uniform([0, 0, 60, 60], [40, 40, 100, 100], (4, 4)), dtype=torch.float32)
    together = PaddedPolygons.from_list(polygons).coverage(boxes, (8, 32))
    joined = PaddedPolygons.cat([PaddedPolygons.from_list(polygons[:1]), PaddedPolygons.from_list(polygons[1:])])
    assert torch.equal(joined.coverage(boxes, (8, 32)), together)
    for i in range(4):
        assert torch.equal(PaddedPolygons.from_list(polygons[i : i + 1]).coverage(boxes[i : i + 1], (8, 32))[0], together[i])


def test_training_masks_differ_from_detectron2s_at_the_outline_only():
    rng = np.random.default_rng(5)
    polygons = [star(rng, int(n)) for n in rng.integers(3, 16, 20)]
    boxes = torch.tensor(rng.uniform([0, 0, 70, 70], [30, 30, 100, 100], (20, 4)), dtype=torch.float32)
    ours = PaddedPolygons.from_list(polygons).crop_and_resize(boxes, 28)
    theirs = PolygonMasks([[p.ravel()] for p in polygons]).crop_and_resize(boxes, 28)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    for polygon, box, a, b in zip(polygons, boxes.numpy(), ours.numpy(), theirs.numpy(), strict=True):
        x, y = cell_centers(box, 28, 28)
        distance = shapely.distance(Polygon(polygon).exterior, shapely.points(x, y))
        cell = max(box[2] - box[0], box[3] - box[1]) / 28
        assert distance[a != b].max(initial=0) < 1.5 * cell
        assert (a != b).mean() < 0.06


def test_scaling_an_image_scales_its_words():
    polygon = star(np.random.default_rng(7), 7)
    box = torch.tensor([[10.0, 20, 90, 80]])
    polygons = PaddedPolygons.from_list([polygon])
    scaled = polygons.scale(0.5, 3.0).coverage(box * torch.tensor([0.5, 3, 0.5, 3]), (16, 16))
    assert torch.equal(scaled, polygons.coverage(box, (16, 16)))


def test_selection_as_instances_do_it():
    polygons = PaddedPolygons.from_list([np.full((3, 2), i) for i in range(4)])
    words = Instances((10, 10), gt_masks=polygons)
    keep = torch.tensor([False, True, False, True])
    assert words[keep].gt_masks.points[:, 0, 0].tolist() == [1, 3]
    assert words[2].gt_masks.points[:, 0, 0].tolist() == [2]
    assert polygons[torch.tensor([3, 3, 0])].points[:, 0, 0].tolist() == [3, 3, 0]
    assert len(words[torch.zeros(4, dtype=torch.bool)].gt_masks) == 0
    assert words.to("cpu").gt_masks.device.type == "cpu"


def test_no_words():
    none = PaddedPolygons.from_list([])
    assert len(none) == 0 and none.crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)
    some = PaddedPolygons.from_list([star(np.random.default_rng(0), 12)])
    assert PaddedPolygons.cat([none, some]).points.shape == (1, 12, 2)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(R, P, 2\)"):
        PaddedPolygons(torch.zeros(4, 2))
