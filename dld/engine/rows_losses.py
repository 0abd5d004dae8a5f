"""Measures what words lose at lower strips: how much less probable their text is than at 48 rows.

It is what a resolution selector learns of scales (`dld.modeling.resolution.scale_comparison.reading_lost`), for heights of
strips, whose choice needs no network: seven classes of words by their height in the photo.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from dld.data.strip_words import StripMapper, StripWord
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.strips.collapsing import collapse
from dld.strips.grouping import StripSize, strip_batches
from dld.strips.heights import STRIP_ROWS
from dld.strips.rows_price import HEIGHT_EDGES, height_class

__all__ = ["RowsLosses", "measure_rows_losses", "text_probabilities"]

logger = logging.getLogger(__name__)


class RowsLosses(NamedTuple):
    """What :func:`measure_rows_losses` gives: the values of MODEL.STRIPS.ROWS_LOSSES and HEIGHT_SHARES, and words counted."""

    losses: list[list[float]]
    shares: list[float]
    words: list[int]  # of each class of height


@torch.no_grad()
def measure_rows_losses(
    reader: StripRecognizer, dataset: Sequence[dict], rows: Sequence[int], max_length: int, count: int = 0
) -> RowsLosses:
    """Read annotated words at several heights.

    The loss of a word is the probability of its text at 48 rows less that at the lower height, not below 0; as in the
    selector's trial, words that are misread at 48 rows do not count. A class without such words takes the losses of the next
    one with some; a lower strip never loses less than a higher one.

    Args:
        reader: reads with its CTC head, which sums over all alignments.
        dataset: dicts of a text data set.
        rows: heights; 48 comes with them.
        max_length: words of more characters are left out.
        count: of first images; 0: all.

    Raises:
        ValueError: no word is read.
    """
    heights = sorted({STRIP_ROWS, *rows}, reverse=True)
    mapper = StripMapper(False, reader.charset, max_length, heights)
    number = min(len(dataset), count or len(dataset))
    lost: list[list[tuple[float, ...]]] = [[] for _ in range(len(HEIGHT_EDGES) + 1)]
    seen = np.zeros(len(lost), dtype=np.int64)
    for i in tqdm(range(number), desc="heights of strips", unit="image", disable=None):
        words = mapper(dataset[i], None)["words"]
        if not words:
            continue
        probabilities = {row: text_probabilities(reader, words, row) for row in heights}
        full, right = probabilities[STRIP_ROWS]
        classes = height_class(np.array([word.height for word in words]))
        for k, own in enumerate(classes.tolist()):
            seen[own] += 1
            if right[k]:
                lost[own].append(tuple(max(float(full[k] - probabilities[row][0][k]), 0.0) for row in heights))
    counted = [len(words) for words in lost]
    if not any(counted):
        raise ValueError(f"no word of {number} images is read at {STRIP_ROWS} rows: there is nothing to measure")
    means = np.full((len(lost), len(heights)), np.nan)
    for own, values in enumerate(lost):
        if values:
            means[own] = np.mean(values, axis=0)
    known = np.flatnonzero(~np.isnan(means[:, 0]))
    for own in np.flatnonzero(np.isnan(means[:, 0])):
        means[own] = means[known[np.abs(known - own).argmin()]]
    means = np.maximum.accumulate(means, axis=1)
    logger.info("words read at %d rows, by height: %s", STRIP_ROWS, counted)
    losses = [[float(row), *np.round(means[:, k], 5).tolist()] for k, row in enumerate(heights)]
    return RowsLosses(losses, np.round(seen / seen.sum(), 5).tolist(), counted)


@torch.no_grad()
def text_probabilities(reader: StripRecognizer, words: Sequence[StripWord], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each word's text by the CTC head at a height, and whether it is what is read: (R,) each."""
    probability, right = np.zeros(len(words)), np.zeros(len(words), dtype=bool)
    characters = reader.charset.characters
    for at, pixels in strip_batches([word.strips[rows] for word in words], [StripSize(rows, word.width) for word in words]):
        log_p = reader.logits(reader.strips_of(pixels)).log_softmax(-1).cpu()  # R', L, V
        texts = [words[i].text for i in at]
        targets = [torch.tensor([characters.index(c) + 1 for c in text]) for text in texts]
        lengths = torch.tensor([len(target) for target in targets])
        columns = torch.full((len(at),), log_p.shape[1])
        nats = F.ctc_loss(log_p.transpose(0, 1), torch.cat(targets), columns, lengths, reduction="none", zero_infinity=False)
        probability[at] = (-nats).exp().numpy()
        certainty, ids = log_p.exp().max(-1)
        for i, found in zip(at, collapse(ids.numpy(), certainty.numpy()), strict=True):
            right[i] = "".join(characters[k - 1] for k in found.ids) == words[i].text
    return probability, right
