"""What every spotter does whose words are read from strips of the photo at test."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.strips.photo_strips import SideBySide
from dld.strips.reading import read_words
from dld.strips.rows_price import RowsPrice
from dld.strips.rules import ReadingRules
from dld.utils.threads import map_side_by_side

__all__ = ["WordsToRead", "photo_of", "read_strip_words", "side_by_side_on", "size_of"]


class WordsToRead(NamedTuple):
    """The words that were found in one image, of which strips of its photo are to be read."""

    found: Instances  # see `dld.modeling.postprocess.outlined_boxes`
    photo: np.ndarray  # uint8 BGR (H, W, 3)
    zoom: np.ndarray  # (2,), pixels of the photo to one of `found`, x and y
    outlines: list[np.ndarray]  # (P, 2), pixels of the photo
    sides: list[np.ndarray | None]  # (2, n, 2) in the same pixels, where a learned locator found them
    price: RowsPrice | None = None  # chooses heights of strips for their cost
    asked: int = 0  # words that a learned locator was asked about


def read_strip_words(words_to_read: Sequence[WordsToRead], reader: StripRecognizer, rules: ReadingRules) -> list[dict]:
    """Read the words that were found, and return one output dict an image, with what `Spotter.postprocess` says."""
    readings = read_words(
        [x.photo for x in words_to_read],
        [x.outlines for x in words_to_read],
        [x.found.scores.numpy() for x in words_to_read],
        reader.read,
        reader.charset.characters,
        rules,
        [x.sides for x in words_to_read],
        [x.price for x in words_to_read],
        side_by_side_on(reader.head.weight.device),
    )
    outputs = []
    for (instances, _, zoom, *_, asked), reading in zip(words_to_read, readings, strict=True):
        rows = torch.tensor(reading.rows, dtype=torch.int64)
        words = Instances(instances.image_size)
        boxes, polygons = instances.pred_boxes.tensor[rows], [instances.pred_polygons[row] for row in reading.rows]
        for k, outline in enumerate(reading.outlines):
            if outline is not None:
                polygons[k] = (outline / zoom).astype(polygons[k].dtype)
                boxes[k] = torch.from_numpy(np.concatenate([polygons[k].min(0), polygons[k].max(0)]))
        words.pred_boxes, words.pred_classes, words.pred_polygons = Boxes(boxes), instances.pred_classes[rows], polygons
        words.pred_texts, words.pred_char_scores = reading.texts, reading.char_scores
        words.scores = torch.tensor(reading.scores, dtype=torch.float32)
        words.pred_rows = reading.heights
        outputs.append({"instances": words, "strip_sizes": reading.sizes, "unread": reading.unread, "asked": asked})
    return outputs


def size_of(result: Instances, record: dict) -> tuple[int, int]:
    """Return (H, W) of the image that an input says it came from."""
    return record.get("height", result.image_size[0]), record.get("width", result.image_size[1])


def photo_of(record: dict) -> np.ndarray:
    """Return what strips are cut from, uint8 BGR (H, W, 3)."""
    photo = record.get("photo")
    if photo is None:
        photo = record["image"].clamp(0, 255).round().to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    return photo


def side_by_side_on(device: torch.device) -> SideBySide | None:
    """Let a CPU read a batch on each of its threads; other devices read one after another."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return SideBySide(threads, partial(map_side_by_side, at_once=threads)) if threads > 1 else None
