"""From the network's boxes, small masks and character ids to polygons and text in the pixels of the given image."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances

from dld.structures.mask_outlines import mask_outlines
from dld.text.charset import Charset

__all__ = ["VIEW_FIELDS", "masks_to_polygons", "outlined_boxes", "outlines_of_sides", "spotting_postprocess", "text_scores"]

# what a learned locator of words' sides needs: the views (R, C, S, S), and their boxes (R, 4) in pixels of the network's input
VIEW_FIELDS = ("pred_views", "pred_view_boxes")


def masks_to_polygons(
    masks: torch.Tensor, boxes: np.ndarray, threshold: float = 0.5, epsilon: float = 0.01, upsample: int = 4
) -> list[np.ndarray]:
    """Trace the largest contour of each small mask, simplified, in the pixels of the boxes.

    The masks are enlarged by bilinear interpolation; no array of the image's size is ever allocated.
    :func:`~dld.structures.mask_outlines.mask_outlines` makes the outlines.

    Args:
        masks: probabilities (R, M, M) over each box.
        boxes: float (R, 4).
        threshold: probability from which a cell belongs to the word.
        epsilon: tolerance of the simplification as share of the contour's length (0.01 in the paper's base spotter).
        upsample: enlargement before the contour search.

    Returns:
        R arrays float32 (P, 2), P >= 3; a mask with no area gives its box.
    """
    R, M, _ = masks.shape
    if R == 0:
        return []
    side = M * upsample
    enlarged = F.interpolate(masks.unsqueeze(1), size=(side, side), mode="bilinear", align_corners=False)[:, 0]
    return mask_outlines((enlarged > threshold).cpu().numpy(), boxes, epsilon)


def outlines_of_sides(sides: np.ndarray) -> list[np.ndarray]:
    """Return the outlines (2n, 2) of words between their sides (R, 2, n, 2): the top side, then the bottom side backwards."""
    return list(np.concatenate([sides[:, 0], sides[:, 1, ::-1]], 1).astype(np.float32))


def text_scores(id_scores: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return how sure the reading of each word is: the geometric mean of its characters' probabilities.

    Args:
        id_scores: (R, T).
        lengths: int64 (R,), characters without the end symbol.

    Returns:
        float (R,) in [0, 1]; 0 for a word without characters.
    """
    inside = torch.arange(id_scores.shape[1], device=id_scores.device) < lengths[:, None]
    logs = torch.where(inside, id_scores.clamp(min=1e-30).log(), 0.0).sum(1)
    return torch.where(lengths > 0, (logs / lengths.clamp(min=1)).exp(), 0.0)


def _boxes_in(instances: Instances, height: int, width: int) -> Boxes:
    """Move the boxes of the network's output into an image of `height` x `width` pixels, clipped to it."""
    boxes = Boxes(instances.pred_boxes.tensor.float().clone())
    boxes.scale(width / instances.image_size[1], height / instances.image_size[0])
    boxes.clip((height, width))
    return boxes


def _sides_in(instances: Instances, height: int, width: int) -> torch.Tensor:
    """Return the sides (R, 2, n, 2) of the network's output in pixels of an image of `height` x `width` pixels."""
    sides = instances.pred_sides.float()
    return sides * sides.new_tensor([width / instances.image_size[1], height / instances.image_size[0]])


def _outlined(instances: Instances, boxes: Boxes, keep: torch.Tensor, height: int, width: int) -> Instances:
    """Return the kept boxes with scores, classes and outlines, on the CPU."""
    boxes = Boxes(boxes.tensor[keep].cpu())
    if instances.has("pred_sides"):
        polygons = outlines_of_sides(_sides_in(instances, height, width)[keep].cpu().numpy())
    elif not instances.has("pred_masks"):
        polygons = list(boxes.tensor.numpy()[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
    else:
        polygons = masks_to_polygons(instances.pred_masks[keep][:, 0].float(), boxes.tensor.numpy())
    for polygon in polygons:
        np.clip(polygon[:, 0], 0, width, out=polygon[:, 0])
        np.clip(polygon[:, 1], 0, height, out=polygon[:, 1])
    out = Instances((height, width))
    out.pred_boxes = boxes
    out.scores = instances.scores[keep].float().cpu()
    # words are the only class
    out.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    out.pred_polygons = polygons
    return out


@torch.no_grad()
def outlined_boxes(instances: Instances, height: int, width: int) -> Instances:
    """Return the detections of one image, not read yet, in coordinates of the image of `height` x `width` pixels.

    Args:
        instances: network output: `pred_boxes`, `scores` and `pred_masks` (R, 1, M, M), or `pred_sides` (R, 2, n, 2) where a
            spotter finds these, in pixels of the network's input. Of one that finds neither, outlines are the boxes.

    Returns:
        Instances on the CPU with `pred_boxes`, `scores`, `pred_classes` and `pred_polygons` (R arrays (P, 2)), and `pred_sides`
        where there are any. Boxes without area after clipping are left out. `VIEW_FIELDS`, where there are any, stay as and
        where they are.
    """
    boxes = _boxes_in(instances, height, width)
    keep = boxes.nonempty()
    out = _outlined(instances, boxes, keep, height, width)
    if instances.has("pred_sides"):
        out.pred_sides = _sides_in(instances, height, width)[keep].cpu()
    for name in VIEW_FIELDS:
        if instances.has(name):
            out.set(name, instances.get(name)[keep])
    return out


@torch.no_grad()
def spotting_postprocess(
    instances: Instances, height: int, width: int, charset: Charset, min_text_score: float = 0.0
) -> Instances:
    """Return the words of one image in coordinates of the image of `height` x `width` pixels.

    Args:
        instances: network output, see :func:`outlined_boxes`, and `pred_ids`, `pred_id_scores`: the ids of each word and their
            probabilities, (R, T) with the end id from the first end on, which is within T, or T is max_length + 1.
        min_text_score: words with a lower score in :func:`text_scores` are left out.

    Returns:
        Instances on the CPU with `pred_boxes`, `scores`, `pred_classes`, `pred_polygons` (R arrays (P, 2)),
        `pred_texts` (R strings) and `pred_char_scores` (R lists, one probability per character). Boxes without area
        after clipping are left out.
    """
    boxes = _boxes_in(instances, height, width)
    # the last of the max_length + 1 steps is for the end symbol: a word that never ends is cut there
    ids, id_scores = instances.pred_ids[:, :-1], instances.pred_id_scores[:, :-1]
    lengths = ((ids == charset.end).cumsum(1) == 0).sum(1)
    keep = boxes.nonempty() & (text_scores(id_scores, lengths) >= min_text_score)
    ids, id_scores, lengths = ids[keep].cpu(), id_scores[keep].cpu(), lengths[keep].tolist()
    out = _outlined(instances, boxes, keep, height, width)
    out.pred_texts = [charset.decode(row) for row in ids.tolist()]
    out.pred_char_scores = [row[:n] for row, n in zip(id_scores.tolist(), lengths, strict=True)]
    return out
