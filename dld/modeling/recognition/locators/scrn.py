"""ScRN (ICCV 2019, arXiv 1908.01957): maps of the centre line, the scale and two orientations, and a walk along the line.

Six maps on a view: score of the centre line; s, half of the word's height as a share of the view; cos and sin of phi, from the
centre line to the upper side; cos and sin of theta, along the line. y points down, so phi and theta take -y. A point of the
upper side is c + s (cos phi, -sin phi), of the lower one c - s (cos phi, -sin phi). Targets, the width of the
line and the walk are this module's own: the paper leaves them open.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import nn

from dld.modeling.recognition.locators.locator import LOCATOR_REGISTRY, Locator, view_settings

__all__ = ["ScRNLocator", "scrn_targets", "walk"]

# half of the line's width, as a share of s; never narrower than a cell
LINE = 0.3
LEAST_SCALE = 0.02
MOST_STEPS, LEAST_STEPS = 48, 3
_PLACES = 32
_ACROSS = 13


@LOCATOR_REGISTRY.register()
class ScRNLocator(Locator):
    """Two convolutions to the six maps; sides by :func:`walk`, without a gradient.

    Args:
        channels: C of the views.
        width: channels of the convolutions.
        points, pooler, enlarge: see :class:`Locator`.
    """

    loss_units = {f"loss_{name}": "word" for name in ("line", "scale", "phi", "theta")}

    @configurable
    def __init__(self, *, channels: int, pooler: nn.Module, width: int = 32, points: int = 7, enlarge: float = 0.1) -> None:
        super().__init__(points, pooler, enlarge)
        self.network = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 6, 1),
        )

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        return {**view_settings(cfg, input_shape), "width": cfg.MODEL.STRIPS.LOCATOR.WIDTH}

    def maps(self, view: torch.Tensor) -> torch.Tensor:
        """Compute the six maps float32 (R, 6, S, S); the first is a logit, the pairs have length 1."""
        score, scale, phi, theta = self.network(view).float().split([1, 1, 2, 2], dim=1)
        return torch.cat([score, scale.sigmoid(), F.normalize(phi, dim=1), F.normalize(theta, dim=1)], 1)

    @torch.no_grad()
    def sides_in_view(self, view: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.maps(view)
        return walk(torch.cat([maps[:, :1].sigmoid(), maps[:, 1:]], 1), self.points)

    def losses(self, view: torch.Tensor, box: torch.Tensor, sides: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `loss_line` (binary cross entropy) and `loss_scale`, `loss_phi`, `loss_theta` (smooth L1 on the line)."""
        maps = self.maps(view)
        known = sides.isfinite().flatten(1).all(1)
        if not bool(known.any()):
            return {f"loss_{name}": maps.sum() * 0 for name in ("line", "scale", "phi", "theta")}
        maps, targets = maps[known], scrn_targets(sides[known], maps.shape[-1])
        on = (targets[:, 0] >= 0.5).float()
        cells = on.sum().clamp(min=1)

        def compared(first: int, last: int) -> torch.Tensor:
            gap = F.smooth_l1_loss(maps[:, first:last], targets[:, first:last], reduction="none").mean(1)
            return (gap * on).sum() / cells

        return {
            "loss_line": F.binary_cross_entropy_with_logits(maps[:, 0], targets[:, 0]),
            "loss_scale": compared(1, 2),
            "loss_phi": compared(2, 4),
            "loss_theta": compared(4, 6),
        }


def scrn_targets(sides: torch.Tensor, size: int) -> torch.Tensor:
    """Draw the maps (R, 6, S, S) of words with these sides (R, 2, n, 2) in their views.

    Each cell takes what holds at the nearest of 32 places of the centre line. The score falls from 1 to 0 over one cell; it is
    1/2 where the distance is that of :func:`line_reach`, so that where the line runs can be told more finely than by cells.
    """
    R = len(sides)
    fine = F.interpolate(sides.permute(0, 1, 3, 2).reshape(R, 4, -1), size=_PLACES, mode="linear", align_corners=True)
    top, bottom = fine.view(R, 2, 2, _PLACES).transpose(2, 3).unbind(1)  # R, 32, 2
    centre = (top + bottom) / 2
    scale = ((top - bottom).norm(dim=-1) / 2).clamp(min=1e-4)
    phi = (top - bottom) / 2 / scale[..., None]
    theta = F.normalize(torch.gradient(centre, dim=1)[0], dim=-1)
    flip = sides.new_tensor([1, -1])
    values = torch.cat([scale[..., None], phi * flip, theta * flip], -1)  # R, 32, 5
    at = (torch.arange(size, device=sides.device) + 0.5) / size
    cells = torch.stack([at.expand(size, size), at[:, None].expand(size, size)], -1).view(-1, 2)
    distance, nearest = torch.cdist(cells.expand(R, -1, -1), centre).min(-1)
    found = values.gather(1, nearest[..., None].expand(-1, -1, 5))
    score = ((line_reach(found[..., 0], size) - distance) * size + 0.5).clamp(0, 1)
    return torch.cat([score[..., None], found], -1).transpose(1, 2).reshape(R, 6, size, size)


