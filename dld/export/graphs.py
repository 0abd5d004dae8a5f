"""The parts of a spotter as modules from tensors to tensors: each becomes one ONNX graph.

A spotter is cut where the number of things changes. Non-maximum suppression, thresholds and the loop over characters stand
between the graphs: a few lines of numpy (`dld.runtime.suppression`, `dld.runtime.onnx_spotter`). Inside a graph nothing
depends on values, so that each one is traced once and serves every size.

N images, K proposals per level, R boxes or words, L encoder columns, C channels, M rows and columns of a small mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import nn

from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.decoder import AttentionDecoder, DecoderMemory, DecoderState
from dld.modeling.resolution.selector import ScaleSelector
from dld.structures.tall import is_tall

__all__ = [
    "BoxGraph",
    "CharacterGraph",
    "DetectorGraph",
    "MaskGraph",
    "ReaderGraph",
    "SelectorGraph",
    "pyramid_levels",
]


def pyramid_levels(model: TextSpottingRCNN) -> list[str]:
    """Return the names of the levels that the heads read, finest first."""
    heads = model.roi_heads
    wanted = {*heads.box_in_features, *heads.mask_in_features, heads.recognizer_feature}
    return [name for name in model.backbone.output_shape() if name in wanted]


class SelectorGraph(nn.Module):
    """Reduced normalised images of one size (N, 3, h, w) -> logits (N, S); a selector that cannot be exported says so."""

    def __init__(self, selector: ScaleSelector) -> None:
        super().__init__()
        self.selector = selector

    def forward(self, reduced: torch.Tensor) -> torch.Tensor:
        return self.selector.scores_of_reduced(reduced)


class DetectorGraph(nn.Module):
    """Normalised padded images (N, 3, H, W) -> the pyramid levels that the heads read, and proposals before suppression.

    Proposals: boxes (N, A, 4) in pixels of the input, logits (N, A), and the level (A,) of each; A = K x levels.
    A level with fewer than K anchors fills up with logits of -inf.
    """

    def __init__(self, model: TextSpottingRCNN) -> None:
        super().__init__()
        self.backbone, self.rpn = model.backbone, model.proposal_generator
        self.levels = pyramid_levels(model)
        self.count = self.rpn.pre_nms_topk[False]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.backbone(images)
        rpn_features = [features[name] for name in self.rpn.in_features]
        logits, deltas = self.rpn.rpn_head(rpn_features)
        generator = self.rpn.anchor_generator
        best = [
            self._best_of_level(scores, moves, cells, stride, generator.offset)
            for scores, moves, cells, stride in zip(logits, deltas, generator.cell_anchors, generator.strides, strict=True)
        ]
        level = torch.arange(len(best)).repeat_interleave(self.count)
        boxes, scores = (torch.cat(x, 1) for x in zip(*best, strict=True))
        return (*(features[name] for name in self.levels), boxes, scores, level)

    def _best_of_level(
        self, logits: torch.Tensor, deltas: torch.Tensor, cells: torch.Tensor, stride: int, offset: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn logits (N, A, h, w), deltas (N, 4 A, h, w) of A anchors a cell into boxes (N, K, 4) and logits (N, K)."""
        N, A, _, w = logits.shape
        flat = logits.permute(0, 2, 3, 1).flatten(1)
        moves = deltas.unflatten(1, (A, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)  # (N, h w A, 4)
        # so that there are always at least K
        filled = torch.cat([flat, flat.new_full((1, self.count), -torch.inf).expand(N, -1)], 1)
        scores, index = filled.topk(self.count, dim=1)
        index = torch.minimum(index, torch.ones_like(index) * (flat.shape[1] - 1))
        moves = moves.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
        # only the anchors that won are laid out
        place = torch.div(index, A, rounding_mode="floor")
        row = torch.div(place, w, rounding_mode="floor")
        corner = (torch.stack([place - row * w, row], -1).float() + offset) * stride  # (N, K, 2)
        anchors = cells[index - place * A] + torch.cat([corner, corner], -1)
        boxes = self.rpn.box2box_transform.apply_deltas(moves.flatten(0, 1), anchors.flatten(0, 1))
        return boxes.view(N, self.count, 4), scores


class _LevelPooling(nn.Module):
    """detectron2's `ROIPooler` for boxes with a batch index: levels and rois (R, 5) -> (R, C, side, side)."""

    def __init__(self, pooler: ROIPooler) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, levels: list[torch.Tensor], rois: torch.Tensor) -> torch.Tensor:
        pooler = self.pooler
        if len(pooler.level_poolers) == 1:
            return pooler.level_poolers[0](levels[0], rois)
        level = assign_boxes_to_levels(
            [Boxes(rois[:, 1:])], pooler.min_level, pooler.max_level, pooler.canonical_box_size, pooler.canonical_level
        )
        rows = [(level == i).nonzero()[:, 0] for i in range(len(pooler.level_poolers))]
        crops = [pool(x, rois[r]) for pool, x, r in zip(pooler.level_poolers, levels, rows, strict=True)]
        return torch.cat(crops)[torch.cat(rows).argsort()]


