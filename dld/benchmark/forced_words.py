"""Makes any weights read a given number of words: untrained ones find nothing, and the time of reading is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dld.modeling.flops import DECODER_STEPS
from dld.modeling.meta_arch.spotter import Spotter

__all__ = ["annotated_boxes", "forced_words", "random_boxes"]


@contextmanager
def forced_words(spotter: Spotter, steps: int = DECODER_STEPS) -> Iterator[dict]:
    """Give every image the words of `given["boxes"]`, and read each for `steps` steps; see `Spotter.reading_given_words`.

    Yields:
        `given`: set `given["boxes"]` to float (R, 4) and `given["size"]` to the (H, W) of the image these are pixels of,
        before each call with one image.
    """
    given: dict = {}
    with spotter.reading_given_words(given, steps):
        yield given


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
