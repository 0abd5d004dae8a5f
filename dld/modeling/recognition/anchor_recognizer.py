"""The recogniser that reads words as they stand: it finds their characters and reads the features along them.

R words, T characters, L columns, S^2 cells of a view, C channels. See `dld.modeling.recognition.anchors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from torch import nn

from dld.modeling.layers.parsimonious import make_parsimonious
from dld.modeling.losses.anchor_maps import heat_loss, order_loss
from dld.modeling.poolers.view_pooler import ViewPooler
from dld.modeling.recognition.anchors import Anchors, Forms, find_anchors, gather, heat_targets, order_targets, read_points
from dld.modeling.recognition.encoder import BidirectionalLSTM, RecurrentEncoder, conv_norm_relu
from dld.modeling.recognition.recognizer import RECOGNIZER_REGISTRY, Photos, RecognitionFeatures, TextRecognizer
from dld.structures.padded_polygons import PaddedPolygons
from dld.structures.tall import view_forms

__all__ = ["AnchorEncoder", "AnchorRecognizer"]

# probability of heat at the start: few cells are the middle of a character
_PRIOR = 0.1


class AnchorEncoder(RecurrentEncoder):
    """Four 3x3 convolutions on views, the two maps of their characters, columns along these, two bidirectional LSTMs.

    The convolutions and LSTMs are those of :class:`~dld.modeling.recognition.encoder.RecognitionEncoder`, whose weights fit.

    Args:
        in_channels: channels of the views.
        width: channels of every layer and of the context feature.
        forms: rows and columns of the forms of views.
        columns: L.
        norm: detectron2 name of the normalisation.
        num_convs: 3x3 convolutions.
    """

    def __init__(
        self, in_channels: int, width: int, forms: Forms, columns: int = 33, norm: str = "BN", num_convs: int = 4
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(conv_norm_relu(in_channels if i == 0 else width, width, norm, padding=1) for i in range(num_convs))
        )
        self.maps = nn.Conv2d(width, 2, 1)
        nn.init.normal_(self.maps.weight, std=0.01)
        nn.init.zeros_(self.maps.bias)
        nn.init.constant_(self.maps.bias[:1], math.log(_PRIOR / (1 - _PRIOR)))
        self.sequence = nn.Sequential(BidirectionalLSTM(width, width, width), BidirectionalLSTM(width, width, width))
        self.forms, self.length, self.width = tuple(forms), columns, width

    def forward(self, views: torch.Tensor, form: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the convolutions.

        Args:
            views: (R, C, S, S), see :class:`~dld.modeling.poolers.view_pooler.ViewPooler`.
            form: int64 (R,).

        Returns:
            cells (R, width, S, S) and maps, float32 (R, 2, S, S): logits of heat and order.
        """
        R, _, S, _ = views.shape
        if not R:
            # batch norm cannot run on an empty batch; the sums keep the graph complete for distributed training
            unused = sum(p.sum() for p in (*self.convs.parameters(), *self.maps.parameters())) * 0 + views.sum() * 0
            return views.new_zeros((0, self.width, S, S)) + unused, views.new_zeros((0, 2, S, S)) + unused
        # words of one form lie together, so each convolution runs once a form; norms see the whole batch
        order = form.argsort(stable=True)
        counts = torch.bincount(form, minlength=len(self.forms)).tolist()
        cells = views[order]
        for block in self.convs:
            parts = [
                block[0](part.reshape(len(part), -1, *shape)).reshape(len(part), -1, S, S)
                for part, shape in zip(cells.split(counts), self.forms, strict=True)
                if len(part)
            ]
            cells = block[1:](torch.cat(parts))
        cells = cells[order.argsort()]
        with torch.autocast(cells.device.type, enabled=False):
            # in bfloat16 neighbours would be equally hot
            return cells, self.maps(cells.float())

    def columns(self, cells: torch.Tensor, form: torch.Tensor, anchors: Anchors) -> torch.Tensor:
        """Gather (R, width, S, S) along anchors -> float32 (R, L, width)."""
        if not len(cells):
            return cells.new_zeros((0, self.length, self.width), dtype=torch.float32) + cells.float().sum() * 0
        return gather(cells, form, self.forms, read_points(anchors, form, self.length))


