"""What a text spotter has to offer so that it can be teacher, student, exported, measured and read with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import nn

from dld.modeling.flops import SpotterFlops
from dld.modeling.recognition.recognizer import RecognitionFeatures
from dld.text.charset import Charset

__all__ = ["Spotter", "SpotterLosses", "build_spotter"]


class SpotterLosses(NamedTuple):
    """What :meth:`Spotter.losses` gives."""

    losses: dict[str, torch.Tensor]  # scalars by name
    features: RecognitionFeatures  # of the R readable words, in the order of the images
    words: list[Instances]  # those words, one Instances an image
    counts: dict[str, float | torch.Tensor]  # proposals and foreground, where losses are means over them


class Spotter(nn.Module, ABC):
    """A network that finds words in a batch of images and reads them.

    :class:`~dld.modeling.meta_arch.text_spotter.TextSpottingRCNN` is one. What an architecture cannot do it refuses with a
    ValueError that says so.

    Attributes:
        backbone: network with `bottom_up`, whose first stages a resolution selector may start from, and `size_divisibility`.
        pixel_mean, pixel_std: (3, 1, 1) of its input, BGR.
        channels_last: memory format of its input.
        inference_dtype: number format at test; None: float32.
        loss_units: what a loss by that name is a mean over (`dld.modeling.meta_arch.step_losses.UNITS`); one that is not
            named is a mean over images.
        reader: reads strips at test; None: the spotter reads by itself.
        expected_strip_width: padded columns of the strip of a word of which nothing is known yet.
    """

    backbone: nn.Module
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor
    channels_last: bool = False
    inference_dtype: torch.dtype | None = None
    loss_units: Mapping[str, str] = {}
    reader: nn.Module | None = None
    expected_strip_width: int = 0

    @property
    @abstractmethod
    def charset(self) -> Charset:
        """The characters it reads."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Most characters of a word."""

    @property
    @abstractmethod
    def decoder(self) -> nn.Module:
        """Context features to characters; has what :class:`~dld.modeling.recognition.decoder.AttentionDecoder` has:
        `prepare`, `initial_state`, `step`, `forward`, `greedy`."""

    @property
    def size_divisibility(self) -> int:
        """The sides of its input are padded to multiples of this."""
        return self.backbone.size_divisibility

    @abstractmethod
    def losses(
        self, images: ImageList, targets: list[Instances], seeds: list[int | None] | None = None
    ) -> SpotterLosses:
        """All losses of a normalised, padded batch.

        Args:
            targets: annotated words per image in pixels of that batch.
            seeds: of each image; what is sampled in it follows from its seed alone, so it is the same in whichever process
                and at whichever place of the batch. None: from the running random numbers.
        """

    @abstractmethod
    def recognize(self, images: ImageList, targets: list[Instances]) -> tuple[RecognitionFeatures, list[Instances]]:
        """Recognition features of the annotated readable words by the cheapest path to them, and those words per image."""

    @abstractmethod
    def find_and_recognize(
        self, images: ImageList, targets: list[Instances]
    ) -> tuple[RecognitionFeatures, torch.Tensor]:
        """:meth:`recognize`, and which of the R words the spotter would have found by itself, bool (R,)."""

    @abstractmethod
    def spot(self, images: ImageList) -> list[Instances]:
        """Words of a normalised, padded batch, in pixels of that batch."""

    @abstractmethod
    def postprocess(self, results: list[Instances], batched_inputs: list[dict]) -> list[dict]:
        """What :meth:`spot` found, one dict an image with "instances" in the pixels of the image that the input came from:
        `pred_polygons`, `pred_texts`, `pred_char_scores`, `scores`."""

    @abstractmethod
    def count_parts(self, image_size: tuple[int, int], words: int, steps: int, proposals: int | None = None) -> SpotterFlops:
        """FLOPs by part on an empty image; see :func:`~dld.modeling.flops.spotter_flops`.

        Args:
            image_size: padded (H, W).
            words: found in it, each with its reading of `steps` characters.
            proposals: looked at; None: the most at test. Spotters without proposals pass it over.
        """

    @abstractmethod
    def forward(self, batched_inputs: list[dict]) -> Any:
        """Losses of inputs as the mapper made them in training, output dicts at test."""


def build_spotter(cfg) -> Spotter:
    """Build `cfg.MODEL.SPOTTER`: what a selector chooses the scale for, and what learns from a teacher.

    Raises:
        ValueError: there is no such spotter.
    """
    name = cfg.MODEL.SPOTTER
    architecture = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    if not (isinstance(architecture, type) and issubclass(architecture, Spotter)):
        known = sorted(n for n, a in META_ARCH_REGISTRY if isinstance(a, type) and issubclass(a, Spotter))
        raise ValueError(f"MODEL.SPOTTER must be one of {', '.join(known)}, got {name!r}")
    return architecture(cfg)
