"""A batch with its annotated words, made once per training step and read by spotters at scales of their choice.

N images; the R readable words of a batch are in the order of its images, whichever images run together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from detectron2.structures import ImageList, Instances

from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.recognition.recognizer import Photos, RecognitionFeatures, join_features, trim
from dld.modeling.resolution.rescale import group_by_scale, rescale_images, rescale_instances

__all__ = ["AnnotatedBatch", "AnnotatedReading", "ScaledPart", "normalized_images", "read_annotated"]


class ScaledPart(NamedTuple):
    """Some images of a batch, reduced to one scale and padded."""

    images: ImageList
    words: list[Instances]  # in pixels of those images
    seeds: list[int | None]  # of the samples drawn in each image
    photos: Photos | None = None  # the same images at full resolution, for spotters that read them


@dataclass(frozen=True)
class AnnotatedBatch:
    """The images of a training step and what is known about them.

    Attributes:
        images: N normalised images (3, H_i, W_i) at the teacher's resolution, on the model's device.
        words: the annotated words of each image, in its pixels.
        texts: ids of the readable words, int64 (R, T), end symbols included, padded with `pad`.
        offsets: index of the first readable word of each image among the R; the last entry is R.
        seeds: seed of the samples drawn in each image, None where the mapper gave none.
        pad: padding id of `texts`.
    """

    images: list[torch.Tensor]
    words: list[Instances]
    texts: torch.Tensor
    offsets: list[int]
    seeds: list[int | None]
    pad: int

    @classmethod
    def of(cls, batched_inputs: Sequence[dict], spotter: Spotter) -> AnnotatedBatch:
        """Make a batch from the mapper's inputs, normalised for `spotter` and on its device."""
        words = [x["instances"].to(spotter.pixel_mean.device) for x in batched_inputs]
        pad = spotter.charset.pad
        return cls(
            images=normalized_images(batched_inputs, spotter),
            words=words,
            texts=trim(torch.cat([x.gt_text[x.gt_readable] for x in words]), pad),
            offsets=torch.tensor([0, *(int(x.gt_readable.sum()) for x in words)]).cumsum(0).tolist(),
            seeds=[x.get("sampling_seed") for x in batched_inputs],
            pad=pad,
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each image."""
        return [tuple(x.shape[-2:]) for x in self.images]

    @property
    def steps(self) -> torch.Tensor:
        """Number of characters of each readable word, the end symbol included, int64 (R,)."""
        return (self.texts != self.pad).sum(1)

    @property
    def counts(self) -> dict[str, float | torch.Tensor]:
        """Number of words and of steps over which a loss of the whole batch is a mean."""
        return {"word": len(self.texts), "step": self.steps.sum()}

    def padded(self, divisibility: int) -> ImageList:
        """Pad all images to one size and return them as one batch."""
        return ImageList.from_tensors(self.images, divisibility)

    def word_index(self, members: Sequence[int]) -> torch.Tensor:
        """Return the positions, among the R, of the readable words of the images `members`, in that order."""
        ranges = [torch.arange(self.offsets[i], self.offsets[i + 1]) for i in members]
        return torch.cat(ranges).to(self.texts.device)

    def image_of(self) -> torch.Tensor:
        """Return the image of each readable word, int64 (R,)."""
        offsets = torch.tensor(self.offsets, device=self.texts.device)
        return torch.repeat_interleave(torch.arange(len(self), device=offsets.device), offsets.diff())

    def groups(self, scales: Sequence[float], divisibility: int) -> dict[tuple, list[int]]:
        """Return the positions of images that run together, see :func:`~dld.modeling.resolution.rescale.group_by_scale`."""
        return group_by_scale(self.sizes, scales, divisibility)

    def at_scale(self, members: Sequence[int], scale: float, spotter: Spotter) -> ScaledPart:
        """Return the images `members` and their words as `spotter` reads them at a scale."""
        images = rescale_images([self.images[i] for i in members], scale, spotter.size_divisibility)
        if spotter.channels_last:
            images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        sizes = images.image_sizes
        words = [rescale_instances(self.words[i], size) for i, size in zip(members, sizes, strict=True)]
        seeds, photos = [self.seeds[i] for i in members], None
        if spotter.reads_photos:
            photos = Photos(ImageList.from_tensors([self.images[i] for i in members]), [self.words[i] for i in members], seeds)
        return ScaledPart(images, words, seeds, photos)


class AnnotatedReading(NamedTuple):
    """A spotter's reading of the annotated words of a batch at one scale."""

    features: RecognitionFeatures
    found: torch.Tensor | None  # bool (R,): whether the spotter detects the word by itself; None where not asked


def normalized_images(batched_inputs: Sequence[dict], spotter: Spotter) -> list[torch.Tensor]:
    """Return the images (3, H_i, W_i) of the inputs as `spotter` reads them, on its device."""
    device = spotter.pixel_mean.device
    return [(x["image"].to(device) - spotter.pixel_mean) / spotter.pixel_std for x in batched_inputs]


def read_annotated(spotter: Spotter, batch: AnnotatedBatch, scale: float, find: bool = False) -> AnnotatedReading:
    """Return recognition features of the readable words of a batch, all images at one scale.

    Images of one padded size run together.

    Args:
        find: also report which words the spotter finds by itself; this also runs its detection.
    """
    readings, found, order = [], [], []
    for members in batch.groups([scale] * len(batch), spotter.size_divisibility).values():
        part = batch.at_scale(members, scale, spotter)
        if find:
            reading, seen = spotter.find_and_recognize(part.images, part.words, part.photos)
            found.append(seen)
        else:
            reading = spotter.recognize(part.images, part.words, part.photos)[0]
        readings.append(reading)
        order.append(batch.word_index(members))
    back = torch.cat(order).argsort()
    return AnnotatedReading(join_features(readings).at(back), torch.cat(found)[back] if find else None)
