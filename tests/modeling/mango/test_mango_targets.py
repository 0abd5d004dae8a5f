"""Targets of MANGO by hand, against shapely, at several scales; which cells read which word."""

import numpy as np
import pytest
import shapely
import torch
from detectron2.structures import Boxes, Instances

from dld.modeling.mango.targets import annotated_cells, draw_characters, draw_finding, inward_offsets, middle_points
from dld.modeling.resolution.rescale import rescale_instances
from dld.structures.padded_polygons import PaddedPolygons

PAD, END = 9, 0


def rectangle(x0, y0, width, height, n=7) -> np.ndarray:
    """Sides of a level word."""
    x = np.linspace(x0, x0 + width, n)
    return np.stack([np.stack([x, np.full(n, y)], 1) for y in (y0, y0 + height)]).astype(np.float32)


def words_of(sides, ignore=(), unread=(), size=(64, 96), lengths=None, characters=None) -> Instances:
    """Annotated words of one image, as the mapper makes them."""
    R = len(sides)
    points = torch.from_numpy(np.asarray(sides, np.float32).reshape(R, 14, 2))
    words = Instances(size)
    words.gt_fiducials = PaddedPolygons(points)
    outlines = torch.cat([points[:, :7], points[:, 7:].flip(1)], 1)
    words.gt_masks = PaddedPolygons(outlines)
    words.gt_boxes = Boxes(torch.cat([outlines.amin(1), outlines.amax(1)], 1) if R else torch.zeros(0, 4))
    words.gt_ignore = torch.tensor([i in ignore for i in range(R)], dtype=torch.bool)
    words.gt_readable = torch.tensor([i not in (*ignore, *unread) for i in range(R)], dtype=torch.bool)
    text = torch.full((R, 6), PAD)
    for row, n in zip(text, lengths or [3] * R, strict=True):
        row[:n], row[n] = 1, END
    words.gt_text = text
    if characters is not None:
        corners = np.asarray(characters, np.float32)  # R, T, 4, 2
        words.gt_characters = PaddedPolygons(torch.from_numpy(corners.reshape(R, 4 * corners.shape[1], 2)))
    return words


