"""Turns normalised images into found words, through the graphs and what stands between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dld.runtime.bundle import GraphRunner, how_words_are_read
from dld.runtime.found_words import Found
from dld.runtime.suppression import choose_detections, choose_proposals, clip_boxes
from dld.structures.image_sizes import padded_size

__all__ = ["GraphSpotter", "regions_of"]


class GraphSpotter:
    """The student: detector, box and mask heads and, where words are read from crops, the recogniser.

    Args:
        settings: of `spotter.json`.
        run: its graphs.
    """

    def __init__(self, settings: Mapping[str, Any], run: GraphRunner) -> None:
        self.settings, self.run = settings, run
        self.start = len(settings["charset"]) + 1
        self.reads = how_words_are_read(settings) == "crops"

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """Find words of normalised images (3, H_i, W_i) of one padded size, in pixels of those images."""
        settings = self.settings
        sizes = [x.shape[1:] for x in images]
        batch = np.zeros((len(images), 3, *padded_size(sizes[0], settings["size_divisibility"])), dtype=np.float32)
        for row, image in zip(batch, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = image
        *levels, boxes, logits, level = self.run("detector", batch)
        proposals = [
            choose_proposals(b, s, level, size, **settings["proposals"])
            for b, s, size in zip(boxes, logits, sizes, strict=True)
        ]
        regions = regions_of(proposals)
        if len(regions):
            scores, boxes = self.run("boxes", *levels, regions)
        else:
            scores, boxes = np.zeros(0, np.float32), np.zeros((0, 4), np.float32)
        detections = [
            choose_detections(b, s, size, **settings["detections"])
            for b, s, size in zip(_split(boxes, proposals), _split(scores, proposals), sizes, strict=True)
        ]
        kept = [boxes for boxes, _ in detections]
        regions = regions_of(kept)
        for _ in range(settings.get("box_rounds", 1) - 1 if len(regions) else 0):
            # the boxes move, their scores stay
            _, moved = self.run("boxes", *levels, regions)
            kept = [clip_boxes(boxes, size) for boxes, size in zip(_split(moved, kept), sizes, strict=True)]
            regions = regions_of(kept)
        detections = [(boxes, scores) for boxes, (_, scores) in zip(kept, detections, strict=True)]
        masks = self.run("masks", *levels, regions)[0] if len(regions) else np.zeros((0, 1, 1), np.float32)
        read = self._read(levels, regions, masks) if self.reads else ()
        words = [_split(x, kept) for x in (masks, *read)]
        return [Found(*detection, *parts) for detection, *parts in zip(detections, *words, strict=True)]

    def _read(self, levels: list[np.ndarray], regions: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read ids (R, T) and probabilities (R, T) of words (R, 5) with masks (R, M, M)."""
        reading = self.settings["reading"]
        level = levels[self.settings["levels"].index(self.settings["recognizer_level"])]
        R, T = len(regions), reading["max_length"] + 1
        # unread places hold the end id with probability 1, as after any end
        ids, probabilities = np.zeros((R, T), np.int64), np.ones((R, T), np.float32)
        for start in range(0, R, reading["words_per_chunk"]):
            rows = slice(start, start + reading["words_per_chunk"])
            context, keys = self.run("reader", level, regions[rows], masks[rows])
            self._decode(context, keys, ids[rows], probabilities[rows])
        return ids, probabilities

    def _decode(self, context: np.ndarray, keys: np.ndarray, ids: np.ndarray, probabilities: np.ndarray) -> None:
        """Read greedily into `ids` and `probabilities` (R, T) until all words ended."""
        R, T = ids.shape
        hidden = cell = np.zeros((R, self.settings["reading"]["state_width"]), np.float32)
        previous, running = np.full(R, self.start, np.int64), np.ones(R, dtype=bool)
        for t in range(T):
            best, probability, hidden, cell = self.run("characters", previous, hidden, cell, context, keys)
            previous = np.where(running, best, 0)
            ids[:, t], probabilities[:, t] = previous, np.where(running, probability, 1)
            running &= previous != 0
            if not running.any():
                break


def regions_of(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Turn boxes (R_i, 4) of each image into float32 (R, 5), the image's number first."""
    numbers = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes]).astype(np.float32)
    return np.concatenate([numbers[:, None], np.concatenate(boxes)], 1)


def _split(rows: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Split rows of a batch over its images, as many each as `like` has."""
    return np.split(rows, np.cumsum([len(x) for x in like])[:-1])
