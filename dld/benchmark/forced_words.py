"""Makes any weights read a given number of words: untrained ones find nothing, and the time of reading is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from dld.modeling.flops import DECODER_STEPS
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN

__all__ = ["annotated_boxes", "forced_words", "random_boxes"]


@contextmanager
def forced_words(spotter: TextSpottingRCNN, steps: int = DECODER_STEPS) -> Iterator[dict]:
    """Give every image the words of `given["boxes"]`, and read each of them for `steps` steps.

    Everything runs as always, including the choice among the scored proposals; then the given boxes take the place of the
    kept ones. Untrained decoders do not end a word: the steps are bounded instead.

    Yields:
        `given`: set `given["boxes"]` to float (R, 4) and `given["size"]` to the (H, W) of the image these are pixels of,
        before each call with one image.
    """
    given: dict = {}
    predictor, recognizer = spotter.roi_heads.box_predictor, spotter.roi_heads.recognizer
    heads = spotter.roi_heads
    inference, find_boxes, length = predictor.inference, heads.find_boxes, recognizer.max_length

    def given_words(found: list[Instances]) -> list[Instances]:
        size = found[0].image_size
        boxes = given["boxes"].to(found[0].scores.device, copy=True)
        boxes[:, 0::2] *= size[1] / given["size"][1]
        boxes[:, 1::2] *= size[0] / given["size"][0]
        words = Instances(size)
        words.pred_boxes, words.scores = Boxes(boxes), torch.ones(len(boxes), device=boxes.device)
        words.pred_classes = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        return [words, *found[1:]]

    def infer(predictions, proposals):
        found, kept = inference(predictions, proposals)
        return given_words(found), kept

    def find(*args, **kwargs):
        return given_words(find_boxes(*args, **kwargs))

    # where strips are read, boxes are found with a threshold of their own
    with patch.object(predictor, "inference", infer), patch.object(heads, "find_boxes", find):
        recognizer.max_length = min(length, steps - 1)
        try:
            yield given
        finally:
            recognizer.max_length = length


def annotated_boxes(record: dict) -> torch.Tensor:
    """Return boxes (R, 4) of the annotated words of a mapped test record, in pixels of its "image"."""
    height, width = record["image"].shape[-2:]
    zoom = np.array([width / record["width"], height / record["height"]])
    polygons = [np.asarray(a["polygon"]) * zoom for a in record["annotations"]]
    return torch.tensor(np.array([[*p.min(0), *p.max(0)] for p in polygons]).reshape(-1, 4), dtype=torch.float32)


def random_boxes(count: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """Draw boxes (count, 4) of words, one in eight of them standing, anywhere in an image of `size` (H, W)."""
    g = torch.Generator().manual_seed(seed)
    sides = torch.rand(count, 2, generator=g) * torch.tensor([80.0, 20.0]) + torch.tensor([20.0, 12.0])
    sides[::8] = sides[::8].flip(1)
    limit = torch.tensor([float(size[1]), float(size[0])])
    sides = torch.minimum(sides, limit)
    corner = torch.rand(count, 2, generator=g) * (limit - sides)
    return torch.cat([corner, corner + sides], 1)
