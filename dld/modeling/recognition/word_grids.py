"""Where the pixels of a straightened word lie in the photo, on the device and with a gradient to the word's sides.

Two ways to fill the space between the sides: their straight blend, which `dld.strips.cutting` samples on the CPU, and a
thin-plate spline. R words, n points of a side, h rows and L columns of a strip. Coordinates are pixels of the photo, whose
first pixel covers [0, 1]. All is computed in float32.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from dld.strips.heights import FORMS, MARGIN, STRIP_ROWS, TEXT_ROWS

__all__ = ["GRIDS", "blend_grid", "sampling_grid", "strip_axes", "tps_grid"]


def strip_axes(widths: torch.Tensor, rows: int, columns: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute where rows and columns of strips lie between the sides and along them, as `dld.strips.cutting.cut_strips` does.

    Args:
        widths: int (R,), columns of each strip at 48 rows, margins included (`dld.strips.cutting.strip_widths`).
        rows: h, a key of `dld.strips.heights.FORMS`.
        columns: L, at least those of the widest strip; None: just those. A narrower strip goes on beyond its end.

    Returns:
        v float32 (h,), 0 at the upper side, 1 at the lower one; u float32 (R, L), 0 at the start of the word, 1 at its end.

    Raises:
        ValueError: `rows` is no height of strips, or `columns` are too few.
    """
    if rows not in FORMS:
        raise ValueError(f"strips have {', '.join(map(str, FORMS))} rows, got {rows}")
    own = torch.as_tensor(FORMS[rows].columns(widths.cpu().numpy()), device=widths.device)
    widest = int(own.max()) if len(own) else 0
    columns = widest if columns is None else columns
    if columns < widest:
        raise ValueError(f"a strip of {widest} columns does not fit into {columns}")
    widths = widths.float()
    column = torch.arange(columns, device=widths.device, dtype=torch.float32) + 0.5
    u = (column * (widths / own)[:, None] - MARGIN) / (widths - 2 * MARGIN)[:, None]
    row = torch.arange(rows, device=widths.device, dtype=torch.float32) + 0.5
    return (row * (STRIP_ROWS / rows) - MARGIN) / TEXT_ROWS, u


def blend_grid(sides: torch.Tensor, v: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Compute the straight blend of the two sides: v of the way from the upper to the lower one, u of the way along both.

    Beyond their ends the sides go on in the direction from end to end.

    Args:
        sides: (R, 2, n, 2): upper and lower side, n of at least 2.
        v: (h,), u: (R, L); see :func:`strip_axes`.

    Returns:
        float32 (R, h, L, 2), pixels x, y.
    """
    R, n = _checked(sides)
    sides, v, u = sides.float(), v.float(), u.float()
    inside = u.clamp(0, 1)
    at = inside * (n - 1)
    before = at.long().clamp(max=n - 2)
    share = (at - before)[:, None, :, None]
    index = before[:, None, :, None].expand(R, 2, -1, 2)
    along = sides[:, :, -1:] - sides[:, :, :1]
    pair = sides.gather(2, index) * (1 - share) + sides.gather(2, index + 1) * share  # R, 2, L, 2
    pair = pair + (u - inside)[:, None, :, None] * along
    v = v[None, :, None, None]
    return pair[:, :1] * (1 - v) + pair[:, 1:] * v


def tps_grid(sides: torch.Tensor, v: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Compute the thin-plate spline that maps a level strip to the word: it passes through all points of the sides.

    Knots lie at x in linspace(-1, 1, n), y = -1 (upper side) and +1; with phi(r) = r^2 ln r the grid at P = (2 u - 1, 2 v - 1)
    is [1, P, phi(|P - knots|)] Delta^-1 [points; 0] (Bookstein 1989). It is smooth where the blend has a corner at each point;
    half way between the sides, where knots are far, it cuts the corners of a strongly bent word instead.

    Args:
        sides, v, u: as for :func:`blend_grid`.

    Returns:
        float32 (R, h, L, 2), pixels x, y. It takes memory for R h L (2 n + 3) numbers.
    """
    R, n = _checked(sides)
    h, L = len(v), u.shape[1]
    with torch.autocast(sides.device.type, enabled=False):
        points = sides.float().reshape(R, 2 * n, 2)
        # small numbers: what is added and taken away is as large as the word, not as the photo
        origin = points.detach().mean(1, keepdim=True)
        inverse = _spline_inverse(n).to(points.device, torch.float32)
        weights = inverse @ (points - origin)  # R, 2n + 3, 2
        x, y = 2 * u.float() - 1, 2 * v.float() - 1
        knots = torch.linspace(-1, 1, n, device=points.device)
        across = (x[..., None] - knots) ** 2  # R, L, n
        down = (y[:, None] - y.new_tensor([-1.0, 1.0])) ** 2  # h, 2
        squared = across[:, None, :, None] + down[None, :, None, :, None]  # R, h, L, 2, n
        bend = _phi(squared).reshape(R, h * L, 2 * n)
        grid = (bend @ weights[:, 3:]).view(R, h, L, 2) + weights[:, None, None, 0]
        grid = grid + x[:, None, :, None] * weights[:, None, None, 1] + y[None, :, None, None] * weights[:, None, None, 2]
        return grid + origin[:, None]


GRIDS = {"blend": blend_grid, "tps": tps_grid}


def sampling_grid(grid: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Convert pixels (..., 2) of an image of `size` (H, W) to what `grid_sample` takes with `align_corners=False`."""
    H, W = size
    return grid * grid.new_tensor([2 / W, 2 / H]) - 1


def _checked(sides: torch.Tensor) -> tuple[int, int]:
    """Return R and n."""
    if sides.dim() != 4 or sides.shape[1] != 2 or sides.shape[2] < 2 or sides.shape[3] != 2:
        raise ValueError(f"sides are (words, 2, points of a side >= 2, 2), got {tuple(sides.shape)}")
    return sides.shape[0], sides.shape[2]


def _phi(squared: torch.Tensor) -> torch.Tensor:
    """Compute r^2 ln r of r^2; 0 at 0."""
    return 0.5 * torch.xlogy(squared, squared)


@lru_cache(maxsize=8)
def _spline_inverse(n: int) -> torch.Tensor:
    """Invert Delta and drop the columns that meet zeros: float64 (2n + 3, 2n); rows: constant, x, y, then a knot each."""
    line = torch.linspace(-1, 1, n, dtype=torch.float64)
    knots = torch.cat([torch.stack([line, torch.full_like(line, side)], 1) for side in (-1.0, 1.0)])
    F = 2 * n
    delta = torch.zeros(F + 3, F + 3, dtype=torch.float64)
    delta[:F, 0] = 1
    delta[:F, 1:3] = knots
    delta[:F, 3:] = _phi((knots[:, None] - knots).square().sum(-1))
    delta[F, 3:] = 1
    delta[F + 1 :, 3:] = knots.T
    return torch.linalg.inv(delta)[:, :F]
