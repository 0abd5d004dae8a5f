"""Mask-text recognition branch, from the finest pyramid level to characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import ImageList, Instances
from detectron2.utils.registry import Registry
from torch import nn

from dld.config import configured_charset
from dld.modeling.layers.parsimonious import make_parsimonious
from dld.modeling.losses.recognition import attention_loss, ctc_loss
from dld.modeling.poolers.masked_roi_pooler import MaskedRoIPooler
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.modeling.recognition.encoder import Layers, RecognitionEncoder, conv_norm_relu
from dld.structures.padded_polygons import PaddedPolygons
from dld.structures.tall import is_tall
from dld.text.charset import Charset

__all__ = [
    "RECOGNIZER_REGISTRY",
    "KeepsLayers",
    "Photos",
    "Readings",
    "RecognitionFeatures",
    "TextRecognizer",
    "build_recognizer",
    "join_features",
    "readable_words",
]

RECOGNIZER_REGISTRY = Registry("RECOGNIZER")
RECOGNIZER_REGISTRY.__doc__ = "Recognition branches; called as `cls(cfg, input_shape)`."


class RecognitionFeatures(NamedTuple):
    """The recogniser's features of R words; feature distillation compares the RoI and context features."""

    roi: torch.Tensor  # (R, C, 8, 32); of strips (R, C, 1, L); of an AnchorRecognizer (R, C, S, S)
    context: torch.Tensor  # (R, L, C)
    columns: torch.Tensor | None = None  # (R, L, C), the encoder's convolutional part
    layers: Layers | None = None  # what each layer gave, where the recogniser was told to keep it
    maps: torch.Tensor | None = None  # (R, 2, S, S), of an AnchorRecognizer: logits of its maps of heat and order

    def at(self, index: torch.Tensor) -> RecognitionFeatures:
        """Return the features of the words `index` (R',)."""
        layers = self.layers
        if layers is not None:
            layers = {name: tuple(x[index] for x in group) for name, group in layers.items()}
        maps = None if self.maps is None else self.maps[index]
        return RecognitionFeatures(*(None if x is None else x[index] for x in self[:3]), layers, maps)


class Photos(NamedTuple):
    """The images of a batch at full resolution, from which strips are cut at whatever scale words are looked for."""

    images: ImageList  # normalised
    words: list[Instances]  # in their pixels
    seeds: list[int | None] | None = None  # of what is drawn at random for each image; None: the running numbers


class KeepsLayers:
    """The part of a recogniser that keeps what its layers give, on request.

    Attributes:
        keeps_layers: whether `RecognitionFeatures.layers` are filled.
    """

    keeps_layers = False

    @contextmanager
    def keeping_layers(self) -> Iterator[None]:
        """Keep the outputs of the layers meanwhile."""
        self.keeps_layers = True
        try:
            yield
        finally:
            self.keeps_layers = False


class Readings(NamedTuple):
    """Greedy readings of R words: ids (R, T) and the probability of each step (R, T)."""

    ids: torch.Tensor
    probabilities: torch.Tensor