@RECOGNIZER_REGISTRY.register()
class AnchorRecognizer(TextRecognizer):
    """Convolution on the finest level, masked view, maps of the characters, columns along them, LSTMs, attention decoder, CTC.

    In training, and wherever annotated words are read, the anchors are the annotated characters (`gt_read_anchors`), in teacher
    and student alike; the maps learn from `gt_characters` where these were annotated. At test anchors are found on the maps. A
    word of fewer than two is read along the middle line of its box.

    Args:
        threshold: least heat of a character at test.
        radius: see :func:`~dld.modeling.recognition.anchors.heat_targets`.
        heat_weight, order_weight: of the losses of the maps.
        recognizer: see :class:`~dld.modeling.recognition.recognizer.TextRecognizer`; `pooler` is a
            :class:`~dld.modeling.poolers.view_pooler.ViewPooler`, `encoder` an :class:`AnchorEncoder`.

    Raises:
        ValueError: a value out of its range; the message names the key.
    """

    has_graph = False
    loss_units = {"loss_heat": "word", "loss_order": "word"}
    layer_groups: Mapping[str, tuple[int, int]] | None = None

    @configurable
    def __init__(
        self,
        *,
        threshold: float = 0.3,
        radius: float = 0.3,
        heat_weight: float = 1.0,
        order_weight: float = 1.0,
        **recognizer,
    ) -> None:
        super().__init__(**recognizer)
        if not 0 < threshold < 1:
            raise ValueError(f"MODEL.RECOGNITION.ANCHORS.THRESH must be in (0, 1), got {threshold}")
        if not radius > 0:
            raise ValueError(f"MODEL.RECOGNITION.ANCHORS.RADIUS must be positive, got {radius}")
        for key, value in (("HEAT_WEIGHT", heat_weight), ("ORDER_WEIGHT", order_weight)):
            if value < 0:
                raise ValueError(f"MODEL.RECOGNITION.ANCHORS.{key} must be at least 0, got {value}")
        self.threshold, self.radius = threshold, radius
        self.heat_weight, self.order_weight = heat_weight, order_weight

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        node = cfg.MODEL.RECOGNITION
        anchors = node.ANCHORS
        if anchors.COLUMNS < 2:
            raise ValueError(f"MODEL.RECOGNITION.ANCHORS.COLUMNS must be at least 2, got {anchors.COLUMNS}")
        pooler = ViewPooler(tuple(node.POOLER_RESOLUTION), input_shape.stride, node.POOLER_SAMPLING_RATIO)
        encoder = AnchorEncoder(node.STEM_DIM, node.WIDTH, pooler.forms, anchors.COLUMNS, node.NORM)
        make_parsimonious(cfg, "encoder", encoder.convs, node.NORM)
        return {
            **super().from_config(cfg, input_shape),
            "pooler": pooler,
            "encoder": encoder,
            "threshold": anchors.THRESH,
            "radius": anchors.RADIUS,
            "heat_weight": anchors.HEAT_WEIGHT,
            "order_weight": anchors.ORDER_WEIGHT,
        }

    def annotated_features(
        self, level: torch.Tensor, words: list[Instances], photos: Photos | None = None
    ) -> RecognitionFeatures:
        """Compute RoI and context features along the annotated characters of N images' words.

        Args:
            level: finest pyramid level (N, C, H/4, W/4).
            words: of each image, with `gt_read_boxes`, `gt_masks`, `gt_view` and `gt_read_anchors`.
            photos: not used.

        Returns:
            features whose `roi` are the masked views (R, C, S, S).

        Raises:
            ValueError: the words have no characters.
        """
        if not all(x.has("gt_read_anchors") for x in words):
            raise ValueError(
                f"words have no characters: INPUT.CHARACTERS must be at least MODEL.RECOGNITION.MAX_LENGTH, {self.max_length}"
            )
        boxes, form = [x.gt_read_boxes.tensor for x in words], torch.cat([x.gt_view for x in words])
        every = torch.cat(boxes)
        masks = self.pooler.polygon_masks(PaddedPolygons.cat([x.gt_masks for x in words]), every, form)
        roi = self.pooler(self.stem(level), boxes, masks, form)
        cells, maps = self.encoder(roi, form)
        anchors = Anchors.of(torch.cat([x.gt_read_anchors.points for x in words]), every)
        columns = self.encoder.columns(cells, form, anchors)
        return RecognitionFeatures(roi, self.encoder.contextualize(columns), columns, maps=maps)

    def map_losses(self, maps: torch.Tensor, words: list[Instances]) -> dict[str, torch.Tensor]:
        """Return `loss_heat` and `loss_order` of annotated words, means over all R of them; a word whose characters nobody
        annotated adds nothing.

        Args:
            maps: (R, 2, S, S) of `RecognitionFeatures`.
            words: of each image, with `gt_read_boxes`, `gt_view`, `gt_characters` and `gt_characters_known`.
        """
        boxes, form = torch.cat([x.gt_read_boxes.tensor for x in words]), torch.cat([x.gt_view for x in words])
        corners = torch.cat([x.gt_characters.points for x in words])
        corners = corners.view(len(corners), corners.shape[1] // 4, 4, 2)
        # no more places than the longest of these words has characters
        longest = int(corners.isfinite().flatten(2).all(-1).sum(1).max()) if len(corners) else 0
        corners = corners[:, : max(longest, 1)]
        known, forms = torch.cat([x.gt_characters_known for x in words]), self.encoder.forms
        heat = heat_targets(corners, boxes, form, forms, self.radius)
        order = order_targets(corners, boxes, form, forms)
        logits = maps.flatten(2)
        losses = {
            "loss_heat": self.heat_weight * heat_loss(logits[:, 0], heat, known),
            "loss_order": self.order_weight * order_loss(logits[:, 1], order, heat, known),
        }
        return {name: self.loss_weight * value for name, value in losses.items()}

    def found_context(self, level: torch.Tensor, boxes: list[torch.Tensor], probabilities: torch.Tensor) -> torch.Tensor:
        """Compute the context features of :meth:`found_columns`; see :meth:`TextRecognizer.found_context`."""
        return self.encoder.contextualize(self.found_columns(level, boxes, probabilities))

    def found_columns(self, level: torch.Tensor, boxes: list[torch.Tensor], probabilities: torch.Tensor) -> torch.Tensor:
        """Gather found words along the characters that their maps show, float32 (R, L, C); arguments as of `found_context`."""
        form = view_forms(torch.cat(boxes))
        views = self.pooler(level, boxes, self.pooler.predicted_masks(probabilities, form), form)
        cells, maps = self.encoder(views, form)
        anchors = find_anchors(maps, form, self.encoder.forms, self.threshold, self.max_length)
        return self.encoder.columns(cells, form, anchors)
