"""Characters as anchors: targets worked out by hand, characters found again on them, and what is read along a line of them."""

import math

import pytest
import torch
import torch.nn.functional as F

from dld.modeling.losses.anchor_maps import heat_loss, order_loss
from dld.modeling.recognition.anchors import (
    Anchors,
    cell_middles,
    find_anchors,
    gather,
    heat_targets,
    order_targets,
    read_points,
)
from dld.structures.tall import LYING, SQUARE, STANDING, view_forms

FORMS = ((8, 32), (32, 8), (16, 16))


def box_corners(*boxes):
    return torch.tensor([[[a, b], [c, b], [c, d], [a, d]] for a, b, c, d in boxes]).float()


def arc_corners(count, radius=60.0, half=8.0, turn=math.pi, center=(70.0, 70.0)):
    """Characters on an arc over the top of a circle, and their middles."""
    ends = torch.linspace(-turn / 2, turn / 2, count + 1)

    def on(r, angle):
        return torch.stack([center[0] + r * angle.sin(), center[1] - r * angle.cos()], -1)

    outer, inner = on(radius + half, ends), on(radius - half, ends)
    return torch.stack([outer[:-1], outer[1:], inner[1:], inner[:-1]], 1)


def logit(heat):
    return heat.clamp(1e-4, 1 - 1e-4).logit()


def test_the_form_follows_the_box():
    boxes = torch.tensor([[0.0, 0, 41, 20], [0, 0, 40, 20], [0, 0, 20, 40], [5, 5, 25, 46], [0, 0, 9, 9]])
    assert view_forms(boxes).tolist() == [LYING, SQUARE, SQUARE, STANDING, SQUARE]


def test_heat_by_hand():
    """Cells of 2 x 2 pixels; a character of 8 x 8 around (12, 8), so r = 2.4."""
    corners = torch.cat([box_corners((8, 4, 16, 12)), torch.full((1, 4, 2), torch.nan)])[None]
    heat = heat_targets(corners, torch.tensor([[0.0, 0, 64, 16]]), torch.tensor([LYING]), FORMS, 0.3)[0].view(8, 32)
    assert heat[4, 6] == 1, "its middle is the corner of this cell"
    assert heat[3, 5].item() == pytest.approx(math.exp(-2 / (2 * 2.4**2)), rel=1e-5)
    assert heat[4, 8].item() == pytest.approx(math.exp(-(25 + 1) / (2 * 2.4**2)), rel=1e-4)
    assert heat[0, 31] < 1e-6 and (heat >= 1).sum() == 1


def test_heat_of_characters_narrower_than_a_cell_and_outside_of_the_view():
    corners = box_corners((1, 3, 1.2, 5), (30, 3, 31, 5), (90, 3, 91, 5))[None]
    heat = heat_targets(corners, torch.tensor([[0.0, 0, 80, 8]]), torch.tensor([LYING]), FORMS, 0.3)[0].view(8, 32)
    assert (heat >= 1).nonzero().tolist() == [[4, 0], [4, 12]]
    none = torch.full((1, 3, 4, 2), torch.nan)
    assert not heat_targets(none, torch.tensor([[0.0, 0, 80, 8]]), torch.tensor([LYING]), FORMS, 0.3).any()