@RECOGNIZER_REGISTRY.register()
class TextRecognizer(KeepsLayers, nn.Module):
    """Convolution on the finest level, masked crop, encoder, attention decoder, optional CTC head.

    Args:
        stem: convolution applied to the whole level before cropping.
        pooler: masked crop of the words.
        encoder: crops to context features.
        decoder: context features to characters.
        charset: characters; kept as a buffer so that every checkpoint contains its own charset.
        max_length: largest number of characters in a word.
        ctc_weight: weight of the auxiliary CTC loss; 0 builds no CTC head.
        ctc_feature: input of the CTC head: "columns", the encoder's convolutional part, or "context".
        loss_weight: weight of both losses beside those of finding.

    Raises:
        ValueError: `ctc_feature` is neither of the two.
    """

    reads_strips = False  # but crops of a level
    has_graph = True  # `dld.modeling.spotter_graphs` knows how it reads
    loss_units: Mapping[str, str] = {}  # of its losses beside those of every recogniser, see `Spotter.loss_units`

    @configurable
    def __init__(
        self,
        *,
        stem: nn.Module,
        pooler: MaskedRoIPooler,
        encoder: RecognitionEncoder,
        decoder: AttentionDecoder,
        charset: Charset,
        max_length: int,
        ctc_weight: float = 0.0,
        ctc_feature: str = "columns",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if ctc_feature not in ("columns", "context"):
            raise ValueError(f"MODEL.RECOGNITION.CTC_FEATURE must be columns or context, got {ctc_feature!r}")
        self.ctc_feature, self.loss_weight = ctc_feature, loss_weight
        self.stem, self.pooler, self.encoder, self.decoder = stem, pooler, encoder, decoder
        self.charset, self.max_length, self.ctc_weight = charset, max_length, ctc_weight
        self.ctc_head = nn.Linear(encoder.width, charset.num_outputs) if ctc_weight > 0 else None
        self.register_buffer("charset_codes", charset.codes())

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        node = cfg.MODEL.RECOGNITION
        charset = configured_charset(cfg)
        stem = conv_norm_relu(input_shape.channels, node.STEM_DIM, node.NORM, padding=1)
        encoder = RecognitionEncoder(node.STEM_DIM, node.WIDTH, node.NORM)
        make_parsimonious(cfg, "encoder", encoder.convs, node.NORM)
        return {
            "stem": make_parsimonious(cfg, "stem", stem, node.NORM),
            "pooler": MaskedRoIPooler(tuple(node.POOLER_RESOLUTION), input_shape.stride, node.POOLER_SAMPLING_RATIO),
            "encoder": encoder,
            "decoder": AttentionDecoder(
                node.WIDTH, node.WIDTH, charset.num_inputs, charset.num_outputs, charset.start, charset.end
            ),
            "charset": charset,
            "max_length": node.MAX_LENGTH,
            "ctc_weight": node.CTC_WEIGHT,
            "ctc_feature": node.CTC_FEATURE,
            "loss_weight": node.LOSS_WEIGHT,
        }

    def features(
        self, level: torch.Tensor, boxes: list[torch.Tensor], masks: torch.Tensor, tall: torch.Tensor
    ) -> RecognitionFeatures:
        """Compute RoI and context features.

        Args:
            level: finest pyramid level (N, C, H/4, W/4).
            boxes: N tensors (R_i, 4) in pixels of the network's input.
            masks: (R, 8, 32).
            tall: bool (R,), words to be transposed.
        """
        roi = self.pooler(self.stem(level), boxes, masks, tall)
        if self.keeps_layers:
            layers = self.encoder.layers(roi)
            return RecognitionFeatures(roi, layers["columns"][-1], layers["columns"][0], layers)
        columns = self.encoder.columns(roi)
        return RecognitionFeatures(roi, self.encoder.contextualize(columns), columns)

    @property
    def layer_groups(self) -> dict[str, tuple[int, int]]:
        """Number of layers and channels of each group of `RecognitionFeatures.layers`."""
        return self.encoder.layer_groups

    def losses_from(self, group: str, features: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return :meth:`losses` where the last layer of a group gave these features.

        Args:
            group: "crops" or "columns".
            features: of the shape of that group's layers.
            targets: ids (R, T).
        """
        columns = self.encoder.columns_of_crops(features) if group == "crops" else None
        context = features if columns is None else self.encoder.contextualize(columns)
        return self.losses(RecognitionFeatures(features, context, columns), targets)

    def ground_truth_features(
        self, level: torch.Tensor, boxes: list[torch.Tensor], polygons: PaddedPolygons, tall: torch.Tensor
    ) -> RecognitionFeatures:
        """Compute :meth:`features` with masks drawn from the R annotated polygons."""
        masks = self.pooler.polygon_masks(polygons, torch.cat(boxes), tall)
        return self.features(level, boxes, masks, tall)

    def annotated_features(
        self, level: torch.Tensor, words: list[Instances], photos: Photos | None = None
    ) -> RecognitionFeatures:
        """Compute :meth:`ground_truth_features` of N images.

        Args:
            level: see :meth:`features`.
            words: of each image, with `gt_read_boxes`, `gt_masks` and `gt_tall`.
            photos: not used, for crops are of the level.
        """
        polygons = PaddedPolygons.cat([x.gt_masks for x in words])
        boxes, tall = [x.gt_read_boxes.tensor for x in words], torch.cat([x.gt_tall for x in words])
        return self.ground_truth_features(level, boxes, polygons, tall)

    def found_context(self, level: torch.Tensor, boxes: list[torch.Tensor], probabilities: torch.Tensor) -> torch.Tensor:
        """Compute the context features (R, L, C) of words that were found.

        Args:
            level: what `stem` made of the finest pyramid level.
            boxes: N tensors (R_i, 4) in pixels of the network's input.
            probabilities: of their masks, (R, M, M) over each box.
        """
        tall = is_tall(torch.cat(boxes))
        return self.encoder(self.pooler(level, boxes, self.pooler.predicted_masks(probabilities, tall), tall))

    def ctc_logits(self, features: RecognitionFeatures) -> torch.Tensor:
        """Compute CTC logits float32 (R, L, V), class 0 the blank; only with a CTC head."""
        return self.ctc_head(getattr(features, self.ctc_feature).float()).float()

    def losses(self, features: RecognitionFeatures, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `loss_rec` and, with a CTC head and its input, `loss_ctc`, of the features of R words against ids (R, T)."""
        targets = trim(targets, self.charset.pad)
        losses = {"loss_rec": attention_loss(self.decoder(features.context, targets), targets, self.charset.pad)}
        if self.ctc_head is not None and getattr(features, self.ctc_feature) is not None:
            loss = ctc_loss(self.ctc_logits(features), targets, self.charset.pad, self.charset.end)
            losses["loss_ctc"] = self.ctc_weight * loss
        return {name: self.loss_weight * value for name, value in losses.items()}

    def read(self, context: torch.Tensor) -> Readings:
        """Read context (R, L, C) greedily."""
        return Readings(*self.decoder.greedy(context, self.max_length))


def readable_words(targets: Sequence[Instances]) -> list[Instances]:
    """Select the words of each image that the recogniser is trained on (`gt_readable`)."""
    return [x[x.gt_readable] for x in targets]


def join_features(parts: Sequence[RecognitionFeatures]) -> RecognitionFeatures:
    """Concatenate features over words; those with fewer columns repeat their last one, which is beyond the word."""
    joined = [None if values[0] is None else _joined(values) for values in zip(*(part[:3] for part in parts), strict=True)]
    layers = None
    if parts[0].layers is not None:
        groups = [part.layers or {} for part in parts]
        layers = {
            name: tuple(_joined(values) for values in zip(*(group[name] for group in groups), strict=True))
            for name in groups[0]
        }
    maps = None if parts[0].maps is None else torch.cat([part.maps for part in parts if part.maps is not None])
    return RecognitionFeatures(*joined, layers, maps)


def _joined(values: Sequence[torch.Tensor]) -> torch.Tensor:
    # columns are the last dimension of RoI features, and the middle one of the others
    at = -1 if values[0].dim() == 4 else 1
    return torch.cat([_lengthened(x, max(y.shape[at] for y in values), at) for x in values])


def _lengthened(features: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    missing = length - features.shape[dim]
    if not missing or not len(features):
        shape = list(features.shape)
        shape[dim] = length
        return features if not missing else features.new_zeros(shape)
    last = features.narrow(dim, features.shape[dim] - 1, 1)
    return torch.cat([features, last.repeat_interleave(missing, dim)], dim)


def trim(targets: torch.Tensor, pad: int) -> torch.Tensor:
    """Drop the columns that are padding in every word: ids (R, T) -> (R, T')."""
    if not len(targets):
        return targets[:, :1]
    return targets[:, : max(int((targets != pad).sum(1).max()), 1)]


def build_recognizer(cfg, input_shape: ShapeSpec) -> nn.Module:
    """Build `cfg.MODEL.RECOGNITION.NAME` for a pyramid level of this shape."""
    return RECOGNIZER_REGISTRY.get(cfg.MODEL.RECOGNITION.NAME)(cfg, input_shape)
