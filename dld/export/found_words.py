"""From the graphs' boxes, small masks and character ids to words in the pixels of the given picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dld.export.antialias import resize_antialiased
from dld.export.suppression import clip_boxes
from dld.structures.mask_outlines import mask_outlines
from dld.structures.words import Word

__all__ = ["Found", "words_of"]


@dataclass
class Found:
    """R words of one image in pixels of the network's input."""

    boxes: np.ndarray  # float32 (R, 4)
    scores: np.ndarray  # float32 (R,)
    masks: np.ndarray  # probabilities float32 (R, M, M) over each box
    ids: np.ndarray  # int64 (R, max_length + 1), the end id (0) from the first end on
    probabilities: np.ndarray  # float32 (R, max_length + 1)


def words_of(
    found: Found,
    network_size: tuple[int, int],
    picture_size: tuple[int, int],
    characters: tuple[str, ...],
    min_text_score: float = 0.0,
) -> list[Word]:
    """The rules of `dld.modeling.postprocess.spotting_postprocess`; boxes of no area after clipping are left out.

    Args:
        found: network output.
        network_size: unpadded (H, W) that `found` is in pixels of.
        picture_size: (H, W) of the picture that was given.
        characters: in the order of their ids, from 1.
        min_text_score: words whose characters have a lower geometric mean of probabilities are left out.
    """
    (height, width), (rows, columns) = picture_size, network_size
    scale = np.array([width / columns, height / rows] * 2, dtype=np.float32)
    boxes = clip_boxes(found.boxes * scale, picture_size)
    # the last of the max_length + 1 steps is the end symbol's: a word that never ends is cut there
    ids, probabilities = found.ids[:, :-1], found.probabilities[:, :-1]
    lengths = (np.cumsum(ids == 0, axis=1) == 0).sum(1)
    keep = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1) & (_text_scores(probabilities, lengths) >= min_text_score)
    boxes = boxes[keep]
    # enlarged four times, where antialiasing is plain bilinear interpolation
    enlarged = resize_antialiased(found.masks[keep], tuple(4 * side for side in found.masks.shape[1:]))
    polygons = mask_outlines(enlarged > 0.5, boxes)
    words = []
    for polygon, score, row, certainty, length in zip(
        polygons, found.scores[keep], ids[keep], probabilities[keep], lengths[keep], strict=True
    ):
        np.clip(polygon, 0, (width, height), out=polygon)
        # the start id, one past the last character, stands for none
        text = "".join(characters[i - 1] for i in row[:length] if i <= len(characters))
        words.append(Word(text, polygon, float(score), certainty[:length].tolist()))
    return words


def _text_scores(probabilities: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`dld.modeling.postprocess.text_scores` in NumPy."""
    inside = np.arange(probabilities.shape[1]) < lengths[:, None]
    logs = np.where(inside, np.log(np.maximum(probabilities, np.float32(1e-30))), np.float32(0)).sum(1)
    return np.where(lengths > 0, np.exp(logs / np.maximum(lengths, 1)), 0)