class BoxGraph(nn.Module):
    """Pyramid levels and proposals (R, 5: image, x0, y0, x1, y1) -> scores (R,) and boxes (R, 4), before thresholds."""

    def __init__(self, model: TextSpottingRCNN) -> None:
        super().__init__()
        heads = model.roi_heads
        self.pooling, self.head, self.predictor = _LevelPooling(heads.box_pooler), heads.box_head, heads.box_predictor
        levels = pyramid_levels(model)
        self.used = [levels.index(name) for name in heads.box_in_features]

    def forward(self, *levels_and_rois: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        *levels, rois = levels_and_rois
        logits, deltas = self.predictor(self.head(self.pooling([levels[i] for i in self.used], rois)))
        boxes = self.predictor.box2box_transform.apply_deltas(deltas, rois[:, 1:])
        return logits.softmax(-1)[:, 0], boxes


class MaskGraph(nn.Module):
    """Pyramid levels and words (R, 5) -> mask probabilities (R, M, M) over each box."""

    def __init__(self, model: TextSpottingRCNN) -> None:
        super().__init__()
        heads = model.roi_heads
        self.pooling, self.head = _LevelPooling(heads.mask_pooler), heads.mask_head
        levels = pyramid_levels(model)
        self.used = [levels.index(name) for name in heads.mask_in_features]

    def forward(self, *levels_and_rois: torch.Tensor) -> torch.Tensor:
        *levels, rois = levels_and_rois
        return self.head.layers(self.pooling([levels[i] for i in self.used], rois))[:, 0].sigmoid()


class ReaderGraph(nn.Module):
    """Finest level (N, C, h, w), words (R, 5) and their masks (R, M, M) -> context (R, L, C) and attention keys."""

    def __init__(self, model: TextSpottingRCNN, mask_side: int) -> None:
        super().__init__()
        recognizer = model.roi_heads.recognizer
        self.stem, self.pooler = recognizer.stem, recognizer.pooler
        self.encoder, self.decoder = recognizer.encoder, recognizer.decoder
        H, W = self.pooler.output_size
        # adaptive average pooling is linear: two matrices, where ONNX knows only whole factors
        for name, cells in (("rows", H), ("columns", W)):
            self.register_buffer(name, F.adaptive_avg_pool1d(torch.eye(mask_side)[None], cells)[0], persistent=False)

    def forward(self, level: torch.Tensor, rois: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tall = is_tall(rois[:, 1:])
        binary = (masks > 0.5).to(level.dtype)
        binary = torch.where(tall[:, None, None], binary.transpose(1, 2), binary)
        cells = torch.matmul(torch.matmul(self.rows.transpose(0, 1), binary), self.columns)  # (R, H, W)
        features = self.stem(level)
        # both crops of every word: a choice by value would leave the graph without a fixed order of words
        lying = self.pooler.lying(features, rois)
        standing = self.pooler.standing(features, rois).transpose(2, 3)
        crops = torch.where(tall[:, None, None, None], standing, lying) * cells.unsqueeze(1)
        memory = self.decoder.prepare(self.encoder(crops))
        return memory.context, memory.keys


class CharacterGraph(nn.Module):
    """One step of greedy decoding for R words, each fed the id it read last.

    previous int64 (R,), hidden and cell (R, D), context and keys (R, L, C) -> ids int64 (R,), their probabilities (R,),
    hidden and cell.
    """

    def __init__(self, decoder: AttentionDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        previous: torch.Tensor,
        hidden: torch.Tensor,
        cell: torch.Tensor,
        context: torch.Tensor,
        keys: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        state = DecoderState(hidden.unsqueeze(1), cell.unsqueeze(1))
        logits, state = self.decoder.step(previous.unsqueeze(1), state, DecoderMemory(context, keys))
        probabilities, ids = logits[:, 0].softmax(-1).max(-1)
        return ids, probabilities, state.hidden[:, 0], state.cell[:, 0]