def drawn(words, shape=None, grid=4):
    size = words.image_size
    return draw_finding([words], [size], shape or tuple(-(-s // 4) for s in size), grid)


def test_a_level_word_by_hand():
    """64 x 32 pixels: 2048 x 0.84 / 192 = 8.96 inwards leaves x of 16.96 to 63.04 and y of 16.96 to 31.04, middles of cells at
    18 to 62 and 18 to 30; the middle of the word reaches from 33.6 to 46.4 and 20.8 to 27.2."""
    targets = drawn(words_of([rectangle(8, 8, 64, 32)]))
    expected = torch.zeros(16, 24)
    expected[4:8, 4:16] = 1
    assert torch.equal(targets.segmentation[0], expected)
    assert (targets.segmentation_weights == 1).all() and (targets.category_weights == 1).all()
    category = torch.zeros(4, 4)
    category[1, 1] = 1  # cells of 24 x 16 pixels
    assert torch.equal(targets.category[0], category)


def test_words_that_are_thin_keep_a_chain_of_cells():
    """12 pixels high: 4.2 inwards would leave a strip of 3.6 pixels, between two rows of cells."""
    offset = inward_offsets(torch.tensor([[[0.0, 0], [60, 0], [60, 12], [0, 12]]]), 4)
    assert float(offset) == pytest.approx(6 - 4 * 0.5**0.5)
    for y in (8.0, 9.0, 10.0, 11.0):
        found = drawn(words_of([rectangle(10, y, 60, 12)])).segmentation[0]
        assert found.any(0).sum() >= 13


def test_outlines_are_moved_inwards_as_shapely_does():
    """Words on arcs: cells whose middles lie in the outline that shapely moved inwards with round joins."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        radius, height, bend = rng.uniform(80, 150), rng.uniform(30, 45), rng.uniform(0.8, 1.6)
        angle = np.linspace(-bend / 2, bend / 2, 7) - np.pi / 2
        sides = np.stack([np.stack([r * np.cos(angle), r * np.sin(angle)], 1) for r in (radius + height, radius)])
        sides = (sides - sides.min((0, 1)) + rng.uniform(4, 12, 2)).astype(np.float32)
        words = words_of([sides], size=(240, 320))
        polygon = shapely.Polygon(words.gt_masks.points[0].double().numpy())
        offset = polygon.area * (1 - 0.4**2) / polygon.length
        y, x = (np.mgrid[:60, :80] + 0.5) * 4
        inside = shapely.contains_xy(polygon.buffer(-offset, quad_segs=64), x, y)
        found = drawn(words).segmentation[0].bool().numpy()
        assert (found != inside).sum() <= 1 and found.sum() > 50


def test_dont_care_words_and_padding_count_nowhere_but_on_words():
    words = words_of([rectangle(8, 8, 64, 32), rectangle(0, 0, 96, 40)], ignore=(1,), size=(64, 96))
    targets = drawn(words, shape=(20, 24))
    assert targets.segmentation.sum() == 48
    weights = targets.segmentation_weights[0].bool()
    assert torch.equal(weights[:10], targets.segmentation[0, :10].bool()) and weights[10:16].all() and not weights[16:].any()
    assert targets.category_weights[0].tolist() == [[0] * 4, [0, 1, 0, 0], [0] * 4, [1] * 4]


def test_targets_of_a_smaller_picture_are_those_of_the_picture():
    """The cells of the grid are the same at every scale, to the last; the segmentation is about the same."""
    rng = np.random.default_rng(1)
    sides = [rectangle(*rng.uniform(0, 700, 2), *rng.uniform(20, 160, 2)) for _ in range(200)]
    words = words_of(sides, size=(800, 900))
    full, cells = middle_points([words]), annotated_cells([words], 24)
    assert len(cells.chosen) == 200
    for scale in (0.8, 0.5, 0.3):
        small = rescale_instances(words, (round(800 * scale), round(900 * scale)))
        torch.testing.assert_close(middle_points([small]), full, atol=1e-6, rtol=0)
        again = annotated_cells([small], 24)
        assert torch.equal(again.cells.cell[again.chosen], cells.cells.cell[cells.chosen])
    large, half = (
        drawn(words_of(sides[:1], size=(800, 900))),
        drawn(rescale_instances(words_of(sides[:1], size=(800, 900)), (400, 450))),
    )
    assert float(large.segmentation.sum() / 4) == pytest.approx(float(half.segmentation.sum()), rel=0.3)
    assert torch.equal(large.category, half.category)


def test_cells_of_words_by_hand():
    """The middle of the first word, x of 46 to 58.8, lies in two cells of 24 x 16 pixels, a sixth of it in the left one. The
    second word lies in the second cell, too, and has all of its middle there. The third is not read."""
    sides = [rectangle(20.4, 16, 64, 16), rectangle(56, 18, 10, 10), rectangle(2, 50, 20, 10)]
    found = annotated_cells([words_of(sides, unread=(2,))], 4)
    cells = found.cells
    assert cells.word.tolist() == [0, 0, 1] and cells.cell.tolist() == [5, 6, 6] and cells.image.tolist() == [0, 0, 0]
    assert found.own.tolist() == [True, False, True]  # the second word has more of its middle in the cell that both share
    assert found.chosen.tolist() == [1, 2]  # but most of the first lies there
    assert cells.weight[0] + cells.weight[1] == pytest.approx(1) and 0.75 < cells.weight[1] < 0.85


def test_of_two_words_in_one_cell_the_last_one_owns_it_and_both_are_read_there():
    sides = [rectangle(2, 2, 10, 6), rectangle(2, 9, 10, 6)]
    found = annotated_cells([words_of([], size=(64, 96)), words_of(sides)], 4)
    assert found.cells.cell.tolist() == [0, 0] and found.cells.image.tolist() == [1, 1]
    assert found.own.tolist() == [False, True] and found.chosen.tolist() == [0, 1]
    assert drawn(words_of(sides)).category.sum() == 1


def test_a_word_without_sides_has_the_middle_of_its_box():
    sides = rectangle(40, 20, 40, 20)
    words = words_of([np.full_like(sides, np.nan)])
    words.gt_boxes = Boxes(torch.tensor([[40.0, 20, 80, 40]]))
    torch.testing.assert_close(middle_points([words]), middle_points([words_of([sides])]))


def quad(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


NONE = [[np.nan] * 2] * 4


def test_characters_by_hand():
    """Two characters of 8 x 8 pixels, the third unknown; a word of one character that is smaller than a cell."""
    characters = [[quad(8, 8, 16, 16), quad(17, 8, 25, 16), NONE, NONE], [quad(41, 41, 42, 42), *[NONE] * 3]]
    words = words_of([rectangle(8, 8, 24, 8), rectangle(41, 41, 1, 1)], lengths=[3, 1], characters=characters)
    found = draw_characters([words], [(64, 96)], 6, PAD)
    cells = {
        (w, p): sorted(divmod(int(x), 24) for x in found.place[(found.word == w) & (found.position == p)])
        for w in range(2)
        for p in range(4)
    }
    assert cells[0, 0] == [(2, 2), (2, 3), (3, 2), (3, 3)]
    # of the first column of the second character three quarters are its own, of the last a quarter
    assert cells[0, 1] == [(2, 4), (2, 5), (2, 6), (3, 4), (3, 5), (3, 6)]
    assert cells[1, 0] == [(10, 10)] and sum(len(x) for x in cells.values()) == 11
    assert found.counted.tolist() == [[True, True, False, True, False, False], [True, True, *[False] * 4]]
    assert torch.equal(found.word, found.word.sort().values)


def test_characters_of_several_images_have_places_in_their_own():
    characters = [[quad(8, 8, 16, 16)]]
    words = [words_of([rectangle(8, 8, 8, 8)], lengths=[1], size=size, characters=characters) for size in ((64, 96), (32, 40))]
    found = draw_characters(words, [x.image_size for x in words], 6, PAD)
    assert found.word.tolist() == [0] * 4 + [1] * 4
    assert found.place.tolist() == [50, 51, 74, 75, 22, 23, 32, 33]


def test_words_whose_characters_nobody_knows_count_nowhere():
    words = words_of([rectangle(8, 8, 24, 8)], characters=[[NONE] * 4])
    found = draw_characters([words, words_of([], characters=np.zeros((0, 4, 4, 2)))], [(64, 96)] * 2, 6, PAD)
    assert not found.counted.any() and not len(found.word)
    with pytest.raises(ValueError, match=r"words have no characters: INPUT\.CHARACTERS must be at least 1"):
        draw_characters([words_of([rectangle(8, 8, 24, 8)])], [(64, 96)], 6, PAD)