def line_reach(scale: torch.Tensor, size: int) -> torch.Tensor:
    """Compute how far the score reaches from the centre line, in shares of the view: .3 s, at least a cell."""
    return (LINE * scale).clamp(min=1 / size)


def walk(maps: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Walk along the centre line of each word and put its sides beside it.

    From the cell of the largest score both ways, s / 2 at a step (midpoint rule), back to the middle of the line after each,
    until the score falls below 1/2; what the line reaches beyond the word is taken off its ends.

    Args:
        maps: (R, 6, S, S), the score in [0, 1].
        n: points of each side.

    Returns:
        sides (R, 2, n, 2) in shares of the view; bool (R,), which words took at least 3 steps.
    """
    R, _, S, _ = maps.shape
    usual = maps.isfinite().flatten(1).all(1)
    maps = torch.nan_to_num(maps)
    first = maps[:, 0].flatten(1).argmax(1)
    x = (torch.stack([first % S, first // S], 1).to(maps) + 0.5) / S
    x = _centred(maps, _centred(maps, x))
    both = torch.cat([maps, maps])
    sign = maps.new_ones(2 * R, 1)
    sign[:R] = -1
    x = torch.cat([x, x])
    score = _sampled(both, x)[:, 0]
    path, inside = [x], [score >= 0.5]
    for _ in range(MOST_STEPS):
        here = _sampled(both, x)
        reach = sign * here[:, 1:2].clamp(min=LEAST_SCALE) / 2
        half = _sampled(both, x + reach / 2 * _direction(here[:, 4:]))
        onward = x + reach * _direction(half[:, 4:])
        ahead = _sampled(both, onward)[:, 0]
        goes_on = inside[-1] & (ahead >= 0.5)
        # the end of the line, between two steps
        share = ((score - 0.5) / (score - ahead).clamp(min=1e-6)).clamp(0, 1)[:, None]
        ends = inside[-1] & ~goes_on
        moved = torch.where(goes_on[:, None], _centred(both, onward), torch.where(ends[:, None], x + share * (onward - x), x))
        x, score = moved, _sampled(both, moved)[:, 0]
        path.append(x)
        inside.append(goes_on)
    steps = torch.stack(inside[1:]).sum(0)
    line = torch.stack(path, 1)  # 2R, steps + 1, 2: the last point is repeated
    line = torch.cat([line[:R].flip(1), line[R:, 1:]], 1)
    length = (line[:, 1:] - line[:, :-1]).norm(dim=-1)
    along = F.pad(length.cumsum(1), (1, 0))
    ends = torch.stack([line[:, 0], line[:, -1]], 1)
    reach = torch.stack([line_reach(_sampled(maps, ends[:, i])[:, 1], S) for i in (0, 1)], 1)
    reach = torch.minimum(reach, along[:, -1:] / 3)
    share = torch.linspace(0, 1, n, device=maps.device)
    wanted = reach[:, :1] + (along[:, -1:] - reach.sum(1, keepdim=True)) * share  # R, n
    after = torch.searchsorted(along, wanted.contiguous()).clamp(1, along.shape[1] - 1)
    low, high = along.gather(1, after - 1), along.gather(1, after)
    part = ((wanted - low) / (high - low).clamp(min=1e-9))[..., None]
    index = after[..., None].expand(-1, -1, 2)
    centre = line.gather(1, index - 1) * (1 - part) + line.gather(1, index) * part
    values = F.grid_sample(maps, (centre * 2 - 1)[:, None], padding_mode="border", align_corners=False)[:, :, 0].transpose(1, 2)
    offset = values[..., 1:2] * _direction(values[..., 2:4])
    sides = torch.stack([centre + offset, centre - offset], 1)
    return sides, usual & (steps[:R] + steps[R:] >= LEAST_STEPS)


def _direction(pair: torch.Tensor) -> torch.Tensor:
    """Convert cos and sin (..., 2) to a unit vector of the view, whose y points down."""
    return F.normalize(pair, dim=-1) * pair.new_tensor([1, -1])


def _sampled(maps: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Read maps (R, 6, S, S) at one point each (R, 2): (R, 6). Beyond the view the score is 0, the rest goes on."""
    at = (x * 2 - 1)[:, None, None]
    values = F.grid_sample(maps, at, padding_mode="border", align_corners=False)[:, 1:, 0, 0]
    return torch.cat([_scores(maps, at)[:, 0], values], 1)


def _scores(maps: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Read the score at (R, h, w, 2) in [-1, 1]: (R, h, w). It falls to 0 over the cell around the view's edge."""
    return F.grid_sample(maps[:, :1], at, padding_mode="zeros", align_corners=False)[:, 0]


def _centred(maps: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Move points (R, 2) across the line to the middle of its score."""
    here = _sampled(maps, x)
    along = _direction(here[:, 4:])
    across = torch.stack([-along[:, 1], along[:, 0]], 1)
    reach = line_reach(here[:, 1], maps.shape[-1]) + 1.5 / maps.shape[-1]
    offset = torch.linspace(-1, 1, _ACROSS, device=maps.device) * reach[:, None]  # R, 13
    places = x[:, None] + offset[..., None] * across[:, None]
    score = _scores(maps, (places * 2 - 1)[:, None])[:, 0]
    return x + ((score * offset).sum(1) / score.sum(1).clamp(min=1e-6))[:, None] * across
