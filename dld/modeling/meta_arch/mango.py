"""The third spotter: MANGO (Qiao et al. 2021), which reads words without cropping them: cells of a grid give a map for each
character position, and what lies under the maps is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList, Instances
from detectron2.utils.logger import log_first_n
from torch import nn

from dld.config import configured_charset, distils
from dld.modeling.flops import empty_image, run_decoding
from dld.modeling.graph_part import GraphPart
from dld.modeling.layers.parsimonious import check_places
from dld.modeling.losses.position_maps import category_loss, character_loss, position_loss
from dld.modeling.losses.text_maps import dice_losses
from dld.modeling.mango.grid import GridPooling
from dld.modeling.mango.heads import CharacterAttention, FindingHeads
from dld.modeling.mango.recognizer import PositionRecognizer
from dld.modeling.mango.targets import (
    AnnotatedCells,
    CharacterTargets,
    WordCells,
    annotated_cells,
    draw_characters,
    draw_finding,
)
from dld.modeling.mango.voting import RECTANGLES, cells_of_words, find_components, vote
from dld.modeling.meta_arch.found_words import held_by_outlines, words_between
from dld.modeling.meta_arch.spotter import NO_WIDTHS, Spotter, SpotterLosses
from dld.modeling.recognition.locators.locator import box_sides
from dld.modeling.recognition.recognizer import Photos, RecognitionFeatures, readable_words, trim
from dld.text.charset import Charset
from dld.utils.number_format import inference_dtype

__all__ = ["Mango"]

# its rectangles are coarse: what a detection needs to count as the word, in the protocol `mango`
FOUND_IOU = 0.1
STAGES = ("attention", "end_to_end")
# numbers in the maps of the cells that are read at once at test
CHUNK = 1 << 24
NOT_READ = "MODEL.MANGO.STAGE is attention: words are found and not read"
NOT_EXPORTED = "a Mango cannot be exported: words are made of its maps by connected components, which no graph holds"


class _Seen(NamedTuple):
    """What is computed of a level before anything is found."""

    segmentation: torch.Tensor  # logits (N, h, w)
    category: torch.Tensor  # logits (N, G, G)
    kernel_features: torch.Tensor  # (N, C, G, G)


class _Found(NamedTuple):
    """Words that were found, and the cells that are to read them."""

    words: list[Instances]
    cells: WordCells


@META_ARCH_REGISTRY.register()
class Mango(Spotter):
    """Segmentation of words' middles, a grid whose cells give maps of a word's characters, and a recogniser of positions.

    In training, `forward` returns the losses of segmentation, category, characters and reading; at test one dict per image as
    :class:`~dld.modeling.meta_arch.text_spotter.TextSpottingRCNN` does, with rectangles as outlines. Only the finest pyramid
    level is computed.

    Args:
        backbone: a pyramid with `finest`.
        pooling: makes the level a grid.
        finder: segmentation and category.
        attention: maps of characters.
        recognizer: reads what lies under them.
        pixel_mean, pixel_std: BGR.
        stage: "attention": reading is neither trained nor done, and what is found has no text; "end_to_end".
        weights: of the losses: segmentation, category, character; 0 for characters where nobody annotated them.
        loss_weight: of the loss of reading.
        thresholds: least probability of a cell of the segmentation, and of one of the grid.
        least_cells: components of no more cells are noise.
        rectangles: see :func:`~dld.modeling.mango.voting.find_components`.
        least_score: of a word.
        most_words: of an image.
        cells_per_word: how many cells read a word, for the cost.
        recognition_only: train backbone, attention and reading alone.
        channels_last, inference_dtype, min_text_score: see :class:`~dld.modeling.meta_arch.text_spotter.TextSpottingRCNN`.

    Raises:
        ValueError: a value out of its range; the message names the key.
    """

    loss_units = {"loss_rec": "step"}

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        pooling: GridPooling,
        finder: FindingHeads,
        attention: CharacterAttention,
        recognizer: PositionRecognizer,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        stage: str = "end_to_end",
        weights: Mapping[str, float] | None = None,
        loss_weight: float = 1.0,
        thresholds: Sequence[float] = (0.5, 0.5),
        least_cells: int = 8,
        rectangles: str = "shrunk",
        least_score: float = 0.0,
        most_words: int = 100,
        cells_per_word: int = 2,
        recognition_only: bool = False,
        channels_last: bool = False,
        inference_dtype: torch.dtype | None = None,
        min_text_score: float = 0.0,
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        if len(thresholds) != 2 or not all(0 < x <= 1 for x in thresholds):
            raise ValueError(f"MODEL.MANGO.THRESHOLDS must be two numbers in (0, 1], got {list(thresholds)}")
        for key, value, known in (("STAGE", stage, STAGES), ("RECTANGLES", rectangles, RECTANGLES)):
            if value not in known:
                raise ValueError(f"MODEL.MANGO.{key} must be one of {', '.join(known)}, got {value!r}")
        self.weights = {"segmentation": 1.0, "category": 1.0, "character": 3.0, **(weights or {})}
        at_least = {f"{name.upper()}_WEIGHT": (value, 0) for name, value in self.weights.items()}
        at_least |= {"LEAST_CELLS": (least_cells, 0), "CELLS_PER_WORD": (cells_per_word, 1)}
        for key, (number, least) in at_least.items():
            if number < least:
                raise ValueError(f"MODEL.MANGO.{key} must be at least {least}, got {number:g}")
        for key, value in {"MANGO": least_score, "RECOGNITION": min_text_score}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"MODEL.{key}.SCORE_THRESH_TEST must be in [0, 1], got {value}")
        self.backbone, self.pooling, self.finder = backbone, pooling, finder
        self.attention, self.recognizer = attention, recognizer
        self.stage, self.loss_weight = stage, loss_weight
        if stage == "attention" and not self.weights["character"] > 0:
            raise ValueError("MODEL.MANGO.CHARACTER_WEIGHT must be positive where MODEL.MANGO.STAGE is attention")
        self.thresholds, self.least_cells, self.rectangles = tuple(thresholds), least_cells, rectangles
        self.least_score, self.most_words, self.cells_per_word = least_score, most_words, cells_per_word
        self.recognition_only, self.channels_last, self.inference_dtype = recognition_only, channels_last, inference_dtype
        self.min_text_score = min_text_score
        # what is never computed gets no gradient, for which distributed training would wait in vain
        unused = [*backbone.output_convs[:-1], *([finder] if recognition_only else []), *([] if self.reads else [recognizer])]
        for module in unused:
            module.requires_grad_(False)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        if cfg.MODEL.PRUNED_WIDTHS:
            raise ValueError(f"Mango {NO_WIDTHS}")
        node, reading, strips = cfg.MODEL.MANGO, cfg.MODEL.RECOGNITION, cfg.MODEL.STRIPS
        for key, value, wanted, why in (
            ("RECOGNITION.NAME", reading.NAME, "TextRecognizer", ""),
            ("RECOGNITION.IN_FEATURE", reading.IN_FEATURE, "p2", ""),
            ("RECOGNITION.READER", reading.READER, "", ": its rectangles are too coarse for strips"),
            ("RECOGNITION.CTC_WEIGHT", reading.CTC_WEIGHT, 0, ": its positions need no alignment"),
            ("STRIPS.LOCATOR.NAME", strips.LOCATOR.NAME, "mask", ": a word has no sides"),
        ):
            if value != wanted:
                raise ValueError(f"MODEL.{key} must be {wanted!r} in a Mango{why}, got {value!r}")
        if distils(cfg) and node.STAGE != "end_to_end":
            raise ValueError(f"MODEL.MANGO.STAGE must be end_to_end to teach or to be taught, got {node.STAGE!r}")
        backbone = build_backbone(cfg)
        if not hasattr(backbone, "finest"):
            raise ValueError(f"MODEL.BACKBONE.NAME must be a pyramid that can stop at P2, not {cfg.MODEL.BACKBONE.NAME}")
        check_places(cfg, {"fpn": backbone})
        level: ShapeSpec = backbone.output_shape()["p2"]
        positions, tower = reading.MAX_LENGTH + 1, {"convs": node.CONVS, "groups": node.GROUPS}
        return {
            "backbone": backbone,
            "pooling": GridPooling(node.GRID, node.GRID_POOLING, level.stride),
            "finder": FindingHeads(level.channels, node.GROUPS, node.BLOCK_GROUPS, node.CATEGORY_PRIOR),
            "attention": CharacterAttention(level.channels, positions, stride=level.stride, **tower),
            "recognizer": PositionRecognizer(
                level.channels,
                reading.WIDTH,
                node.FC_DIM,
                configured_charset(cfg),
                reading.MAX_LENGTH,
                fusion=node.FUSION,
                **tower,
            ),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "stage": node.STAGE,
            "weights": {name: node[f"{name.upper()}_WEIGHT"] for name in ("segmentation", "category", "character")},
            "loss_weight": reading.LOSS_WEIGHT,
            "thresholds": node.THRESHOLDS,
            "least_cells": node.LEAST_CELLS,
            "rectangles": node.RECTANGLES,
            "least_score": node.SCORE_THRESH_TEST,
            "most_words": cfg.TEST.DETECTIONS_PER_IMAGE,
            "cells_per_word": node.CELLS_PER_WORD,
            "recognition_only": reading.ONLY,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
            "inference_dtype": inference_dtype(cfg.MODEL.INFERENCE_DTYPE, cfg.MODEL.DEVICE),
            "min_text_score": reading.SCORE_THRESH_TEST,
        }

    @property
    def reads(self) -> bool:
        """Whether reading is trained and done."""
        return self.stage == "end_to_end"

    @property
    def charset(self) -> Charset:
        return self.recognizer.charset

    @property
    def max_length(self) -> int:
        return self.recognizer.max_length

    @property
    def decoder(self) -> nn.Module:
        return self.recognizer.decoder

    def losses(
        self,
        images: ImageList,
        targets: list[Instances],
        seeds: list[int | None] | None = None,
        photos: Photos | None = None,
    ) -> SpotterLosses:
        """Compute every loss; see :meth:`Spotter.losses`. Distillation compares the one cell that holds most of a word's
        middle.

        Raises:
            ValueError: the words have no sides, or no characters where these are learned.
        """
        level, sizes = self.backbone.finest(images.tensor), images.image_sizes
        words, losses = readable_words(targets), {}
        grid = self.pooling(level, sizes)
        if not self.recognition_only:
            losses.update(self._finding_losses(level, grid, targets, sizes))
        characters = None
        if self.weights["character"] > 0:
            stride, positions = self.attention.stride, self.attention.positions
            characters = draw_characters(words, sizes, positions, self.charset.pad, stride)
        kernel_features = self.attention.kernel_features(grid)
        reading, found = self._read_annotated(level, kernel_features, targets, sizes, characters, all_cells=True)
        losses.update(found)
        return SpotterLosses(losses, reading, words, {})

    def _finding_losses(self, level, grid, targets, sizes) -> dict[str, torch.Tensor]:
        drawn = draw_finding(targets, sizes, tuple(level.shape[-2:]), self.pooling.grid, self.pooling.stride)
        segmentation, category = self.finder.segment(level), self.finder.categorize(grid)
        with torch.autocast(level.device.type, enabled=False):
            dice = dice_losses(segmentation.sigmoid()[:, None], drawn.segmentation[:, None], drawn.segmentation_weights)
            entropy = category_loss(category, drawn.category, drawn.category_weights)
        return {
            "loss_segmentation": self.weights["segmentation"] * dice[0],
            "loss_category": self.weights["category"] * entropy,
        }

    def _read_annotated(
        self,
        level: torch.Tensor,
        kernel_features: torch.Tensor,
        targets: list[Instances],
        sizes: Sequence[tuple[int, int]],
        characters: CharacterTargets | None = None,
        all_cells: bool = False,
    ) -> tuple[RecognitionFeatures | None, dict[str, torch.Tensor]]:
        """Read annotated words at the cells that were chosen for them; features are None in the stage without reading.

        Args:
            characters: what the maps should be; None: they are not learned.
            all_cells: read all cells of each word, and return the losses of maps and reading.
        """
        annotated: AnnotatedCells = annotated_cells(targets, self.pooling.grid)
        cells, own, chosen = annotated
        if not all_cells:
            cells, own, chosen = cells.at(chosen), own[chosen], torch.arange(len(chosen), device=chosen.device)
        features = self.attention.features(level, sizes)
        fused = self.recognizer.tower(level) if self.reads else None
        kernels = self.attention.kernels(kernel_features, cells.image, cells.cell)
        # a batch without words keeps every weight in the graph
        gathered = [kernels[:0] + (features.sum() * 0 if fused is None else (features.sum() + fused.sum()) * 0)]
        dice = [gathered[0].sum() + kernels.sum() * 0]
        for i, index, maps in self._maps(features, kernels, cells, sizes):
            if characters is not None:
                learning = index[own[index]]
                dice.append(character_loss(maps[own[index]], cells.word[learning], characters))
            if fused is not None:
                gathered.append(self.recognizer.gather(maps, self.attention.of_image(fused, i, sizes[i])))
        losses = {}
        if characters is not None and all_cells:
            losses["loss_characters"] = self.weights["character"] * sum(dice) / len(sizes)
        if fused is None:
            return None, losses
        positions = torch.cat(gathered)
        context = self.recognizer.contextualize(positions)
        if all_cells:
            texts = trim(torch.cat([x.gt_text[x.gt_readable] for x in targets]), self.charset.pad)
            logits = self.decoder.logits(context)[:, : texts.shape[1]]
            loss = position_loss(logits, texts, cells.word, own, self.charset.pad)
            losses["loss_rec"] = self.loss_weight * loss
        return RecognitionFeatures(positions[chosen], context[chosen]), losses

    def _maps(
        self,
        features: torch.Tensor,
        kernels: torch.Tensor,
        cells: WordCells,
        sizes: Sequence[tuple[int, int]],
        numbers: int | None = None,
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield image, places among the cells and maps (K', L, P) of the cells of one image after another, no more than
        `numbers` numbers at once."""
        for i, size in enumerate(sizes):
            index = (cells.image == i).nonzero()[:, 0]
            if not len(index):
                continue
            own = self.attention.of_image(features, i, size)
            most = len(index) if numbers is None else max(numbers // (self.attention.positions * own.shape[1]), 1)
            for part in index.split(most):
                yield i, part, self.attention.maps(own, kernels[part])

    def recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, list[Instances]]:
        """Compute recognition features of annotated words, each at one cell, without finding anything.

        Returns:
            `roi` (R, L, C), what was gathered of the positions, and `context` (R, L, D).
        """
        level, sizes = self.backbone.finest(images.tensor), images.image_sizes
        kernel_features = self.attention.kernel_features(self.pooling(level, sizes))
        return self._reading_of(level, kernel_features, targets, sizes), readable_words(targets)

    def _reading_of(self, level, kernel_features, targets, sizes) -> RecognitionFeatures:
        reading, _ = self._read_annotated(level, kernel_features, targets, sizes)
        if reading is None:
            raise ValueError("MODEL.MANGO.STAGE attention reads nothing: end_to_end does")
        return reading

    @torch.no_grad()
    def find_and_recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, torch.Tensor]:
        """Compute recognition features of annotated words, and which of these a rectangle kept at test holds (IoU of at least
        0.1)."""
        level, sizes = self.backbone.finest(images.tensor), images.image_sizes
        seen = self.look(level, sizes)
        kept = self.find_words(seen.segmentation, seen.category, sizes).words
        found = [held_by_outlines(x, y.pred_sides, FOUND_IOU) for x, y in zip(readable_words(targets), kept, strict=True)]
        return self._reading_of(level, seen.kernel_features, targets, sizes), torch.cat(found)

    def look(self, level: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> _Seen:
        """Compute what is computed of a level (N, C, h, w) whatever it shows: segmentation, category, and what kernels are made
        of."""
        segmentation, grid = self.finder.segment(level), self.pooling(level, sizes)
        return _Seen(segmentation, *self._look_at_grid(grid))

    def _look_at_grid(self, grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.finder.categorize(grid), self.attention.kernel_features(grid)

    def find_words(self, segmentation: torch.Tensor, category: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> _Found:
        """Find the words of N images, surest first, with `pred_sides` (R_i, 2, 2, 2) of rectangles, `pred_boxes`, `scores` and
        `pred_classes`; and the cells that read them."""
        device, grid = segmentation.device, self.pooling.grid
        probabilities = segmentation.sigmoid().cpu().numpy()
        active = category.sigmoid().flatten(1).cpu().numpy()
        words, overlaps = [], []
        for own, size in zip(probabilities, sizes, strict=True):
            found = find_components(own, size, grid, self.thresholds[0], self.least_cells, self.rectangles, self.pooling.stride)
            order = (-found.scores).argsort(kind="stable")[: self.most_words]
            order = order[found.scores[order] >= self.least_score]
            sides, scores = (torch.from_numpy(x[order]).to(device) for x in (found.sides, found.scores))
            words.append(words_between(sides, scores, size))
            overlaps.append(found.overlap[order])
        cells = cells_of_words(overlaps, active, self.thresholds[1])
        return _Found(words, WordCells(*(torch.from_numpy(x).to(device) for x in cells)))

    def spot(self, images: ImageList) -> list[Instances]:
        """Find words in a normalised, padded batch, in pixels of that batch; `spotting_postprocess` says what is in them."""
        sizes, reduced = images.image_sizes, self.inference_dtype is not None
        with torch.autocast(images.tensor.device.type, self.inference_dtype, enabled=reduced):
            level = self.backbone.finest(images.tensor)
            seen = self.look(level, sizes)
            found = self.find_words(seen.segmentation, seen.category, sizes)
            return self._read_found(level, seen.kernel_features, found, sizes)

    def _read_found(self, level: torch.Tensor, kernel_features: torch.Tensor, found: _Found, sizes) -> list[Instances]:
        """Add `pred_ids` (R, L) and `pred_id_scores` (R, L); words are empty in the stage without reading."""
        words, cells = found
        if not self.reads:
            log_first_n(logging.WARNING, NOT_READ, name=__name__, key="message")
        counts = [len(x) for x in words]
        R, L = sum(counts), self.attention.positions
        ids = torch.full((R, L), self.charset.end, dtype=torch.int64, device=level.device)
        scores = torch.ones((R, L), device=level.device)
        if R and self.reads:
            features, fused = self.attention.features(level, sizes), self.recognizer.tower(level)
            kernels = self.attention.kernels(kernel_features, cells.image, cells.cell)
            gathered = [
                self.recognizer.gather(maps, self.attention.of_image(fused, i, sizes[i]))
                for i, _, maps in self._maps(features, kernels, cells, sizes, CHUNK)
            ]
            context = self.recognizer.contextualize(torch.cat(gathered))
            ids, scores = vote(self.decoder.logits(context).float().softmax(-1), cells, R, self.charset.end)
        for x, i, s in zip(words, ids.split(counts), scores.split(counts), strict=True):
            x.pred_ids, x.pred_id_scores = i, s
        return words

    def run_parts(
        self,
        image_size: tuple[int, int],
        words: int,
        steps: int,
        run: Callable[[str, Callable[[], Any]], Any],
        proposals: int | None = None,
    ) -> None:
        """Run backbone, top-down path, heads and reading; see :meth:`Spotter.run_parts`. All words are read at one cell."""
        image, sizes, attention, recognizer = empty_image(self, image_size), [image_size], self.attention, self.recognizer
        level = run("trunk", lambda: self.backbone.finest(image))
        run("rpn", lambda: self.finder.segment(level))
        grid = run("rpn", lambda: self.pooling(level, sizes))
        _, kernel_features = run("boxes", lambda: self._look_at_grid(grid))
        if not (words and self.reads):
            return
        K = words * self.cells_per_word
        at = torch.zeros(K, dtype=torch.int64, device=self.device)
        cells = WordCells(at, at, torch.arange(K, device=self.device) // self.cells_per_word, torch.ones(K, device=self.device))
        features = run("stem", lambda: attention.features(level, sizes))
        fused = run("stem", lambda: recognizer.tower(level))
        kernels = run("recognition", lambda: attention.kernels(kernel_features, cells.image, cells.cell))

        def gather() -> torch.Tensor:
            parts = self._maps(features, kernels, cells, sizes, CHUNK)
            return torch.cat([recognizer.gather(maps, attention.of_image(fused, i, sizes[i])) for i, _, maps in parts])

        gathered = run("attention", gather)
        context = run("recognition", lambda: recognizer.contextualize(gathered))
        memory = run("recognition", lambda: recognizer.decoder.prepare(context))
        run("decoding", lambda: run_decoding(recognizer.decoder, memory, K, min(steps, attention.positions)))

    def timed_calls(self) -> list[tuple[str, Any, str]]:
        """Return the calls of the stages; "proposals" is what is computed whatever there is to see, "boxes" are the words
        found."""
        return [
            ("backbone+FPN", self.backbone, "finest"),
            ("proposals", self, "look"),
            ("boxes", self, "find_words"),
            ("recognition", self, "_read_found"),
            ("post-processing", self, "postprocess"),
        ]

    @contextmanager
    def reading_given_words(self, given: dict[str, Any], steps: int) -> Iterator[None]:
        """Put the given boxes in the place of what is found, each with `cells_per_word` times the cell at its middle; see
        :meth:`Spotter.reading_given_words`. All positions are read at once, whatever `steps` says, and words are cut there."""
        find_words, read_found, grid = self.find_words, self._read_found, self.pooling.grid

        def find(segmentation: torch.Tensor, category: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> _Found:
            others = find_words(segmentation, category, sizes).words[1:]
            height, width = sizes[0]
            zoom = torch.tensor([width / given["size"][1], height / given["size"][0]] * 2, device=self.device)
            sides = box_sides(given["boxes"].to(self.device) * zoom, 2)
            middle = sides.mean((1, 2)) / torch.tensor([width, height], device=self.device) * grid
            column, row = middle.long().clamp(0, grid - 1).unbind(1)
            word = torch.arange(len(sides), device=self.device).repeat_interleave(self.cells_per_word)
            cells = WordCells(torch.zeros_like(word), (row * grid + column)[word], word, torch.ones_like(word).float())
            scores = torch.ones(len(sides), device=self.device)
            nothing = [x[:0] for x in others]
            return _Found([words_between(sides, scores, sizes[0]), *nothing], cells)

        def read(*arguments) -> list[Instances]:
            words = read_found(*arguments)
            for x in words:
                x.pred_ids[:, steps - 1 :], x.pred_id_scores[:, steps - 1 :] = self.charset.end, 1.0
            return words

        self.find_words, self._read_found = find, read
        try:
            yield
        finally:
            del self.find_words, self._read_found

    def reading_step(self, images: ImageList, targets: list[Instances]) -> Callable[[], dict[str, torch.Tensor]]:
        with torch.no_grad():
            level = self.backbone.finest(images.tensor)
        if not self.reads:
            return super().reading_step(images, targets)

        def losses() -> dict[str, torch.Tensor]:
            own = level.detach().requires_grad_()
            kernel_features = self.attention.kernel_features(self.pooling(own, images.image_sizes))
            return self._read_annotated(own, kernel_features, targets, images.image_sizes, all_cells=True)[1]

        return losses

    def graph_parts(self, size: tuple[int, int], images: int, noise: torch.Generator) -> dict[str, GraphPart]:
        """Raise ValueError: dld.runtime has no part that makes words of maps."""
        raise ValueError(NOT_EXPORTED)

    def graph_settings(self) -> dict[str, Any]:
        """Raise ValueError, as :meth:`graph_parts`."""
        raise ValueError(NOT_EXPORTED)
