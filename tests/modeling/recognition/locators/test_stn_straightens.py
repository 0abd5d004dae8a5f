"""The locator without annotated sides learns where a sheared word runs from what its straightened strip shows."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from dld.modeling.recognition.locators.locator import Locator
from dld.modeling.recognition.locators.point_locator import STNLocator
from dld.modeling.recognition.word_grids import blend_grid, sampling_grid

SIDE, ROWS, COLUMNS = 64, 12, 36


def written() -> np.ndarray:
    picture = np.zeros((40, 120), np.uint8)
    cv2.putText(picture, "HELM", (6, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.25, 255, 5, cv2.LINE_AA)
    return cv2.GaussianBlur(picture.astype(np.float32) / 255, (0, 0), 1.5)


def sheared(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (R, 1, 64, 64) of the word, its end higher or lower than its start, and its sides as shares of them."""
    rng, pictures, sides = np.random.default_rng(seed), [], []
    for slope in rng.uniform(-0.3, 0.3, count):
        corner = np.array([[6, 24], [58, 24], [6, 40], [58, 40]], np.float32)
        corner[:, 1] += slope * (corner[:, 0] - 32)
        start = np.array([[0, 0], [120, 0], [0, 40]], np.float32)
        move = cv2.getAffineTransform(start, corner[:3])
        pictures.append(cv2.warpAffine(written(), move, (SIDE, SIDE), flags=cv2.INTER_AREA))
        share = np.linspace(0, 1, 5)[:, None]
        sides.append([corner[0] * (1 - share) + corner[1] * share, corner[2] * (1 - share) + corner[3] * share])
    return torch.from_numpy(np.stack(pictures))[:, None], torch.tensor(np.array(sides), dtype=torch.float32) / SIDE


def straightened(pictures: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    v, u = (torch.arange(ROWS) + 0.5) / ROWS, (torch.arange(COLUMNS) + 0.5) / COLUMNS
    grid = sampling_grid(blend_grid(sides * SIDE, v, u.expand(len(sides), -1)), (SIDE, SIDE))
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def test_a_sheared_word_comes_out_straighter_than_from_its_box_and_its_points_come_nearer():
    torch.manual_seed(0)
    pictures, sides = sheared(64, 0)
    low, high = sides.amin((1, 2)), sides.amax((1, 2))
    share = torch.linspace(0, 1, 5)
    x = low[:, None, :1] + (high - low)[:, None, :1] * share[:, None]
    box = torch.stack([torch.cat([x, y[:, None, 1:].expand_as(x)], -1) for y in (low, high)], 1)
    level = torch.from_numpy(cv2.resize(written(), (COLUMNS, ROWS), interpolation=cv2.INTER_AREA))
    locator: Locator = STNLocator(channels=1, pooler=torch.nn.Identity(), width=16, points=5)
    view = F.adaptive_avg_pool2d(pictures, 16)
    optimizer = torch.optim.Adam(locator.parameters(), 2e-3)

    def gap(points: torch.Tensor) -> torch.Tensor:
        # what reads the strip: it knows the level word
        return (straightened(pictures, points)[:, 0] - level).square().mean()

    for _ in range(300):
        optimizer.zero_grad()
        found, _ = locator.sides_in_view(view, box)
        (gap(found) + 0.1 * locator.losses(view, box, sides)["loss_fold"]).backward()
        optimizer.step()
    with torch.no_grad():
        found, _ = locator.sides_in_view(view, box)
        assert gap(found) < 0.5 * gap(box)
        assert (found - sides).norm(dim=-1).mean() < 0.7 * (box - sides).norm(dim=-1).mean()
