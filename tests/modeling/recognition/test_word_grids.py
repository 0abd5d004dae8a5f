import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dld.modeling.recognition.word_grids import GRIDS, blend_grid, sampling_grid, strip_axes, tps_grid
from dld.strips.cutting import PhotoPyramid, cut_strips, strip_widths, word_heights
from dld.strips.heights import FORMS


def level(x0: float, y0: float, width: float, height: float, n: int = 7) -> torch.Tensor:
    x = torch.linspace(x0, x0 + width, n)
    return torch.stack([torch.stack([x, torch.full_like(x, y)], 1) for y in (y0, y0 + height)])


def arc(radius: float, height: float, n: int = 9) -> torch.Tensor:
    """A word on half a circle around (200, 200), read clockwise: the upper side is the outer one."""
    angle = torch.linspace(np.pi, 2 * np.pi, n)
    ray = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.stack([200 + (radius + height / 2) * ray, 200 + (radius - height / 2) * ray])


@pytest.mark.parametrize("rows", FORMS)
def test_rows_and_columns_of_a_level_word_lie_where_a_plain_resize_samples(rows):
    # 10 x 20 pixels of text: 40 rows of text, 80 columns, and margins of 4
    widths = torch.tensor([88])
    v, u = strip_axes(widths, rows)
    for grid in GRIDS.values():
        points = grid(level(100, 50, 20, 10)[None], v, u)[0]
        columns = int(FORMS[rows].columns(np.array([88]))[0])
        assert points.shape == (rows, columns, 2)
        x = 99 + 22 * (torch.arange(columns) + 0.5) / columns
        y = 49 + 12 * (torch.arange(rows) + 0.5) / rows
        torch.testing.assert_close(points[..., 0], x.expand(rows, columns), atol=1e-3, rtol=0)
        torch.testing.assert_close(points[..., 1], y[:, None].expand(rows, columns), atol=1e-3, rtol=0)


@pytest.mark.parametrize("rows", [48, 16])
def test_the_blend_samples_what_opencv_cuts(rows):
    rng = np.random.default_rng(3)
    photo = F.interpolate(torch.from_numpy(rng.uniform(0, 255, (1, 3, 40, 40))), size=(400, 400), mode="bicubic")
    photo = photo.clamp(0, 255)[0].permute(1, 2, 0).numpy().astype(np.uint8)
    # as high as the text's rows: neither reduced nor enlarged, so both sample bilinearly
    height = FORMS[rows].text_rows
    sides = torch.stack([arc(100, height), level(60, 300, 200, height, 9)])
    widths = strip_widths(sides.double().numpy(), word_heights(sides.double().numpy()))
    strips = cut_strips(PhotoPyramid(photo), sides.double().numpy(), np.full(2, rows))
    v, u = strip_axes(torch.from_numpy(widths), rows)
    grid = sampling_grid(blend_grid(sides, v, u), (400, 400))
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float().expand(2, -1, -1, -1)
    sampled = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
    for strip, mine in zip(strips, sampled, strict=True):
        gap = np.abs(strip.astype(float) - mine[:, : strip.shape[1]].numpy())
        assert gap.mean() < 1.5, gap.mean()


@pytest.mark.parametrize("n", [2, 5, 10, 17])
def test_the_spline_passes_through_every_point(n):
    sides = arc(100, 30, n)[None] + torch.tensor([3000.0, 2000.0])
    for name, grid in GRIDS.items():
        points = grid(sides, torch.tensor([0.0, 1.0]), torch.linspace(0, 1, n)[None])
        torch.testing.assert_close(points, sides, atol=0.02, rtol=0, msg=name)


def test_the_spline_is_round_along_the_sides_where_the_blend_has_corners():
    u, off = torch.linspace(0, 1, 101)[None], {}
    for name, grid in GRIDS.items():
        upper, lower = grid(arc(100, 30, 7)[None], torch.tensor([0.0, 1.0]), u)[0]
        off[name] = ((upper - 200).norm(dim=1) - 115).abs().mean() + ((lower - 200).norm(dim=1) - 85).abs().mean()
    assert off["tps"] < 0.5 * off["blend"], off


def test_affine_words_are_the_same_either_way():
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]]) @ torch.tensor([[2.0, 0.5], [0.0, 1.0]])
    sides = (level(-10, -5, 20, 10) @ turn.T + 500)[None]
    v, u = strip_axes(torch.tensor([200]), 48, 240)
    torch.testing.assert_close(tps_grid(sides, v, u), blend_grid(sides, v, u), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", GRIDS)
def test_a_gradient_reaches_every_point_of_the_sides(name):
    sides = arc(100, 30)[None].requires_grad_()
    v, u = strip_axes(torch.tensor([300]), 16)
    points = GRIDS[name](sides, v, u)
    (points * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert (sides.grad.abs().sum(-1) > 0).all() and sides.grad.isfinite().all()
    # moving all points moves the whole strip: the derivatives of one pixel sum to 1
    sides.grad = None
    GRIDS[name](sides, v, u)[0, 5, 20, 0].backward()
    assert sides.grad[..., 0].sum().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_a_words_grid_does_not_depend_on_the_words_beside_it_and_none_is_possible(name):
    sides = torch.stack([arc(100, 30), level(5, 5, 80, 20, 9)])
    widths = torch.tensor([400, 170])
    v, u = strip_axes(widths, 32)
    both = GRIDS[name](sides, v, u)
    v, alone = strip_axes(widths[1:], 32)
    torch.testing.assert_close(both[1:, :, : alone.shape[1]], GRIDS[name](sides[1:], v, alone), atol=1e-3, rtol=0)
    v, u = strip_axes(widths[:0], 32)
    assert GRIDS[name](sides[:0], v, u).shape == (0, 32, 0, 2)


def test_what_cannot_be_cut_is_said():
    with pytest.raises(ValueError, match="rows, got 20"):
        strip_axes(torch.tensor([88]), 20)
    with pytest.raises(ValueError, match="does not fit into 50"):
        strip_axes(torch.tensor([88]), 48, 50)
    for grid in GRIDS.values():
        with pytest.raises(ValueError, match="points of a side >= 2"):
            grid(torch.zeros(1, 2, 1, 2), torch.zeros(1), torch.zeros(1, 1))
