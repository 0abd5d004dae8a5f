"""The annotated words of a batch, read by a spotter at a scale of its choice.

The R readable words of a batch stand in the order of its images, whichever of them run together.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou

from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.recognizer import RecognitionFeatures, trim
from dld.modeling.resolution.rescale import group_by_scale, rescale_images, rescale_instances

__all__ = ["AnnotatedReading", "at_scale", "read_annotated", "word_index", "word_offsets", "word_texts"]

# what a detection needs to count as the word, in every protocol
_IOU = 0.5


class AnnotatedReading(NamedTuple):
    """What a spotter makes of the annotated words of a batch at one scale."""

    features: RecognitionFeatures
    found: torch.Tensor | None  # bool (R,): whether the spotter's own detections hold the word; None where not asked


def word_texts(words: list[Instances], pad: int) -> torch.Tensor:
    """Ids (R, T) of the readable words of a batch."""
    return trim(torch.cat([x.gt_text[x.gt_readable] for x in words]), pad)


def word_offsets(words: list[Instances]) -> list[int]:
    """Where the readable words of each image begin in a list of all of the batch; the last entry is R."""
    return torch.tensor([0, *(int(x.gt_readable.sum()) for x in words)]).cumsum(0).tolist()


def word_index(offsets: list[int], members: list[int]) -> torch.Tensor:
    """Positions in that list of the words of the images `members`."""
    return torch.cat([torch.arange(offsets[i], offsets[i + 1]) for i in members])


def at_scale(
    spotter: TextSpottingRCNN, images: list[torch.Tensor], words: list[Instances], scale: float
) -> tuple[ImageList, list[Instances]]:
    """Normalised images (3, H_i, W_i) and their words, reduced and padded into one batch."""
    batch = rescale_images(images, scale, spotter.backbone.size_divisibility)
    if spotter.channels_last:
        batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
    return batch, [rescale_instances(x, size) for x, size in zip(words, batch.image_sizes, strict=True)]


def read_annotated(
    spotter: TextSpottingRCNN, images: list[torch.Tensor], words: list[Instances], scale: float, find: bool = False
) -> AnnotatedReading:
    """Recognition features of the annotated readable words of normalised images, all at one scale.

    Images of one padded size run together.

    Args:
        find: also say which of them the spotter would have found by itself, which takes its proposals and boxes too.
    """
    offsets = word_offsets(words)
    sizes = [tuple(x.shape[-2:]) for x in images]
    groups = group_by_scale(sizes, [scale] * len(images), spotter.backbone.size_divisibility)
    readings, found, order = [], [], []
    for members in groups.values():
        batch, scaled = at_scale(spotter, [images[i] for i in members], [words[i] for i in members], scale)
        if find:
            reading, boxes = spotter.find_and_recognize(batch, scaled)
            found += [_covered(x.gt_boxes[x.gt_readable], b) for x, b in zip(scaled, boxes, strict=True)]
        else:
            reading = spotter.recognize(batch.tensor, scaled)[0]
        readings.append(reading)
        order.append(word_index(offsets, members))
    back = torch.cat(order).argsort().to(spotter.device)
    features = RecognitionFeatures(torch.cat([x.roi for x in readings])[back], torch.cat([x.context for x in readings])[back])
    return AnnotatedReading(features, torch.cat(found)[back] if find else None)


def _covered(words: Boxes, detections: Boxes) -> torch.Tensor:
    if not len(detections):
        return torch.zeros(len(words), dtype=torch.bool, device=words.device)
    return pairwise_iou(words, detections).amax(1) >= _IOU
