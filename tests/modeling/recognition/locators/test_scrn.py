import numpy as np
import pytest
import torch

from dld.modeling.recognition.locators.locator import usable
from dld.modeling.recognition.locators.scrn import ScRNLocator, scrn_targets, walk


def arc(start: float, end: float, radius: float, height: float, centre=(0.5, 0.7), n: int = 17) -> torch.Tensor:
    """A word on a part of a circle, clockwise, in shares of the view."""
    angle = torch.linspace(start, end, n) * np.pi / 180
    ray = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.stack([torch.tensor(centre) + (radius + side * height / 2) * ray for side in (1, -1)])


def level(x0: float, x1: float, y0: float, y1: float, n: int = 17) -> torch.Tensor:
    x = torch.linspace(x0, x1, n)
    return torch.stack([torch.stack([x, torch.full_like(x, y)], 1) for y in (y0, y1)])


WORDS = torch.stack(
    [
        arc(200, 340, 0.4, 0.15),
        arc(215, 325, 0.45, 0.25),
        level(0.05, 0.95, 0.4, 0.6),
        level(0.05, 0.95, 0.46, 0.54),
        # upside down
        level(0.9, 0.1, 0.7, 0.3),
        # downwards
        level(0.05, 0.95, 0.4, 0.6) @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + torch.tensor([1.0, 0.0]),
    ]
)


def height_of(sides):
    return (sides[:, 0] - sides[:, 1]).norm(dim=-1).mean(1)


def off_the_sides(found, true):
    """Mean distance of found points from the lines of the true sides, as a share of the height, (R,)."""
    fine = torch.nn.functional.interpolate(
        true.permute(0, 1, 3, 2).reshape(len(true), 4, -1), size=2000, mode="linear", align_corners=True
    )
    fine = fine.view(len(true), 2, 2, -1).transpose(2, 3)
    inner = found[:, :, 1:-1]
    gap = torch.cdist(inner.reshape(-1, inner.shape[2], 2), fine.reshape(-1, 2000, 2)).amin(-1)
    return gap.view(len(true), -1).mean(1) / height_of(true)


def test_maps_of_known_words_lead_back_to_their_sides():
    sides, found = walk(scrn_targets(WORDS, 16), 17)
    assert found.all() and usable(sides).all()
    off = off_the_sides(sides, WORDS)
    assert off.max() < 0.02, off
    # ends: within half a cell
    ends = (sides - WORDS)[:, :, [0, -1]].norm(dim=-1).mean((1, 2))
    assert ends.max() < 0.5 / 16, ends


def test_noise_on_the_maps_moves_the_points_by_less_than_a_tenth_of_the_height():
    maps = scrn_targets(WORDS[:3], 16).repeat(8, 1, 1, 1)
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    # a tenth of each map's own size: scales are themselves about a tenth of the view
    noise[:, 1] *= maps[:, 1]
    maps = maps + noise
    sides, found = walk(maps, 17)
    assert found.all()
    assert off_the_sides(sides, WORDS[:3].repeat(8, 1, 1, 1)).mean() < 0.1


def test_a_words_walk_does_not_depend_on_the_words_beside_it():
    maps = scrn_targets(WORDS, 16)
    together = walk(maps, 7)[0]
    alone = torch.cat([walk(m[None], 7)[0] for m in maps])
    torch.testing.assert_close(together, alone)
    assert walk(maps[:0], 7)[0].shape == (0, 2, 7, 2)


def test_maps_without_a_line_and_broken_maps_give_no_sides_and_no_crash():
    empty = torch.zeros(1, 6, 16, 16)
    point = empty.clone()
    point[:, 0, 8, 8] = 0.9
    point[:, 1], point[:, 3], point[:, 4] = 0.4, 1, 1
    broken = torch.full((1, 6, 16, 16), float("nan"))
    sides, found = walk(torch.cat([empty, point, broken, scrn_targets(WORDS[:1], 16)]), 7)
    assert found.tolist() == [False, False, False, True] and sides.shape == (4, 2, 7, 2)


def test_targets_worked_out_by_hand():
    maps = scrn_targets(level(0.1, 0.9, 0.4, 0.6)[None], 16)[0]
    # two rows of cells beside y = 1/2, half a cell away; the line reaches a cell
    assert maps[0, 7, 8].item() == pytest.approx(1, abs=0.02) and maps[0, 8, 8].item() == pytest.approx(1, abs=0.02)
    assert maps[0, 9, 8].item() == pytest.approx(0, abs=0.02)
    assert maps[1, 8, 8].item() == pytest.approx(0.1)
    # up is +y of the angles, and the word runs rightwards
    torch.testing.assert_close(maps[2:, 8, 8], torch.tensor([0.0, 1.0, 1.0, 0.0]))


def test_losses_are_smallest_at_the_targets_and_leave_words_without_sides_out():
    locator = ScRNLocator(channels=4, pooler=torch.nn.Identity(), width=8)
    view, sides = torch.randn(6, 4, 16, 16), WORDS.clone()
    losses = locator.losses(view, WORDS, sides)
    assert set(losses) == {"loss_line", "loss_scale", "loss_phi", "loss_theta"}
    targets = scrn_targets(sides, 16)
    locator.maps = lambda view: torch.cat([torch.logit(targets[:, :1], eps=1e-4), targets[:, 1:]], 1)[: len(view)]
    best = locator.losses(view, WORDS, sides)
    assert all(best[name] < losses[name] for name in losses) and best["loss_scale"] == 0
    sides[1:] = float("nan")
    one = locator.losses(view, WORDS, sides)
    assert all(value.isfinite() for value in one.values())
    none = locator.losses(view, WORDS, sides * float("nan"))
    assert all(value == 0 for value in none.values())
