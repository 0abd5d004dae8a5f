"""Which components are words, by toy maps, and how points follow from their cells."""

import numpy as np
import pytest
import torch

from dld.modeling.perceptron.heads import Maps
from dld.modeling.perceptron.points import cell_classes, find_cells, halving, word_points

WORD = """
............
.444444444..
.211111113..
.211111113..
.444444444..
............
"""


def classes(picture: str) -> torch.Tensor:
    rows = [[0 if c == "." else int(c) for c in line] for line in picture.split()]
    return torch.tensor([rows], dtype=torch.uint8)


def words_in(picture: str) -> int:
    return len(find_cells(classes(picture)).images)


def test_a_word_has_a_boundary_a_head_and_a_tail():
    cells = find_cells(classes(WORD))
    assert cells.images.tolist() == [0] and torch.bincount(cells.kind).tolist() == [0, 14, 2, 2]
    assert words_in(WORD.replace("2", "4")) == 0, "no head"
    assert words_in(WORD.replace("3", "4")) == 0, "no tail"
    assert words_in(WORD.replace("4", ".")) == 0, "no boundary"


@pytest.mark.parametrize(("missing", "found"), [(4, 1), (5, 0)])
def test_the_share_of_contacts_decides(missing, found):
    """14 contacts above and below, 2 ends that count once: with m missing (14 - m) / 16 of at least 0.6."""
    lines = WORD.split()
    lines[1] = lines[1][:2] + "." * missing + lines[1][2 + missing :]
    assert words_in("\n".join(lines)) == found
    assert ((14 - missing) / 16 >= 0.6) == bool(found)


def test_two_cells_are_noise_and_diagonals_do_not_join():
    assert words_in(".444.\n.213.\n.444.") == 0
    assert words_in("444444\n211113\n444444") == 1
    diagonal = "4444444444\n2111344444\n4444421113\n4444444444"
    assert words_in(diagonal) == 2


def test_of_two_heads_the_larger_is_taken():
    cells = find_cells(classes("24444444\n22111113\n22111113\n44411113\n42111113\n44444444"), 0.3)
    head = cells.kind == 2
    assert sorted(zip(cells.row[head].tolist(), cells.column[head].tolist(), strict=True)) == [
        (0, 0), (1, 0), (1, 1), (2, 0), (2, 1),
    ]  # fmt: skip


def test_images_of_a_batch_are_found_as_alone():
    both = torch.cat([classes(WORD), classes(WORD.replace("2", "4")), classes(WORD).flip(1)])
    cells = find_cells(both)
    assert cells.images.tolist() == [0, 2]
    alone = find_cells(both[2:])
    own = cells.word == 1
    assert torch.equal(cells.row[own], alone.row) and torch.equal(cells.column[own], alone.column)


def test_later_classes_hide_earlier_ones_and_padding_is_background():
    maps = torch.full((1, 4, 3, 4), 0.5)
    maps[0, 3, 0] = 0.2
    found = cell_classes(maps, (0.35, 0.45, 0.45, 0.35), [(9, 13)])
    assert found[0].tolist() == [[3] * 4, [4] * 4, [4] * 4]
    maps[0, 2] = 0.4
    assert cell_classes(maps, (0.35, 0.45, 0.45, 0.35), [(8, 5)])[0].tolist() == [[2, 2, 0, 0], [4, 4, 0, 0], [0] * 4]


def test_the_order_of_halving():
    assert halving(2) == []
    assert halving(7) == [[(0, 6, 3)], [(0, 3, 1), (3, 6, 4)], [(1, 3, 2), (4, 6, 5)]]
    assert sorted(m for splits in halving(12) for *_, m in splits) == list(range(1, 11))
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        halving(1)


def maps_of_a_word(x0=6.0, y0=5.0, x1=46.0, y1=19.0) -> tuple[torch.Tensor, Maps]:
    """Offsets of a level word in the cells of WORD, to an outline that is not on their grid."""
    found = classes(WORD)
    rows, columns = np.mgrid[: found.shape[1], : found.shape[2]]
    x, y = 4 * columns + 2.0, 4 * rows + 2.0
    to = [x - x0, y - y0, x - x0, y - y1, x - x1, y - y0, x - x1, y - y1, x - x0, y - y0, x - x1, y - y1]
    return found, Maps(torch.zeros(1, 4, *found.shape[1:]), torch.tensor(np.stack(to)[None] / 32).float())


def test_points_of_a_level_word_and_their_gradients():
    found, maps = maps_of_a_word()
    maps.offsets.requires_grad_()
    sides, whole = word_points(maps, find_cells(found), 5)
    assert whole.tolist() == [True]
    x = torch.linspace(6, 46, 5)
    expected = torch.stack([torch.stack([x, torch.full_like(x, y)], 1) for y in (5.0, 19.0)])
    torch.testing.assert_close(sides[0], expected, atol=1e-4, rtol=0)
    sides[0, 0, 2, 1].backward()
    # the middle of the upper side: the centre cells within 10 pixels of x = 26, by their offset upwards
    moved = maps.offsets.grad[0, 9].nonzero()
    assert set(moved[:, 1].tolist()) == {4, 5, 6, 7, 8} and set(moved[:, 0].tolist()) == {2, 3}
    assert maps.offsets.grad[0, 9].sum().item() == pytest.approx(-32)
    assert maps.offsets.grad[0, [8, 10, 11]].abs().sum() == 0


def test_a_word_that_runs_leftwards_has_its_top_side_below():
    """The same outline, read from its right end: upside down."""
    found, maps = maps_of_a_word()
    found = torch.where(found == 2, 3, torch.where(found == 3, 2, found)).to(torch.uint8)
    offsets = maps.offsets.clone()
    # the head's corners: bottom right, then top right
    offsets[:, 0:2], offsets[:, 2:4], offsets[:, 4:6], offsets[:, 6:8] = (
        maps.offsets[:, 6:8], maps.offsets[:, 4:6], maps.offsets[:, 2:4], maps.offsets[:, 0:2],
    )  # fmt: skip
    sides, whole = word_points(Maps(maps.logits, offsets), find_cells(found), 5)
    assert whole.tolist() == [True]
    x = torch.linspace(46, 6, 5)
    expected = torch.stack([torch.stack([x, torch.full_like(x, y)], 1) for y in (19.0, 5.0)])
    torch.testing.assert_close(sides[0], expected, atol=1e-4, rtol=0)


def test_without_cells_near_a_point_lies_on_the_straight_line_and_twisted_words_are_not_whole():
    found, maps = maps_of_a_word(x0=-400.0, x1=460.0)
    sides, whole = word_points(maps, find_cells(found), 5)
    assert whole.tolist() == [True]
    torch.testing.assert_close(sides[0, :, 1], torch.tensor([[-185.0, 5.0], [-185.0, 19.0]]), atol=1e-2, rtol=0)
    found, maps = maps_of_a_word(y0=19.0, y1=5.0)
    assert word_points(maps, find_cells(found), 5)[1].tolist() == [False]


def test_maps_without_words_give_none():
    sides, whole = word_points(maps_of_a_word()[1], find_cells(torch.zeros(1, 6, 12, dtype=torch.uint8)), 7)
    assert sides.shape == (0, 2, 7, 2) and whole.shape == (0,)