def test_order_by_hand():
    """The line of two characters runs from (10, 8) through (12, 8) and (20, 8) to (26, 8): 16 pixels."""
    corners = box_corners((10, 4, 14, 12), (14, 4, 26, 12))[None]
    boxes, form = torch.tensor([[0.0, 0, 64, 16]]), torch.tensor([LYING])
    order = order_targets(corners, boxes, form, FORMS)[0].view(8, 32)
    for x, read in ((5, 0), (11, 1 / 16), (13, 3 / 16), (21, 11 / 16), (41, 1)):
        assert order[:, x // 2].tolist() == pytest.approx([read] * 8, abs=1e-6)
    padded = torch.cat([corners, torch.full((1, 3, 4, 2), torch.nan)], 1)
    torch.testing.assert_close(order_targets(padded, boxes, form, FORMS)[0].view(8, 32), order)
    assert not order_targets(padded[:, 2:], boxes, form, FORMS).any()


def test_targets_do_not_depend_on_the_scale():
    corners = arc_corners(6)[None]
    box, form = torch.tensor([[1.0, 1, 139, 80]]), torch.tensor([SQUARE])
    for scale in (0.4, 2.5):
        there, view = corners * scale, box * scale
        heat, order = heat_targets(there, view, form, FORMS, 0.3), order_targets(there, view, form, FORMS)
        torch.testing.assert_close(heat, heat_targets(corners, box, form, FORMS, 0.3), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(order, order_targets(corners, box, form, FORMS), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("box", "form"), [([0.0, 0, 140, 80], SQUARE), ([0.0, -20, 140, 120], SQUARE)])
def test_characters_of_half_a_circle_are_found_in_their_order(box, form):
    corners = arc_corners(7)
    boxes, form = torch.tensor([box]), torch.tensor([form])
    heat, order = heat_targets(corners[None], boxes, form, FORMS, 0.3), order_targets(corners[None], boxes, form, FORMS)
    maps = torch.stack([logit(heat), logit(order)], 1).view(1, 2, 16, 16)
    found = find_anchors(maps, form, FORMS, 0.3, 10)
    assert found.count.tolist() == [7]
    size = boxes[0, 2:] - boxes[0, :2]
    cell = size / 16
    pixels = found.points[0, :7] * size + boxes[0, :2]
    assert ((pixels - corners.mean(1)).abs() / cell).max() < 0.5
    # the other way round
    backwards = find_anchors(torch.stack([maps[:, 0], -maps[:, 1]], 1), form, FORMS, 0.3, 10)
    torch.testing.assert_close(backwards.points[0, :7], found.points[0, :7].flip(0))


def test_the_hottest_count_where_there_are_too_many():
    maps = torch.full((1, 2, 16, 16), -5.0)
    for i, (x, heat) in enumerate(((1, 2.0), (5, 1.0), (9, 3.0), (13, -1.0))):
        maps[0, 0, 4, x], maps[0, 1, 4, x] = heat, 5 - i
    found = find_anchors(maps, torch.tensor([SQUARE]), FORMS, 0.5, 2)
    # both, in their order: what has the smaller order comes first
    torch.testing.assert_close(found.points[0, :, 0], torch.tensor([9.5, 1.5]) / 16, atol=5e-3, rtol=0)
    assert find_anchors(maps, torch.tensor([SQUARE]), FORMS, 0.5, 5).count.item() == 3
    assert find_anchors(maps[:0], torch.zeros(0, dtype=torch.int64), FORMS, 0.5, 5).points.shape == (0, 5, 2)


def test_points_between_anchors_by_hand():
    points = torch.tensor([[[0.2, 0.5], [0.4, 0.3], [0.8, 0.5], [9.0, 9.0]]])
    line = read_points(Anchors(points, torch.tensor([3])), torch.tensor([SQUARE]), 7)[0]
    # u = 1/2, 1, 3/2, 2, 5/2, 3, 7/2
    assert line[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0])
    assert line[:, 1].tolist() == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.4, 0.5, 0.6])


@pytest.mark.parametrize("most", [1, 4])
def test_a_word_of_less_than_two_anchors_is_read_along_its_box(most):
    anchors = Anchors(torch.full((3, most, 2), 0.9), torch.tensor([0, 1, 1]))
    lines = read_points(anchors, torch.tensor([LYING, STANDING, SQUARE]), 5)
    along, across = torch.tensor([0, 0.25, 0.5, 0.75, 1]), torch.full((5,), 0.5)
    torch.testing.assert_close(lines[0], torch.stack([along, across], 1))
    torch.testing.assert_close(lines[1], torch.stack([across, along], 1))
    torch.testing.assert_close(lines[2], lines[0])


def test_anchors_of_pixels():
    points = torch.tensor([[[10.0, 30], [30, 40], [torch.nan, torch.nan]]])
    found = Anchors.of(points, torch.tensor([[10.0, 20, 50, 40]]))
    assert found.count.tolist() == [2]
    torch.testing.assert_close(found.points[0, :2], torch.tensor([[0, 0.5], [0.5, 1]]))
    assert found.points.isfinite().all()


def smooth(size, knots=(6, 6)):
    noise = torch.randn(1, 4, *knots, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, size, mode="bicubic", align_corners=True)


