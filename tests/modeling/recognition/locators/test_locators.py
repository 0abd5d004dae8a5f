import pytest
import torch
from detectron2.layers import ShapeSpec

from dld.config import add_dld_config
from dld.modeling.flops import count_flops
from dld.modeling.recognition.locators.locator import (
    LOCATOR_REGISTRY,
    MaskLocator,
    box_sides,
    build_locator,
    from_view,
    square_views,
    to_view,
    usable,
)
from dld.modeling.recognition.locators.point_locator import PointLocator, STNLocator

BOXES = torch.tensor([[10.0, 20.0, 90.0, 40.0], [30.0, 30.0, 50.0, 100.0], [5.0, 5.0, 25.0, 25.0]])
LEVEL = torch.randn(2, 8, 32, 32, generator=torch.Generator().manual_seed(0))
PER_IMAGE = [BOXES[:1], BOXES[1:]]


def config(name: str):
    from detectron2.config import get_cfg

    cfg = get_cfg()
    add_dld_config(cfg)
    cfg.MODEL.STRIPS.LOCATOR.NAME = name
    return cfg


def built(name: str):
    return build_locator(config(name), ShapeSpec(channels=8, stride=4))


def test_views_are_square_and_hold_their_boxes():
    squares = square_views(BOXES, 0.1)
    torch.testing.assert_close(squares[0], torch.tensor([6.0, -14.0, 88.0]))
    sides = box_sides(BOXES, 5)
    inside = to_view(sides, squares)
    assert inside.min() > 0 and inside.max() < 1
    torch.testing.assert_close(from_view(inside, squares), sides)


@pytest.mark.parametrize("name", ["mask", "points", "stn"])
def test_before_training_words_have_the_sides_of_their_boxes(name):
    located = built(name)(LEVEL, PER_IMAGE)
    torch.testing.assert_close(located.sides, box_sides(BOXES, 7), atol=1e-3, rtol=0)
    assert not located.fell_back.any()


@pytest.mark.parametrize("name", ["mask", "points", "scrn", "stn"])
def test_every_locator_gives_sides_for_each_word_and_none_for_none(name):
    locator = built(name)
    located = locator(LEVEL, PER_IMAGE)
    assert located.sides.shape == (3, 2, 7, 2) and located.sides.isfinite().all()
    nothing = locator(LEVEL, [BOXES[:0], BOXES[:0]])
    assert nothing.sides.shape == (0, 2, 7, 2) and nothing.fell_back.shape == (0,)


def test_the_outlines_sides_come_back_from_the_mask_locator_at_no_cost():
    sides = box_sides(BOXES, 7) + 3
    locator = MaskLocator()
    assert count_flops(lambda: locator(LEVEL, PER_IMAGE, sides)).total_flops == 0
    assert torch.equal(locator(LEVEL, PER_IMAGE, sides).sides, sides)
    assert not list(locator.parameters()) and not locator.learns


def test_twisted_and_broken_sides_fall_back_and_are_counted():
    locator = built("points")
    fallback = box_sides(BOXES, 7) + 1
    twisted = to_view(box_sides(BOXES, 7), square_views(BOXES, 0.1))
    twisted[0] = twisted[0].flip(0)
    twisted[1, 0, 3] = float("nan")
    locator.sides_in_view = lambda view, box: (twisted, torch.ones(3, dtype=torch.bool))
    located = locator(LEVEL, PER_IMAGE, fallback)
    assert located.fell_back.tolist() == [True, True, False]
    assert torch.equal(located.sides[:2], fallback[:2])
    torch.testing.assert_close(located.sides[2], box_sides(BOXES, 7)[2])


def test_usable_sides_may_run_any_way_but_not_twist():
    sides = box_sides(BOXES, 5)
    assert usable(sides).all() and usable(sides.flip(1, 2)).all()
    assert not usable(sides.flip(1)).any() and not usable(sides.flip(2)).any()


def test_points_learn_a_small_set_and_keep_out_words_without_sides():
    torch.manual_seed(0)
    locator = PointLocator(channels=4, pooler=torch.nn.Identity(), width=16)
    view, box = torch.randn(8, 4, 16, 16), to_view(box_sides(BOXES, 7), square_views(BOXES, 0.1))[:1].expand(8, -1, -1, -1)
    sides = box + 0.15 * torch.randn(8, 1, 1, 2) + 0.02 * torch.randn(8, 2, 7, 2)
    sides = sides.clamp(0.02, 0.98)
    sides[0] = float("nan")
    before = (locator.sides_in_view(view, box)[0] - sides)[1:].abs().mean()
    optimizer = torch.optim.Adam(locator.parameters(), 2e-3)
    for _ in range(200):
        optimizer.zero_grad()
        locator.losses(view, box, sides)["loss_points"].backward()
        optimizer.step()
    after = (locator.sides_in_view(view, box)[0] - sides)[1:].abs().mean()
    assert after < 0.1 * before
    assert locator.losses(view, box, sides * float("nan"))["loss_points"] == 0


def test_numbers_of_points_that_do_not_fit_are_said():
    locator = PointLocator(channels=4, pooler=torch.nn.Identity())
    box = box_sides(BOXES / 100, 7)
    with pytest.raises(ValueError, match="INPUT.SIDE_POINTS must be MODEL.STRIPS.LOCATOR.POINTS, 7; .* have 5 points"):
        locator.losses(torch.zeros(3, 4, 16, 16), box, box_sides(BOXES / 100, 5))
    with pytest.raises(ValueError, match="MODEL.STRIPS.LOCATOR.POINTS must be at least 2, got 1"):
        MaskLocator(points=1)


def test_folding_costs_and_an_even_word_does_not():
    locator = STNLocator(channels=4, pooler=torch.nn.Identity(), points=5)
    box = box_sides(BOXES[:1] / 100, 5)
    assert locator.fold_loss(box, box) == 0
    # all of its four steps go backwards: 1.2 too short each
    assert locator.fold_loss(box.flip(2), box).item() == pytest.approx(1.2)


def test_settings_are_the_classes_defaults_and_unknown_names_are_said():
    locator = built("points")
    plain = PointLocator(channels=8, pooler=locator.pooler)
    assert [p.shape for p in locator.parameters()] == [p.shape for p in plain.parameters()]
    assert (locator.beta, locator.enlarge, locator.points) == (plain.beta, plain.enlarge, plain.points)
    assert built("stn").fold_weight == STNLocator(channels=8, pooler=locator.pooler).fold_weight
    assert {"MaskLocator", "PointLocator", "ScRNLocator", "STNLocator"} <= {name for name, _ in LOCATOR_REGISTRY}
    with pytest.raises(KeyError, match="'polygon' is unknown; there are mask, points, scrn, stn"):
        built("polygon")


def test_cost_of_a_word_is_that_of_its_convolutions():
    scrn = built("scrn")
    # 256 cells: 3x3 from 8 to 32 channels, 3x3 from 32 to 32, 1x1 to 6
    macs = 256 * (9 * 8 * 32 + 9 * 32 * 32 + 32 * 6)
    assert count_flops(lambda: scrn.network(scrn.view(LEVEL, PER_IMAGE))).total_flops >= 2 * 3 * macs
    assert count_flops(lambda: scrn.network(torch.zeros(3, 8, 16, 16))).total_flops == 2 * 3 * macs
