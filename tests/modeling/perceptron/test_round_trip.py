"""From annotated sides to maps and back: the targets by hand, against a brute force, and what words they give."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from dld.modeling.perceptron.heads import Maps
from dld.modeling.perceptron.map_targets import draw_targets
from dld.modeling.perceptron.points import cell_classes, find_cells, word_points
from dld.structures.padded_polygons import PaddedPolygons
from dld.structures.sides import resample

THRESHOLDS = (0.35, 0.45, 0.45, 0.35)


def level(x0, y0, width, height, n=7) -> np.ndarray:
    x = np.linspace(x0, x0 + width, n)
    return np.stack([np.stack([x, np.full(n, y)], 1) for y in (y0, y0 + height)]).astype(float)


def curved(rng, n=7) -> np.ndarray:
    """A word on an arc of up to half a circle, turned by any angle, about in the middle of 400 x 400 pixels."""
    height, bend = rng.uniform(24, 50), rng.uniform(0.05, 1.5) * rng.choice([-1, 1])
    length = height * rng.uniform(2.5, 6)
    radius = length / abs(bend)
    height = min(height, 0.8 * radius)
    turn = rng.uniform(-np.pi, np.pi)
    angle = np.linspace(-bend / 2, bend / 2, 60)
    lines = []
    for away in (height / 2, -height / 2):
        r = radius + away * np.sign(bend)
        lines.append(
            np.stack([r * np.sin(angle) * np.sign(bend), radius * np.sign(bend) - r * np.sign(bend) * np.cos(angle)], 1)
        )
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    sides = np.stack([resample(line @ rotation.T, n) for line in lines])
    return sides - sides.mean((0, 1)) + rng.uniform(190, 210, 2)


def words_of(sides, ignore=(), size=(400, 400)) -> Instances:
    """Annotated words of one image, as the mapper makes them."""
    points = torch.from_numpy(np.asarray(sides, np.float32).reshape(len(sides), 14, 2))
    words = Instances(size)
    words.gt_fiducials = PaddedPolygons(points)
    outlines = torch.cat([points[:, :7], points[:, 7:].flip(1)], 1)
    words.gt_masks = PaddedPolygons(outlines)
    words.gt_boxes = Boxes(torch.cat([outlines.amin(1), outlines.amax(1)], 1))
    words.gt_ignore = torch.tensor([i in ignore for i in range(len(sides))], dtype=torch.bool)
    return words


def targets_of(*images, sizes=None, stride=4, **options):
    sizes = sizes or [x.image_size for x in images]
    shape = tuple(-(-max(side) // stride) for side in zip(*sizes, strict=True))
    return draw_targets(images, sizes, shape, stride, seeds=[0] * len(images), **options)


def test_a_level_word_by_hand():
    """40 x 16 pixels from (20, 32): 10 x 4 cells from column 5 and row 8."""
    targets = targets_of(words_of([level(20, 32, 40, 16)], size=(80, 80)))
    expected = np.zeros((20, 20), int)
    expected[8:12, 5:15] = 1
    # 0.25 x 16 = 4 pixels of head and tail; sides 2 pixels wide, so a quarter of the cells on both sides of them
    expected[8:12, 5], expected[8:12, 14] = 2, 3
    for row in (7, 8, 11, 12):
        expected[row, 5:15] = 4
    np.testing.assert_array_equal(targets.classes[0].numpy(), expected)
    # the middle of the first head cell below the boundary is (22, 38); its corners are (20, 32) and (20, 48)
    np.testing.assert_allclose(targets.offsets[0, :4, 9, 5], np.array([2, 6, 2, -10]) / 32, atol=1e-6)
    np.testing.assert_allclose(targets.offsets[0, 4:8, 9, 14], np.array([-2, 6, -2, -10]) / 32, atol=1e-6)
    # of (26, 38): left, top, right, bottom
    np.testing.assert_allclose(targets.offsets[0, 8:, 9, 6], np.array([6, 6, -34, -10]) / 32, atol=1e-6)
    kinds = targets.offset_weights[0].sum((1, 2)).tolist()
    assert kinds == [2, 2, 16], "two rows between the boundaries"
    assert targets.offsets[0, :8, 9, 6].abs().sum() == 0 and targets.offset_weights[0, :2, 9, 6].sum() == 0


def test_the_classes_are_those_of_a_picture_painted_pixel_by_pixel():
    """Filled and drawn by OpenCV at 8 times the size; the rule of a quarter is then a count."""
    rng, zoom = np.random.default_rng(5), 8
    for _ in range(3):
        sides = curved(rng)
        targets = targets_of(words_of([sides]))
        top, bottom = sides
        steps = np.hypot(*np.diff(sides, axis=1).transpose(2, 0, 1))
        lengths, ends = steps.sum(1), np.hypot(*(top - bottom)[[0, -1]].T)
        least = min(*lengths, *ends)
        reach = min(0.25 * max(least, 12), min(lengths) / 2)

        def further(line, reach=reach):
            along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
            return [np.interp(reach, along, line[:, k]) for k in (0, 1)]

        quads = [np.array([a[0], further(a), further(b), b[0]]) for a, b in ((top, bottom), (top[::-1], bottom[::-1]))]
        masks = []
        for polygon in (np.concatenate([top, bottom[::-1]]), *quads):
            canvas = np.zeros((400 * zoom, 400 * zoom), np.uint8)
            cv2.fillPoly(canvas, [np.round(polygon * zoom).astype(np.int32)], 1)
            masks.append(canvas)
        canvas = np.zeros((400 * zoom, 400 * zoom), np.uint8)
        width = round(np.clip(0.09 * least, 2, 12) * zoom)
        for line in sides:
            cv2.polylines(canvas, [np.round(line * zoom).astype(np.int32)], False, 1, width)
        masks.append(canvas)
        expected = np.zeros((100, 100), int)
        for kind, mask in enumerate(masks, 1):
            share = mask.reshape(100, 4 * zoom, 100, 4 * zoom).mean((1, 3))
            expected[share >= 0.25] = kind
        # 16 points of a cell stand for its area, so cells with about a quarter may fall either way
        assert (targets.classes[0].numpy() != expected).mean() < 0.005
        assert (expected > 0).mean() > 0.01


def test_offsets_point_at_the_outline_along_rows_and_columns():
    """Against a walk in steps of a twentieth of a pixel, of random cells."""
    rng = np.random.default_rng(1)
    sides = curved(rng)
    targets = targets_of(words_of([sides]))
    outline = np.concatenate([sides[0], sides[1][::-1]]).astype(np.float32)
    rows, columns = np.nonzero(targets.offset_weights[0, 2].numpy())
    for k in rng.choice(len(rows), 12, replace=False):
        x, y = 4 * columns[k] + 2, 4 * rows[k] + 2
        found = []
        for dx, dy in ((-1, 0), (0, -1), (1, 0), (0, 1)):
            at = np.array([x, y], float)
            while cv2.pointPolygonTest(outline, tuple(at), False) >= 0:
                at += np.array([dx, dy]) / 20
            found.append((x - at[0]) / 32 if dx else (y - at[1]) / 32)
        np.testing.assert_allclose(targets.offsets[0, 8:, rows[k], columns[k]], found, atol=0.06 / 32)


def test_targets_are_those_of_the_enlarged_picture():
    """Twice the picture in cells twice as large; lengths in pixels are those of large words, without least ones."""
    sides = curved(np.random.default_rng(2)) * 2
    large, small = words_of([sides], size=(800, 800)), words_of([sides / 2])
    wide = draw_targets([large], [(800, 800)], (100, 100), 8, seeds=[0])
    near = draw_targets([small], [(400, 400)], (100, 100), 4, seeds=[0])
    both = (wide.classes == near.classes) & (wide.classes > 0) & (wide.classes < 4)
    # the boundary is at least 2 pixels wide, whatever a pixel is
    assert ((wide.classes > 0) & (wide.classes == near.classes)).sum() > 0.8 * (near.classes > 0).sum()
    mask = both.expand(12, -1, -1)
    torch.testing.assert_close(wide.offsets[0][mask], 2 * near.offsets[0][mask], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("samples", [4, 1])
def test_perfect_maps_give_the_words_back(samples):
    """25 curved words at any angle: all are found, and their points lie within about 4 pixels of the sides."""
    rng, missed, gaps, farthest = np.random.default_rng(0), 0, [], []
    for _ in range(25):
        sides = curved(rng)
        words = words_of([sides])
        targets = targets_of(words, samples=samples)
        cells = find_cells(cell_classes(targets.masks, THRESHOLDS, [(400, 400)]))
        if len(cells.images) != 1:
            missed += 1
            continue
        found, whole = word_points(Maps(targets.masks, targets.offsets), cells, 7)
        assert bool(whole.all())
        gap = []
        for line, points in zip(sides, found[0].numpy(), strict=True):
            fine = resample(line, 400)
            gap.append(np.hypot(*(points[:, None] - fine[None]).transpose(2, 0, 1)).min(1))
        gaps.append(np.mean(gap))
        farthest.append(np.max(gap))
        # the word is not turned round
        assert np.hypot(*(found[0, :, 0].numpy() - sides[:, 0]).T).max() < 4
    assert missed == 0
    assert np.mean(gaps) < 0.6 and np.percentile(farthest, 90) < 3.5 and np.max(farthest) < 4.5


def test_words_that_are_not_learned_count_in_no_loss():
    known, ignored, unknown = level(20, 20, 100, 40), level(20, 100, 100, 40), level(20, 200, 100, 40)
    words = words_of([known, ignored, unknown], ignore=[1], size=(320, 320))
    words.gt_fiducials.points[2] = torch.nan
    targets = targets_of(words)
    assert set(targets.owner.unique().tolist()) == {-1, 0}
    for top in (100, 200):
        assert targets.weights[0, top // 4 : top // 4 + 10, 5:30].sum() == 0
    assert targets.weights[0, 5:15, 5:30].min() == 1
    assert targets.offset_weights[0, :, 25:].sum() == 0


def test_a_word_counts_where_it_lies_on_one_that_is_not_learned():
    targets = targets_of(words_of([level(20, 20, 100, 40), level(0, 0, 200, 200)], ignore=[1], size=(320, 320)))
    assert bool((targets.weights[targets.classes > 0] == 1).all()) and targets.weights[0, 30, 10] == 0


def test_two_lines_keep_the_boundary_between_them():
    """The lower word's centre reaches over the upper one's side; the boundary is the later class of the two."""
    targets = targets_of(words_of([level(20, 20, 100, 40), level(20, 58, 100, 40)], size=(160, 160)))
    assert (targets.classes[0, 14:16, 8:28] == 4).any(0).all()
    assert len(find_cells(cell_classes(targets.masks, THRESHOLDS, [(160, 160)])).images) == 2


def test_background_is_kept_as_the_rule_says_whatever_stands_beside_the_image():
    words = words_of([level(40, 60, 120, 40)], size=(240, 320))
    alone = targets_of(words)
    count, background = int((alone.classes > 0).sum()), int((alone.classes == 0).sum())
    dropped = int((alone.weights == 0).sum())
    assert dropped == int(0.6 * background - count) > 0
    assert bool((alone.weights[alone.classes > 0] == 1).all())
    beside = targets_of(words_of([level(20, 20, 200, 40)], size=(400, 400)), words)
    assert torch.equal(beside.weights[1, :60, :80], alone.weights[0])
    assert beside.weights[1, 60:].sum() == beside.weights[1, :, 80:].sum() == 0, "padding"


def test_images_without_words():
    targets = targets_of(words_of([], size=(64, 64)), words_of([level(8, 8, 48, 24)], size=(64, 64)))
    assert targets.classes[0].sum() == 0 and targets.classes[1].sum() > 0
    alone = targets_of(words_of([], size=(64, 64)))
    assert alone.offset_weights.sum() == 0 and (alone.owner == -1).all()
