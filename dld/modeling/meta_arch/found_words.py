"""What spotters share that find words without proposals: words between sides, and which annotated ones are among them."""

from __future__ import annotations

import numpy as np
import shapely
import torch
from detectron2.structures import Boxes, Instances

from dld.modeling.postprocess import outlines_of_sides

__all__ = ["held_by_outlines", "words_between"]


def words_between(sides: torch.Tensor, scores: torch.Tensor, size: tuple[int, int]) -> Instances:
    """Return words with the given sides (R, 2, n, 2) in an image of `size` (H, W)."""
    words = Instances(tuple(size))
    points = sides.flatten(1, 2)
    words.pred_sides, words.scores = sides, scores
    words.pred_boxes = Boxes(torch.cat([points.amin(1), points.amax(1)], 1))
    words.pred_classes = torch.zeros(len(sides), dtype=torch.int64, device=sides.device)
    return words


def held_by_outlines(words: Instances, sides: torch.Tensor, least_iou: float) -> torch.Tensor:
    """Tell which words one of the outlines between sides (D, 2, n, 2) overlaps by at least this IoU, bool (R,)."""
    found = np.zeros(len(words), bool)
    if len(words) and len(sides):
        own = shapely.make_valid(shapely.polygons(words.gt_masks.points.cpu().double().numpy()))
        other = shapely.make_valid(shapely.polygons(np.stack(outlines_of_sides(sides.cpu().numpy())).astype(np.float64)))
        both = shapely.area(shapely.intersection(own[:, None], other[None]))
        union = shapely.area(own)[:, None] + shapely.area(other)[None] - both
        found = (both >= least_iou * np.maximum(union, 1e-9)).any(1)
    return torch.from_numpy(found).to(words.gt_masks.device)
