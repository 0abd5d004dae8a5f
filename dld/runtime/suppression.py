"""Chooses among boxes between the graphs of the detector, as detectron2 and torchvision do, in numpy."""

from __future__ import annotations

import numpy as np

__all__ = ["choose_detections", "choose_proposals", "clip_boxes", "non_maximum_suppression"]


def non_maximum_suppression(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Suppress greedily: a box falls to any kept box of higher score with an IoU above `threshold`.

    Args:
        boxes: float32 (R, 4).
        scores: (R,); equal ones keep their order.

    Returns:
        int64 indices of the kept boxes, highest score first.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    size = boxes[:, 2:] - boxes[:, :2]
    area = size[:, 0] * size[:, 1]
    alive = np.ones(len(boxes), dtype=bool)
    kept = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        rest = i + 1 + np.flatnonzero(alive[i + 1 :])
        common = np.minimum(boxes[i, 2:], boxes[rest, 2:]) - np.maximum(boxes[i, :2], boxes[rest, :2])
        common = common.clip(min=0)
        inter = common[:, 0] * common[:, 1]
        with np.errstate(invalid="ignore", divide="ignore"):  # boxes without area
            overlap = inter / (area[i] + area[rest] - inter)
        # compared in float64, as torchvision does: 0.7 is not a float32
        alive[rest[overlap > np.float64(threshold)]] = False
    return order[np.array(kept, dtype=np.int64)]


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Clip boxes (R, 4) to an image of `size` (H, W)."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=boxes.dtype))


def choose_proposals(
    boxes: np.ndarray,
    logits: np.ndarray,
    level: np.ndarray,
    size: tuple[int, int],
    *,
    nms_threshold: float,
    count: int,
    min_size: float,
) -> np.ndarray:
    """Choose the best proposals of one image, suppressed level by level.

    Args:
        boxes, logits, level: (A, 4), (A,) and (A,) from the detector graph.
        size: unpadded (H, W) in pixels of the network's input.
        nms_threshold: IoU above which a proposal of the same level falls.
        count: most that are kept.
        min_size: sides must exceed it, in pixels.

    Returns:
        float32 (R, 4), highest logit first, R <= count.
    """
    finite = np.isfinite(boxes).all(1) & np.isfinite(logits)
    boxes, logits, level = clip_boxes(boxes[finite], size), logits[finite], level[finite]
    large = ((boxes[:, 2:] - boxes[:, :2]) > min_size).all(1)
    boxes, logits, level = boxes[large], logits[large], level[large]
    kept = []
    for one in np.unique(level):
        rows = np.flatnonzero(level == one)
        kept.append(rows[non_maximum_suppression(boxes[rows], logits[rows], nms_threshold)])
    if not kept:
        return boxes
    kept = np.sort(np.concatenate(kept))
    return boxes[kept[np.argsort(-logits[kept], kind="stable")[:count]]]


def choose_detections(
    boxes: np.ndarray,
    scores: np.ndarray,
    size: tuple[int, int],
    *,
    score_threshold: float,
    nms_threshold: float,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the words of one image among its scored boxes.

    Args:
        boxes, scores: (R, 4) and (R,) from the box graph.
        size: unpadded (H, W) in pixels of the network's input.
        score_threshold: scores must exceed it.
        nms_threshold: as above.
        count: most that are kept; negative: all.

    Returns:
        boxes float32 (R', 4) and scores (R',), highest first.
    """
    wanted = np.isfinite(boxes).all(1) & (scores > score_threshold)
    boxes, scores = clip_boxes(boxes[wanted], size), scores[wanted]
    kept = non_maximum_suppression(boxes, scores, nms_threshold)
    kept = kept[:count] if count >= 0 else kept
    return boxes[kept], scores[kept]
