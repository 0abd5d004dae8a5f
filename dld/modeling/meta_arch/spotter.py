"""The interface of a text spotter: what it needs to be a teacher or student, to be exported, measured and read with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import nn

from dld.modeling.compression.prunable import Prunable
from dld.modeling.flops import SpotterFlops
from dld.modeling.graph_part import GraphPart
from dld.modeling.losses.finding_distillation import FindingTargets
from dld.modeling.meta_arch.step_losses import StepLosses
from dld.modeling.recognition.recognizer import Photos, RecognitionFeatures
from dld.strips.rows_price import RowsPrice
from dld.strips.rules import ReadingRules
from dld.text.charset import Charset

__all__ = ["NO_LAYERS", "NO_WIDTHS", "Spotter", "SpotterLosses", "WordsToRead", "build_spotter", "spotter_class"]

NO_LAYERS = "keeps no layers to aggregate: MODEL.DISTILLATION.AGGREGATION.ENABLED must be False"
NO_WIDTHS = "has no widths to search: MODEL.COMPRESSION.ENABLED must be False and MODEL.PRUNED_WIDTHS empty"


class SpotterLosses(NamedTuple):
    """Result of :meth:`Spotter.losses`."""

    losses: dict[str, torch.Tensor]  # scalars by name
    features: RecognitionFeatures | None  # of the R readable words, in the order of the images; None: nothing was read
    words: list[Instances]  # those words, one Instances an image
    counts: dict[str, float | torch.Tensor]  # number of proposals and foreground, where losses are means over them
    pyramid: dict[str, torch.Tensor] | None = None  # the levels in which words were found; None: they were not looked for


class WordsToRead(NamedTuple):
    """The words that were found in one image, of which strips of its photo are to be read."""

    found: Instances  # see `dld.modeling.postprocess.outlined_boxes`
    photo: np.ndarray  # uint8 BGR (H, W, 3)
    zoom: np.ndarray  # (2,), pixels of the photo to one of `found`, x and y
    outlines: list[np.ndarray]  # (P, 2), pixels of the photo
    sides: list[np.ndarray | None]  # (2, n, 2) in the same pixels, where a learned locator found them
    price: RowsPrice | None = None  # chooses heights of strips for their cost


class Spotter(nn.Module, ABC):
    """A network that finds words in a batch of images and reads them.

    :class:`~dld.modeling.meta_arch.text_spotter.TextSpottingRCNN` is one. An architecture that cannot do something raises a
    ValueError that says so.

    Attributes:
        backbone: network with `bottom_up`, whose first stages a resolution selector may start from, and `size_divisibility`.
        pixel_mean, pixel_std: (3, 1, 1) of its input, BGR.
        channels_last: memory format of its input.
        inference_dtype: number format at test; None: float32.
        loss_units: for each loss by name, what it is a mean over (`dld.modeling.meta_arch.step_losses.UNITS`); a loss that
            is not named is a mean over images.
        reader: reads strips at test; None: the spotter reads by itself.
        expected_strip_width: number of padded columns to assume for the strip of a word that is not known yet.
        strip_rows: heights at which `reader` reads, from the largest to the smallest.
        trial_rows: heights of strips at which annotated words can be read, from the largest, of a spotter that is trained to
            read at several; see :meth:`at_height`.
        reads_photos: whether annotated words are read from the photos at full resolution, not from what the network sees:
            :meth:`losses`, :meth:`recognize` and :meth:`find_and_recognize` then need `photos` where it sees smaller images.
        weights_elsewhere: for beginnings of weights' names in other spotters, those that the same weights have in this one.
    """

    backbone: nn.Module
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor
    channels_last: bool = False
    inference_dtype: torch.dtype | None = None
    loss_units: Mapping[str, str] = {}
    reader: nn.Module | None = None
    expected_strip_width: int = 0
    strip_rows: tuple[int, ...] = ()
    reads_photos: bool = False
    trial_rows: tuple[int, ...] = ()
    weights_elsewhere: Mapping[str, str] = {}

    @property
    @abstractmethod
    def charset(self) -> Charset:
        """The characters that the spotter reads."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Largest number of characters in a word."""

    @property
    @abstractmethod
    def decoder(self) -> nn.Module | None:
        """The module from context features to characters, with the methods of
        :class:`~dld.modeling.recognition.decoder.AttentionDecoder`: `prepare`, `initial_state`, `step`, `forward`, `greedy`.
        None: there is none, and the spotter can neither teach nor be taught."""

    def at_height(self, rows: int) -> AbstractContextManager[None]:
        """Return a context in which annotated words are read from strips of this height, one of :attr:`trial_rows`."""
        raise ValueError(f"{type(self).__name__} reads at no height of strips that it could be told")

    @property
    def layer_groups(self) -> Mapping[str, tuple[int, int]]:
        """Groups of layers of one shape that the recogniser can keep, in the order in which they run: number of layers and
        channels of each. Empty: it keeps none."""
        return {}

    def keeping_layers(self) -> AbstractContextManager[None]:
        """Return a context in which recognition features hold what the layers of :attr:`layer_groups` gave."""
        raise ValueError(f"{type(self).__name__} {NO_LAYERS}")

    def losses_from(self, group: str, features: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the losses of reading where the last layer of a group gave these features of R words.

        Args:
            texts: annotated ids, int64 (R, T).
        """
        raise ValueError(f"{type(self).__name__} {NO_LAYERS}")

    @property
    def has_ctc_head(self) -> bool:
        """Whether :meth:`ctc_logits` can be asked for."""
        return False

    def ctc_logits(self, features: RecognitionFeatures) -> torch.Tensor:
        """Return the logits of a CTC head, (R, L, V), class 0 the blank, of the features of R words."""
        raise ValueError(f"{type(self).__name__} has no CTC head")

    @property
    def size_divisibility(self) -> int:
        """The sides of its input are padded to multiples of this."""
        return self.backbone.size_divisibility

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.pixel_mean.device

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise, pad and batch; in the memory format the convolutions were laid out for."""
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        batch = ImageList.from_tensors(images, self.size_divisibility)
        if self.channels_last:
            batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch

    def step_losses(self, batched_inputs: list[dict]) -> StepLosses:
        """Return what `forward` returns in training: :meth:`losses` of the inputs, with the units that they are means over."""
        words = [x["instances"].to(self.device) for x in batched_inputs]
        seeds = [x.get("sampling_seed") for x in batched_inputs]
        found = self.losses(self.preprocess_image(batched_inputs), words, seeds)
        ids = torch.cat([x.gt_text for x in found.words])
        counts = {"word": len(ids), "step": (ids != self.charset.pad).sum(), **found.counts}
        return StepLosses(found.losses, self.loss_units, counts)

    @abstractmethod
    def losses(
        self,
        images: ImageList,
        targets: list[Instances],
        seeds: list[int | None] | None = None,
        photos: Photos | None = None,
    ) -> SpotterLosses:
        """Return all losses of a normalised, padded batch.

        Args:
            targets: annotated words per image in pixels of that batch.
            seeds: seed of each image. The samples in an image depend on its seed only, so they are the same in any process
                and at any place of the batch. None: use the running random numbers.
            photos: the same images and words at full resolution, see :attr:`reads_photos`; None: `images` is that.
        """

    @abstractmethod
    def recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, list[Instances]]:
        """Return recognition features of the annotated readable words, by the cheapest path, and those words per image."""

    @abstractmethod
    def find_and_recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, torch.Tensor]:
        """Do as :meth:`recognize`, and return which of the R words the spotter finds by itself, bool (R,)."""

    def finding_targets(self, images: ImageList, proposals: int, finds: int, threshold: float) -> list[FindingTargets]:
        """Return, for each image, what this spotter says of its own surest proposals and of the words that it finds.

        Args:
            images: a normalised, padded batch.
            proposals, finds: the most of an image.
            threshold: least probability of a find.
        """
        raise ValueError(f"{type(self).__name__} has no proposals to learn from: MODEL.DISTILLATION.FINDING must be 0")

    def finding_losses(self, pyramid: dict[str, torch.Tensor], targets: list[FindingTargets]) -> dict[str, torch.Tensor]:
        """Return the losses of :func:`~dld.modeling.losses.finding_distillation.finding_losses` by name.

        Args:
            pyramid: of N images, from :meth:`losses`.
            targets: of a teacher for these images, in pixels of the images that this spotter saw.
        """
        raise ValueError(f"{type(self).__name__} has no proposals to teach: MODEL.DISTILLATION.FINDING must be 0")

    @abstractmethod
    def spot(self, images: ImageList) -> list[Instances]:
        """Find and read the words of a normalised, padded batch, in pixels of that batch."""

    @abstractmethod
    def postprocess(self, results: list[Instances], batched_inputs: list[dict]) -> list[dict]:
        """Return the results of :meth:`spot` as one dict per image. Its "instances" are in pixels of the image that the input
        came from: `pred_polygons`, `pred_texts`, `pred_char_scores`, `scores`."""

    @property
    def reading_rules(self) -> ReadingRules:
        """How what :attr:`reader` sees becomes words."""
        return ReadingRules()

    def words_to_read(self, results: list[Instances], batched_inputs: list[dict]) -> list[WordsToRead]:
        """Return, for each image, what strips are cut of the results of :meth:`spot`; arguments as of :meth:`postprocess`."""
        raise ValueError(f"this {type(self).__name__} reads no strips: words have no sides")

    @abstractmethod
    def count_parts(self, image_size: tuple[int, int], words: int, steps: int, proposals: int | None = None) -> SpotterFlops:
        """Count FLOPs by part on an empty image; see :func:`~dld.modeling.flops.spotter_flops`.

        Args:
            image_size: padded (H, W).
            words: number of words found in it, each read in `steps` characters.
            proposals: number of proposals that are scored; None: the most at test. Spotters without proposals ignore it.
        """

    def run_parts(
        self,
        image_size: tuple[int, int],
        words: int,
        steps: int,
        run: Callable[[str, Callable[[], Any]], Any],
        proposals: int | None = None,
    ) -> None:
        """Run, once each, what :meth:`count_parts` counts; arguments as there.

        Args:
            run: gets the name of a part, one of `dld.modeling.flops.PARTS` ("trunk" comes first), and a call, and returns the
                call's result.
        """
        raise ValueError(f"{type(self).__name__} does not say how its parts are run: they cannot be measured one by one")

    def prunable_channels(self) -> dict[str, Prunable]:
        """Return the channels that can go, by name, for a search of widths; see
        :func:`~dld.modeling.compression.prunable.prunable_channels`."""
        raise ValueError(f"{type(self).__name__} {NO_WIDTHS}")

    def learning_rate_factors(self, cfg) -> dict[str, float]:
        """Return factors of the learning rate by the beginning of parameters' names. Of several that fit, the longest counts;
        where none does, the factor is 1."""
        return {"backbone.bottom_up.": cfg.MODEL.BACKBONE.LR_FACTOR}

    def timed_calls(self) -> list[tuple[str, Any, str]]:
        """Return the calls whose time is measured while an image is read: stage, object, name of its method.

        The stages are those of :data:`~dld.benchmark.stages.STAGES`. One call may run inside another.
        """
        raise ValueError(f"{type(self).__name__} does not say what its stages are: its time cannot be divided among them")

    def reading_given_words(self, given: dict[str, Any], steps: int) -> AbstractContextManager[None]:
        """Let the spotter, inside, find exactly the words of `given` and read each for `steps` steps, whatever its weights.

        Everything runs as always, including the choice among the proposals; then the given boxes take the place of the kept
        ones. Untrained decoders do not end a word: the steps are bounded instead.

        Args:
            given: "boxes" float (R, 4) and "size", the (H, W) of the image these are pixels of; may change between calls.
        """
        raise ValueError(f"{type(self).__name__} cannot be told which words to find")

    def reading_step(self, images: ImageList, targets: list[Instances]) -> Callable[[], dict[str, torch.Tensor]]:
        """Return a call that computes the losses of reading annotated words alone, with their gradients down to the features
        that finding needs, too; those are computed here, once."""
        raise ValueError(f"{type(self).__name__} has no part that only reads")

    def graph_parts(self, size: tuple[int, int], images: int, noise: torch.Generator) -> dict[str, GraphPart]:
        """Return the parts that become ONNX graphs by name, with examples; :meth:`graph_settings` says what is between them.

        Args:
            size: (H, W) of the example images.
            images: of an example batch.
            noise: that the examples are made of.
        """
        raise ValueError(f"a {type(self).__name__} cannot be exported")

    def graph_settings(self) -> dict[str, Any]:
        """Return what `spotter.json` must say of the graphs for `dld.runtime` to run them."""
        raise ValueError(f"a {type(self).__name__} cannot be exported")

    @abstractmethod
    def forward(self, batched_inputs: list[dict]) -> Any:
        """Return losses of the mapper's inputs in training, output dicts at test."""


def spotter_class(name: str) -> type[Spotter]:
    """Return the spotter of this name.

    Raises:
        ValueError: there is none; the message has those that there are.
    """
    architecture = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    if not (isinstance(architecture, type) and issubclass(architecture, Spotter)):
        known = sorted(n for n, a in META_ARCH_REGISTRY if isinstance(a, type) and issubclass(a, Spotter))
        raise ValueError(f"MODEL.SPOTTER must be one of {', '.join(known)}, got {name!r}")
    return architecture


def build_spotter(cfg) -> Spotter:
    """Build `cfg.MODEL.SPOTTER`: the network that a selector chooses the scale for, and that learns from a teacher.

    Raises:
        ValueError: there is no such spotter.
    """
    return spotter_class(cfg.MODEL.SPOTTER)(cfg)
