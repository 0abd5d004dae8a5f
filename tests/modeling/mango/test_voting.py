"""Components, their rectangles and cells, and the vote of cells, by hand."""

import numpy as np
import pytest
import torch

from dld.modeling.mango.targets import WordCells
from dld.modeling.mango.voting import cells_of_words, find_components, rectangle_sides, vote

END = 0


def cells(word, weight):
    word = torch.tensor(word)
    return WordCells(torch.zeros_like(word), torch.zeros_like(word), word, torch.tensor(weight))


def readings(*texts, sure=0.9, V=5):
    """Probabilities (K, L, V) of cells that read these ids."""
    ids = torch.tensor(texts)
    return torch.full((*ids.shape, V), (1 - sure) / (V - 1)).scatter(2, ids[..., None], sure)


def test_cells_vote_position_by_position_with_their_weights():
    """Weights 3, 2 and 2: at the second position the two lighter ones outvote the first; at the third two of them have
    ended."""
    probabilities = readings([1, 2, 3, 0], [1, 4, 0, 3], [1, 4, 0, 3])
    ids, scores = vote(probabilities, cells([0, 0, 0], [3.0, 2, 2]), 1, END)
    assert ids.tolist() == [[1, 4, END, END]]
    torch.testing.assert_close(scores, torch.tensor([[0.9, (2 * 2 * 0.9 + 3 * 0.025) / 7, (4 * 0.9 + 3 * 0.025) / 7, 1.0]]))
    ids, _ = vote(probabilities, cells([0, 0, 0], [5.0, 2, 2]), 1, END)
    assert ids.tolist() == [[1, 2, 3, END]], "one that has ended goes on voting for the end, whatever it sees"


def test_words_are_merged_by_themselves_and_one_without_cells_is_empty():
    ids, scores = vote(readings([1, 0], [2, 3], [3, 0]), cells([0, 2, 2], [1.0, 1, 2]), 3, END)
    assert ids.tolist() == [[1, END], [END, END], [3, END]]
    assert scores[1].tolist() == [1, 1]


def test_of_equal_votes_the_surer_wins():
    probabilities = torch.cat([readings([1, 0], sure=0.6), readings([2, 0], sure=0.8)])
    assert vote(probabilities, cells([0, 0], [1.0, 1]), 1, END)[0].tolist() == [[2, END]]


def test_components_by_hand():
    """A component of 3 x 2 cells, one of two that is noise, one in the padding; a grid of 2 x 2 over 40 x 32 pixels."""
    probabilities = np.zeros((12, 9), np.float32)
    probabilities[1:3, 2:5], probabilities[1, 2] = 0.8, 0.5
    probabilities[6, 1:3], probabilities[10:, :] = 0.9, 1.0
    found = find_components(probabilities, (40, 32), 2, 0.5, 2)
    np.testing.assert_allclose(found.sides, [[[[8, 4], [20, 4]], [[8, 12], [20, 12]]]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [(0.5 + 5 * 0.8) / 6], rtol=1e-6)
    # cells of the grid are 16 x 20 pixels, 20 cells of the level
    np.testing.assert_allclose(found.overlap, [[4 / 20, 2 / 20, 0, 0]], rtol=1e-6)
    assert len(find_components(probabilities, (40, 32), 2, 0.5, 6).scores) == 0
    assert find_components(probabilities, (40, 32), 2, 0.85, 1).overlap.argmax() == 2


def test_rectangles_run_in_the_direction_of_reading():
    """A diagonal of cells that runs down to the right, one that runs up to the right, and a column."""
    diagonal = np.array([[x, y] for x in range(10) for y in (x, x + 1)])
    for points, direction in (
        (diagonal, (1, 1)),
        (diagonal * [1, -1], (1, -1)),
        (np.array([[0, y] for y in range(6)]), (0, 1)),
    ):
        top, bottom = rectangle_sides(points)
        along = top[1] - top[0]
        assert np.allclose(np.sign(np.round(along)), direction)
        across = bottom[0] - top[0]
        assert along[0] * across[1] - along[1] * across[0] > 0 and abs(along @ across) < 1e-2
        assert np.hypot(*along) > np.hypot(*across)


@pytest.mark.parametrize(("columns", "rows"), [(20, 4), (12, 9), (6, 6), (1, 1)])
def test_a_rectangle_grows_to_the_word_that_it_is_the_middle_of(columns, rows):
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    top, bottom = rectangle_sides(cells, 4, grown=True)
    width, height = np.hypot(*(top[1] - top[0])), np.hypot(*(bottom[0] - top[0]))
    inwards = width * height * (1 - 0.4**2) / (2 * (width + height))
    assert (width - 2 * inwards, height - 2 * inwards) == pytest.approx((4 * columns, 4 * rows), abs=1e-3)


def test_cells_go_to_the_heavier_component_and_every_component_is_read():
    """Cell 0 lies under both and is heavier in the second; cell 1 is active under the first; cell 2 is not active. The third
    component has no active cell: it is read by the surest under it."""
    overlap = np.array([[0.2, 0.3, 0.4, 0], [0.5, 0, 0, 0], [0, 0, 0.1, 0.1]], np.float32)
    image, cell, word, weight = cells_of_words([overlap, overlap[:0]], np.array([[0.9, 0.6, 0.2, 0.3], [1, 1, 1, 1]]))
    assert (image.tolist(), cell.tolist(), word.tolist()) == ([0, 0, 0], [1, 0, 3], [0, 1, 2])
    np.testing.assert_allclose(weight, [0.3, 0.5, 0.1])
    assert [len(x) for x in cells_of_words([overlap[:0]], np.ones((1, 4)))] == [0] * 4
