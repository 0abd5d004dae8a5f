"""Turns the graphs' boxes and small masks into words in the pixels of the given picture.

They come as character ids already read, or they are read here from strips of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dld.runtime.antialias import resize_antialiased
from dld.runtime.suppression import clip_boxes
from dld.strips.reading import ReadStrips, StripReading, read_words
from dld.strips.rows_price import RowsPrice
from dld.strips.rules import ReadingRules
from dld.structures.mask_outlines import mask_outlines
from dld.structures.words import Word

__all__ = ["Found", "strip_words", "words_of"]


@dataclass
class Found:
    """R words of one image in pixels of the network's input."""

    boxes: np.ndarray  # float32 (R, 4)
    scores: np.ndarray  # float32 (R,)
    masks: np.ndarray  # probabilities float32 (R, M, M) over each box
    # int64 (R, max_length + 1), the end id (0) from the first end on; None where they are not read yet
    ids: np.ndarray | None = None
    probabilities: np.ndarray | None = None  # float32 (R, max_length + 1)


def words_of(
    found: Found,
    network_size: tuple[int, int],
    picture_size: tuple[int, int],
    characters: tuple[str, ...],
    min_text_score: float = 0.0,
) -> list[Word]:
    """Apply the rules of `dld.modeling.postprocess.spotting_postprocess`; leave out boxes without area after clipping.

    Args:
        found: network output.
        network_size: unpadded (H, W) of the image in whose pixels `found` is.
        picture_size: (H, W) of the given picture.
        characters: in the order of their ids, from 1.
        min_text_score: words whose characters have a lower geometric mean of probabilities are left out.
    """
    boxes, keep = _boxes_in(found, network_size, picture_size)
    # the last of the max_length + 1 steps is for the end symbol: a word that never ends is cut there
    ids, probabilities = found.ids[:, :-1], found.probabilities[:, :-1]
    lengths = (np.cumsum(ids == 0, axis=1) == 0).sum(1)
    keep &= _text_scores(probabilities, lengths) >= min_text_score
    polygons = _outlines(found.masks[keep], boxes[keep], picture_size)
    words = []
    for polygon, score, row, certainty, length in zip(
        polygons, found.scores[keep], ids[keep], probabilities[keep], lengths[keep], strict=True
    ):
        # the start id, one past the last character, stands for none
        text = "".join(characters[i - 1] for i in row[:length] if i <= len(characters))
        words.append(Word(text, polygon, float(score), certainty[:length].tolist()))
    return words


def strip_words(
    found: Sequence[Found],
    network_sizes: Sequence[tuple[int, int]],
    pictures: Sequence[np.ndarray],
    read: ReadStrips,
    characters: tuple[str, ...],
    rules: ReadingRules,
    prices: Sequence[RowsPrice | None] | None = None,
) -> list[tuple[list[Word], StripReading]]:
    """Read words from strips of their pictures by the rules of `Spotter.postprocess` with a reader.

    Args:
        found: network output of each picture, not read yet.
        network_sizes: unpadded (H, W) of the images in whose pixels each is.
        pictures: uint8 BGR (H_i, W_i, 3).
        read: the graph, pixels float32 (N, H, W, 3) -> the characters of each strip.
        characters: in the order of their ids, from 1.
        rules: of the exported folder.
        prices: see :func:`~dld.strips.reading.read_words`.
    """
    outlines, detection_scores = [], []
    for one, network_size, picture in zip(found, network_sizes, pictures, strict=True):
        boxes, keep = _boxes_in(one, network_size, picture.shape[:2])
        outlines.append(_outlines(one.masks[keep], boxes[keep], picture.shape[:2]))
        detection_scores.append(one.scores[keep])
    # strips are cut with the same precision as in PyTorch's spotter
    precise = [[polygon.astype(np.float64) for polygon in polygons] for polygons in outlines]
    readings = read_words(pictures, precise, detection_scores, read, characters, rules, prices=prices)
    return [
        (
            [
                Word(text, polygons[row] if part is None else part.astype(np.float32), score, certainty, height)
                for row, part, text, score, certainty, height in zip(
                    reading.rows,
                    reading.outlines,
                    reading.texts,
                    reading.scores,
                    reading.char_scores,
                    reading.heights,
                    strict=True,
                )
            ],
            reading,
        )
        for polygons, reading in zip(outlines, readings, strict=True)
    ]


def _boxes_in(found: Found, network_size: tuple[int, int], picture_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes float32 (R, 4) in the picture, clipped to it, and which of them have an area, bool (R,)."""
    (height, width), (rows, columns) = picture_size, network_size
    scale = np.array([width / columns, height / rows] * 2, dtype=np.float32)
    boxes = clip_boxes(found.boxes * scale, picture_size)
    return boxes, ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)


def _outlines(masks: np.ndarray, boxes: np.ndarray, picture_size: tuple[int, int]) -> list[np.ndarray]:
    """Trace outlines float32 (P, 2) of masks (R, M, M) over their boxes (R, 4), clipped to the picture."""
    # enlarged four times, where antialiasing is plain bilinear interpolation
    enlarged = resize_antialiased(masks, tuple(4 * side for side in masks.shape[1:]))
    polygons = mask_outlines(enlarged > 0.5, boxes)
    for polygon in polygons:
        np.clip(polygon, 0, picture_size[::-1], out=polygon)
    return polygons


def _text_scores(probabilities: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Compute `dld.modeling.postprocess.text_scores` in NumPy."""
    inside = np.arange(probabilities.shape[1]) < lengths[:, None]
    logs = np.where(inside, np.log(np.maximum(probabilities, np.float32(1e-30))), np.float32(0)).sum(1)
    return np.where(lengths > 0, np.exp(logs / np.maximum(lengths, 1)), 0)