def test_a_turned_word_gathers_what_it_gathers_lying():
    lying = smooth((16, 16))
    anchors = torch.rand(1, 9, 2, generator=torch.Generator().manual_seed(1))
    square = torch.tensor([SQUARE])
    straight = gather(lying, square, FORMS, anchors)
    turned = torch.stack([anchors[..., 1], 1 - anchors[..., 0]], -1)  # counter-clockwise, as rot90 turns rows and columns
    torch.testing.assert_close(gather(lying.rot90(1, (2, 3)), square, FORMS, turned), straight, atol=1e-5, rtol=1e-4)


def test_anchors_along_a_circle_gather_what_those_of_the_straight_word_gather():
    """The features of a straight word, bent around a circle, read along anchors on the circle."""
    side = 160
    forms = ((80, 320), (320, 80), (side, side))
    strip, height, radius, turn = smooth((80, 320), (3, 5)), 34.0, 57.0, 2.6
    # the circle's middle is its own, the word stands over it
    middles = cell_middles(torch.tensor([2]), forms)[0] * side - side / 2
    angle, distance = torch.atan2(middles[:, 0], -middles[:, 1]), middles.norm(dim=1)
    x, y = angle / turn + 0.5, (radius - distance) / height + 0.5
    bent = F.grid_sample(strip, torch.stack([2 * x - 1, 2 * y - 1], -1).view(1, side, side, 2), align_corners=False)
    at = torch.linspace(0.1, 0.9, 25)
    circle = torch.stack([radius * ((at - 0.5) * turn).sin(), -radius * ((at - 0.5) * turn).cos()], -1) / side + 0.5
    straight = torch.stack([at, torch.full_like(at, 0.5)], -1)
    read = {}
    for name, cells, form, points in (
        ("bent", bent, SQUARE, circle),
        ("straight", strip.reshape(1, 4, side, side), LYING, straight),
    ):
        form = torch.tensor([form])
        anchors = Anchors(points[None], torch.tensor([25]))
        read[name] = gather(cells, form, forms, read_points(anchors, form, 33))
    assert read["straight"].std() > 0.3
    # the half steps at the ends go on straight
    assert (read["bent"] - read["straight"])[:, 1:-1].abs().max() < 1e-2


def test_words_of_all_forms_keep_their_places():
    forms = torch.tensor([2, 0, 1, 0, 2])
    cells = torch.randn(5, 3, 16, 16)
    points = torch.rand(5, 7, 2)
    together = gather(cells, forms, FORMS, points)
    alone = [gather(cells[i : i + 1], forms[i : i + 1], FORMS, points[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(together, torch.cat(alone))
    flat = F.grid_sample(
        cells[1].reshape(1, 3, 8, 32), 2 * points[1][None, None] - 1, padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(together[1], flat[0, :, 0].T)


def test_losses_by_hand():
    heat = torch.tensor([[1.0, 0.5, 0.0], [1.0, 1.0, 0.2], [0.3, 0.3, 0.3]])
    logits, known = torch.zeros(3, 3), torch.tensor([True, True, False])
    # p = 1/2: a middle costs ln 2 / 4, any other cell (1 - heat)^4 of it
    first = (1 + 0.5**4 + 1) * math.log(2) / 4
    second = (2 + 0.8**4) / 2 * math.log(2) / 4
    assert heat_loss(logits, heat, known).item() == pytest.approx((first + second) / 3, rel=1e-5)
    order = torch.tensor([[0.5, 0.55, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    # warm cells: two of each word; beta is 0.1
    first, second = (0.05**2 / 0.2) / 2, (0.5 - 0.05) / 2
    assert order_loss(logits, order, heat, known).item() == pytest.approx((first + second) / 3, rel=1e-5)


def test_losses_of_nothing_are_part_of_the_graph():
    logits = torch.zeros(0, 256, requires_grad=True)
    empty, known = torch.zeros(0, 256), torch.zeros(0, dtype=torch.bool)
    (heat_loss(logits, empty, known) + order_loss(logits, empty, empty, known)).backward()
    unknown = torch.zeros(2, 4, requires_grad=True)
    loss = heat_loss(unknown, torch.ones(2, 4), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss == 0 and not unknown.grad.any()
