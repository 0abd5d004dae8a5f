"""The parts of a `TextSpottingRCNN` as modules from tensors to tensors: each becomes one ONNX graph.

A spotter is cut where the number of things changes. Non-maximum suppression, thresholds and the loop over characters stand
between the graphs: a few lines of numpy (`dld.runtime.suppression`, `dld.runtime.onnx_spotter`). Inside a graph nothing
depends on values, so that each one is traced once and serves every size.

N images, K proposals per level, R boxes or words, L encoder columns, C channels, M rows and columns of a small mask.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import nn

from dld.modeling.graph_part import GraphPart
from dld.modeling.recognition.decoder import AttentionDecoder, DecoderMemory, DecoderState
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.strips.heights import FORMS, strip_graph
from dld.structures.tall import is_tall

__all__ = [
    "BoxGraph",
    "CharacterGraph",
    "DetectorGraph",
    "MaskGraph",
    "ReaderGraph",
    "graph_parts",
    "graph_settings",
    "pyramid_levels",
]


def pyramid_levels(model: nn.Module) -> list[str]:
    """Return the names of the levels that the heads read, finest first."""
    heads = model.roi_heads
    wanted = {*heads.box_in_features, *heads.mask_in_features, heads.recognizer_feature}
    return [name for name in model.backbone.output_shape() if name in wanted]


class DetectorGraph(nn.Module):
    """Normalised padded images (N, 3, H, W) -> the pyramid levels that the heads read, and proposals before suppression.

    Proposals: boxes (N, A, 4) in pixels of the input, logits (N, A), and the level (A,) of each; A = K x levels.
    A level with fewer than K anchors fills up with logits of -inf.
    """

    def __init__(self, model: nn.Module) -> None:
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

    def __init__(self, model: nn.Module) -> None:
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

    def __init__(self, model: nn.Module) -> None:
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

    def __init__(self, model: nn.Module, mask_side: int) -> None:
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


def graph_parts(model: nn.Module, size: tuple[int, int], images: int, noise: torch.Generator) -> dict[str, GraphPart]:
    """Return the graphs of a `TextSpottingRCNN` by name, with examples from noise; see `Spotter.graph_parts`."""
    _refuse_what_has_no_graph(model)
    heads = model.roi_heads
    if heads.num_classes != 1:
        raise ValueError(f"one class can be exported, MODEL.ROI_HEADS.NUM_CLASSES is {heads.num_classes}")
    batch = torch.randn(images, 3, *size, generator=noise)
    names = tuple(pyramid_levels(model))
    detector = DetectorGraph(model)
    outputs = (*names, "proposals", "proposal_logits", "proposal_level")
    parts = {"detector": GraphPart(detector, ("images",), outputs, (batch,))}
    levels = detector(batch)[: len(names)]
    # lying, standing, small and large: every level and both kinds of crops
    corner, side = torch.rand(8, 2, generator=noise), torch.rand(8, 2, generator=noise) ** 2
    extent = torch.tensor([size[1], size[0]])
    boxes = torch.cat([corner * extent / 2, (corner + side) * extent / 2 + 4], 1)
    regions = torch.cat([torch.arange(8).remainder(images)[:, None].float(), boxes], 1)
    parts["boxes"] = GraphPart(BoxGraph(model), (*names, "regions"), ("scores", "boxes"), (*levels, regions))
    parts["masks"] = GraphPart(MaskGraph(model), (*names, "regions"), ("masks",), (*levels, regions))
    if model.reader is not None:
        for rows in model.strip_rows:
            parts[strip_graph(rows)] = _strip_part(model.reader, rows, 2 * images, size[1] // 8 * 8, noise)
        return parts
    masks = parts["masks"].module(*levels, regions)
    reader = ReaderGraph(model, masks.shape[-1])
    read = (levels[names.index(heads.recognizer_feature)], regions, masks)
    parts["reader"] = GraphPart(reader, (heads.recognizer_feature, "regions", "masks"), ("context", "keys"), read)
    decoder = heads.recognizer.decoder
    previous = torch.arange(8).remainder(decoder.num_outputs)
    state = torch.randn(2, 8, decoder.hidden_dim, generator=noise).tanh()
    parts["characters"] = GraphPart(
        CharacterGraph(decoder),
        ("previous", "hidden", "cell", "context", "keys"),
        ("ids", "probabilities", "next_hidden", "next_cell"),
        (previous, *state, *reader(*read)),
    )
    return parts


def _refuse_what_has_no_graph(model: nn.Module) -> None:
    if model.locator is not None:
        raise ValueError(f"a {type(model.locator).__name__} cannot be exported: MODEL.STRIPS.LOCATOR.NAME must be mask")
    recognizer = model.roi_heads.recognizer
    if model.reader is None and not recognizer.has_graph:
        raise ValueError(
            f"{type(recognizer).__name__} cannot be exported: MODEL.RECOGNITION.NAME must be TextRecognizer, "
            "or READER StripRecognizer"
        )


def _strip_part(reader: StripRecognizer, rows: int, words: int, width: int, noise: torch.Generator) -> GraphPart:
    """Make the part of the reader of strips, on noise (words, 3, rows, columns of `width`). Its rows are fixed."""
    if reader.head_name != "ctc":
        raise ValueError(
            f"MODEL.STRIPS.HEAD {reader.head_name} cannot be exported, its steps depend on the word: export with HEAD ctc"
        )
    strips = torch.rand(words, 3, rows, int(FORMS[rows].columns(width)), generator=noise) * 2 - 1
    reader = copy.deepcopy(reader).to("cpu", torch.float32)
    allowed = torch.ones(reader.charset.num_outputs, dtype=torch.bool)
    axes = {"strips": {0: "words", 3: "columns"}, "allowed": {}}
    return GraphPart(reader, tuple(axes), ("ids", "probabilities"), (strips, allowed), axes)


def graph_settings(model: nn.Module) -> dict[str, Any]:
    """Return what stands between the graphs of a `TextSpottingRCNN`: levels, thresholds, and how words are read."""
    _refuse_what_has_no_graph(model)
    heads, rpn = model.roi_heads, model.proposal_generator
    predictor = heads.box_predictor
    threshold = predictor.test_score_thresh if heads.spot_threshold is None else heads.spot_threshold
    return {
        "levels": pyramid_levels(model),
        "recognizer_level": heads.recognizer_feature,
        "proposals": {
            "nms_threshold": rpn.nms_thresh,
            "count": rpn.post_nms_topk[False],
            "min_size": rpn.min_box_size,
        },
        "detections": {
            "score_threshold": threshold,
            "nms_threshold": predictor.test_nms_thresh,
            "count": predictor.test_topk_per_image,
        },
        "box_rounds": heads.box_rounds,
        "reading": _reading_settings(model),
    }


def _reading_settings(student: nn.Module) -> dict[str, Any]:
    """Return how words are read, and what that needs."""
    if student.reader is not None:
        return {
            "how": "strips",
            "min_score": float(student.min_score),
            "split_at_spaces": student.split_at_spaces,
            "rows": list(student.strip_rows),
            "most_enlarged": float(student.most_enlarged),
            "turn_below": float(student.turn_below),
            "join_pieces": student.join_pieces,
            "allow": student.reader.allowed_characters,
        }
    heads = student.roi_heads
    return {
        "how": "crops",
        "max_length": heads.recognizer.max_length,
        "words_per_chunk": heads.words_per_chunk,
        "state_width": heads.recognizer.decoder.hidden_dim,
        "min_text_score": student.min_text_score,
    }
