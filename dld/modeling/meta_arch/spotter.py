"""The interface of a text spotter: what it needs to be a teacher or student, to be exported, measured and read with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from torch import nn

from dld.modeling.compression.prunable import Prunable
from dld.modeling.flops import SpotterFlops, evaluating, spotter_flops
from dld.modeling.graph_part import GraphPart
from dld.modeling.losses.finding_distillation import FindingTargets
from dld.modeling.meta_arch.step_losses import StepLosses
from dld.modeling.meta_arch.strip_words import WordsToRead, read_strip_words, size_of
from dld.modeling.postprocess import spotting_postprocess
from dld.modeling.recognition.recognizer import Photos, RecognitionFeatures
from dld.strips.rules import ReadingRules
from dld.text.charset import Charset

__all__ = [
    "FOUND_IOU",
    "NO_LAYERS",
    "NO_PROPOSALS",
    "NO_WIDTHS",
    "Spotter",
    "SpotterLosses",
    "WordsToRead",
    "build_spotter",
    "held_words",
    "lacks",
    "spotter_class",
]

NO_LAYERS = "keeps no layers to aggregate: MODEL.DISTILLATION.AGGREGATION.ENABLED must be False"
NO_PROPOSALS = "has no proposals to learn from or to teach: the weights of MODEL.DISTILLATION.FINDING must be 0"
NO_WIDTHS = "has no widths to search: MODEL.COMPRESSION.ENABLED must be False and MODEL.PRUNED_WIDTHS empty"
# what a detection needs to count as the word, in every protocol
FOUND_IOU = 0.5


class SpotterLosses(NamedTuple):
    """Result of :meth:`Spotter.losses`."""

    losses: dict[str, torch.Tensor]  # scalars by name
    features: RecognitionFeatures | None  # of the R readable words, in the order of the images; None: nothing was read
    words: list[Instances]  # those words, one Instances an image
    counts: Mapping[str, float | torch.Tensor] = MappingProxyType({})  # proposals, foreground: what losses are means over
    pyramid: dict[str, torch.Tensor] | None = None  # the levels in which words were found; None: they were not looked for


class Spotter(nn.Module, ABC):
    """A network that finds words in a batch of images and reads them.

    :class:`~dld.modeling.meta_arch.text_spotter.TextSpottingRCNN` is one. An architecture has a `backbone`, a `charset`,
    `max_length` and `decoder`, and says how it learns (:meth:`losses`), reads annotated words (:meth:`recognize`) and spots
    (:meth:`spot`). With :meth:`run_parts` its cost is counted, without which it can neither be distilled nor told a scale. All
    else is a gain: what an architecture cannot do raises a ValueError that says so.

    Args:
        pixel_mean, pixel_std: of the input, BGR; None: the subclass registers its own buffers.
        charset: characters, which checkpoints then hold as `charset_codes`; None: the subclass knows them.
        max_length: largest number of characters in a word; None: the subclass knows it.

    Attributes:
        backbone: network; of one with `bottom_up` that part is whose first stages a resolution selector may start from.
        charset: the characters that the spotter reads.
        max_length: largest number of characters in a word.
        decoder: the module from context features to characters, with the methods `prepare`, `initial_state`, `step`, `forward`
            and `greedy` of :class:`~dld.modeling.recognition.decoder.AttentionDecoder`. None: there is none, and the spotter
            can neither teach nor be taught.
        pixel_mean, pixel_std: (3, 1, 1) of its input, BGR.
        min_text_score: words that it reads less surely are left out at test, see
            :func:`~dld.modeling.postprocess.spotting_postprocess`.
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
    charset: Charset
    max_length: int
    decoder: nn.Module | None
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor
    min_text_score: float = 0.0
    channels_last: bool = False
    inference_dtype: torch.dtype | None = None
    loss_units: Mapping[str, str] = {}
    reader: nn.Module | None = None
    expected_strip_width: int = 0
    strip_rows: tuple[int, ...] = ()
    reads_photos: bool = False
    trial_rows: tuple[int, ...] = ()
    weights_elsewhere: Mapping[str, str] = {}

    def __init__(
        self,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        charset: Charset | None = None,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            if values is not None:
                self.register_buffer(name, torch.tensor(list(values), dtype=torch.float32).view(-1, 1, 1), False)
        if charset is not None:
            self.charset = charset
            self.register_buffer("charset_codes", charset.codes())
        if max_length is not None:
            self.max_length = max_length

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
    def bottom_up(self) -> nn.Module:
        """The part of the backbone that a resolution selector may start from: its `bottom_up`, where it has one."""
        return getattr(self.backbone, "bottom_up", self.backbone)

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

    @torch.no_grad()
    def find_and_recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, torch.Tensor]:
        """Do as :meth:`recognize`, and return which of the R words the spotter finds by itself, bool (R,): those of whose boxes
        one of :meth:`spot` has an IoU of at least 0.5. An architecture that finds without reading is faster."""
        features, words = self.recognize(images, targets, photos)
        with evaluating(self):
            found = self.spot(images)
        return features, torch.cat([held_words(x.gt_boxes, y.pred_boxes) for x, y in zip(words, found, strict=True)])

    def finding_targets(self, images: ImageList, proposals: int, finds: int, threshold: float) -> list[FindingTargets]:
        """Return, for each image, what this spotter says of its own surest proposals and of the words that it finds.

        Args:
            images: a normalised, padded batch.
            proposals, finds: the most of an image.
            threshold: least probability of a find.
        """
        raise ValueError(f"{type(self).__name__} {NO_PROPOSALS}")

    def finding_losses(self, pyramid: dict[str, torch.Tensor], targets: list[FindingTargets]) -> dict[str, torch.Tensor]:
        """Return the losses of :func:`~dld.modeling.losses.finding_distillation.finding_losses` by name.

        Args:
            pyramid: of N images, from :meth:`losses`.
            targets: of a teacher for these images, in pixels of the images that this spotter saw.
        """
        raise ValueError(f"{type(self).__name__} {NO_PROPOSALS}")

    @abstractmethod
    def spot(self, images: ImageList) -> list[Instances]:
        """Find and read the words of a normalised, padded batch, in pixels of that batch.

        :func:`~dld.modeling.postprocess.spotting_postprocess` says what is in them; words that :attr:`reader` reads have no
        `pred_ids` and `pred_id_scores`.
        """

    def postprocess(self, results: list[Instances], batched_inputs: list[dict]) -> list[dict]:
        """Return the results of :meth:`spot` as one dict per image. Its "instances" are in pixels of the image that the input
        came from (`height`, `width`): `pred_polygons`, `pred_texts`, `pred_char_scores`, `scores`.

        Where strips are read they are cut from an input's "photo", uint8 BGR (H, W, 3), as large as it is at hand, or
        without one from its "image", at heights that its "rows_price" (:class:`~dld.strips.rows_price.RowsPrice`) chooses where
        there is one, and the output has, beside "instances", "strip_sizes" (of all strips
        that were read) and "unread" (outlines without a strip), see :class:`~dld.strips.reading.StripReading`, and "asked", the
        number of words that a learned locator was asked about.
        """
        if self.reader is not None:
            return self._read_strips(self.words_to_read(results, batched_inputs))
        return [
            {"instances": spotting_postprocess(r, *size_of(r, x), self.charset, self.min_text_score)}
            for r, x in zip(results, batched_inputs, strict=True)
        ]

    def _read_strips(self, words_to_read: list[WordsToRead]) -> list[dict]:
        assert self.reader is not None, "it was looked at"
        return read_strip_words(words_to_read, self.reader, self.reading_rules)

    @property
    def reading_rules(self) -> ReadingRules:
        """How what :attr:`reader` sees becomes words."""
        return ReadingRules()

    def words_to_read(self, results: list[Instances], batched_inputs: list[dict]) -> list[WordsToRead]:
        """Return, for each image, what strips are cut of the results of :meth:`spot`; arguments as of :meth:`postprocess`."""
        raise ValueError(f"this {type(self).__name__} reads no strips (MODEL.RECOGNITION.READER): words have no sides")

    def count_parts(self, image_size: tuple[int, int], words: int, steps: int, proposals: int | None = None) -> SpotterFlops:
        """Count FLOPs by part on an empty image; see :func:`~dld.modeling.flops.spotter_flops`. What is not in
        :meth:`run_parts` is not counted.

        Args:
            image_size: padded (H, W).
            words: number of words found in it, each read in `steps` characters.
            proposals: number of proposals that are scored; None: the most at test. Spotters without proposals ignore it.
        """
        return spotter_flops(self, image_size, words, proposals, steps)

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
        raise ValueError(f"{type(self).__name__} does not say how its parts are run: its cost cannot be counted")

    def prunable_channels(self) -> dict[str, Prunable]:
        """Return the channels that can go, by name, for a search of widths; see
        :func:`~dld.modeling.compression.prunable.prunable_channels`."""
        raise ValueError(f"{type(self).__name__} {NO_WIDTHS}")

    def learning_rate_factors(self, cfg) -> dict[str, float]:
        """Return factors of the learning rate by the beginning of parameters' names. Of several that fit, the longest counts;
        where none does, the factor is 1."""
        start = "backbone." if self.bottom_up is self.backbone else "backbone.bottom_up."
        return {start: cfg.MODEL.BACKBONE.LR_FACTOR}

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

    def forward(self, batched_inputs: list[dict]) -> Any:
        """Return losses of the mapper's inputs by name in training, a list of output dicts at test."""
        return self.step_losses(batched_inputs) if self.training else self.inference(batched_inputs)

    def inference(self, batched_inputs: list[dict]) -> list[dict]:
        """Find and read the words of images."""
        return self.postprocess(self.spot(self.preprocess_image(batched_inputs)), batched_inputs)


def held_words(words: Boxes, detections: Boxes) -> torch.Tensor:
    """Tell which of the R words a detection overlaps by an IoU of at least `FOUND_IOU`, bool (R,)."""
    if not len(detections):
        return torch.zeros(len(words), dtype=torch.bool, device=words.device)
    return pairwise_iou(words, detections).amax(1) >= FOUND_IOU


def lacks(architecture: type[Spotter], method: str) -> bool:
    """Tell whether an architecture has a method as :class:`Spotter` has it, which refuses."""
    return getattr(architecture, method) is getattr(Spotter, method)


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
