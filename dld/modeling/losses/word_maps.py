"""Losses of a selector that maps words and their loss: the `WordLossSelector` of `dld.modeling.resolution`.

S candidate scales; h w rows and columns of an image's map; r words of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

__all__ = ["WordMaps", "WordMapTargets", "word_map_targets", "word_maps_loss"]

# The cells at the edge of a word see as much background as word, so a tenth of each side is left out.
_EDGE = 0.1
# Counting words is far easier to learn than their losses; these weights come from a trial on 1,200 images.
_DENSITY_WEIGHT, _WORD_WEIGHT = 0.25, 3.0


class WordMaps(NamedTuple):
    """What the selector predicts for one image."""

    density: torch.Tensor  # (h, w): readable words in each cell; the sum is their number
    losses: torch.Tensor  # (S, h, w): loss of a word in this cell at each scale

    def total(self) -> torch.Tensor:
        """Return the loss of each scale, summed over the words of the image, (S,)."""
        return (self.density * self.losses).sum((1, 2))


class WordMapTargets(NamedTuple):
    """What the selector should predict; the density of a word sums to 1, spread evenly over its cells."""

    density: torch.Tensor  # (h, w)
    losses: torch.Tensor  # (S, h, w), 0 where there is no word


def word_map_targets(
    boxes: torch.Tensor, losses: torch.Tensor, image_size: tuple[int, int], map_size: tuple[int, int]
) -> WordMapTargets:
    """Draw words into the cells of a map.

    Args:
        boxes: (r, 4) in pixels of the image.
        losses: (r, S).
        image_size: (H, W) in pixels.
        map_size: (h, w).

    Returns:
        the targets, on the device of `losses`. A word smaller than a cell takes the cell of its centre. Where words share a
        cell, its loss is the mean of theirs, weighted by their density.
    """
    (height, width), (rows, columns) = image_size, map_size
    density = losses.new_zeros(rows, columns)
    weighted = losses.new_zeros(losses.shape[1], rows, columns)
    zoom = boxes.new_tensor([columns / width, rows / height] * 2)
    for (x0, y0, x1, y1), values in zip((boxes * zoom).tolist(), losses, strict=True):
        left, right = _cells(x0, x1, columns)
        top, bottom = _cells(y0, y1, rows)
        share = 1 / ((right - left) * (bottom - top))
        density[top:bottom, left:right] += share
        weighted[:, top:bottom, left:right] += share * values[:, None, None]
    return WordMapTargets(density, weighted / density.clamp(min=1e-9))


def _cells(start: float, stop: float, count: int) -> tuple[int, int]:
    """Return the first cell of a word's middle and the cell after its last; the middle has at least one cell."""
    edge = min(_EDGE * (stop - start), (stop - start) / 2)
    first = min(max(round(start + edge), 0), count - 1)
    last = min(max(round(stop - edge), 0), count)
    if last <= first:
        first = min(max(int((start + stop) / 2), 0), count - 1)
        last = first + 1
    return first, last


def word_maps_loss(maps: Sequence[WordMaps], targets: Sequence[WordMapTargets], words_per_image: float) -> torch.Tensor:
    """Return the mean over images of three terms: where words are, what each word loses, and what the image loses.

    - density: Poisson negative log-likelihood d - t log d of every cell, which is smallest at d = t;
    - losses: smooth L1 at the cells of words. Each word has the weight 1 / `words_per_image`, whatever the other images
      of the batch (or of other processes) contain;
    - image: smooth L1 of the total divided by `words_per_image`, minus its mean over scales; the choice depends on
      nothing else.

    Returns:
        scalar; 0 without images.
    """
    if not maps:
        return torch.zeros(())
    terms = []
    for found, wanted in zip(maps, targets, strict=True):
        density = (found.density - wanted.density * (found.density + 1e-6).log()).sum()
        cells = F.smooth_l1_loss(found.losses, wanted.losses, beta=0.3, reduction="none").mean(0)
        at_words = (cells * wanted.density).sum()
        predicted = found.total() / words_per_image
        total = (wanted.density * wanted.losses).sum((1, 2)) / words_per_image
        image = F.smooth_l1_loss(predicted - predicted.mean(), total - total.mean(), beta=0.3)
        terms.append(_DENSITY_WEIGHT * density + _WORD_WEIGHT * at_words / words_per_image + image)
    return torch.stack(terms).mean()
