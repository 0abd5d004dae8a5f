"""The second spotter: Text Perceptron (Qiao et al. 2020), which finds words on maps and straightens the features between their
sides: no proposals, no suppression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList, Instances
from torch import nn

from dld.modeling.flops import empty_image, run_decoding, run_strips
from dld.modeling.graph_part import GraphPart
from dld.modeling.layers.parsimonious import check_places
from dld.modeling.losses.text_maps import dice_losses, offset_losses
from dld.modeling.meta_arch.found_words import held_by_outlines, words_between
from dld.modeling.meta_arch.spotter import FOUND_IOU, NO_WIDTHS, Spotter, SpotterLosses, WordsToRead
from dld.modeling.meta_arch.strip_words import photo_of, size_of
from dld.modeling.perceptron.heads import KINDS, MapHeads, Maps
from dld.modeling.perceptron.map_targets import MapTargets, draw_targets
from dld.modeling.perceptron.points import annotated_cells, cell_classes, find_cells, word_points
from dld.modeling.perceptron.spline_recognizer import SplineRecognizer
from dld.modeling.poolers.channels_last_roi_align import float_level
from dld.modeling.postprocess import outlined_boxes
from dld.modeling.recognition.annotated_strips import annotated_sides
from dld.modeling.recognition.locators.locator import box_sides
from dld.modeling.recognition.recognizer import Photos, RecognitionFeatures, readable_words
from dld.modeling.recognition.strip_recognizer import StripRecognizer, build_strip_recognizer
from dld.strips.heights import MOST_ENLARGED, STRIP_ROWS
from dld.strips.rules import ReadingRules
from dld.text.charset import Charset
from dld.utils.number_format import inference_dtype

__all__ = ["TextPerceptron"]

# samples of a cell and direction by MODEL.TEXT_PERCEPTRON.MAPS
MAPS = {"share": 4, "pixel": 1}
READ_POINTS = ("annotated", "regressed")
NOT_EXPORTED = "a TextPerceptron cannot be exported: words are made of its maps by connected components, which no graph holds"
OFFSET_LOSSES = ("loss_head_offsets", "loss_tail_offsets", "loss_outline_offsets")


@META_ARCH_REGISTRY.register()
class TextPerceptron(Spotter):
    """Maps of head, centre, tail and boundary of words, the points of their sides from offsets, and a recogniser between these.

    In training, `forward` returns the losses of maps, offsets and recognition. At test it returns one dict per image as
    :class:`~dld.modeling.meta_arch.text_spotter.TextSpottingRCNN` does. Only the finest pyramid level is computed.

    Args:
        backbone: a pyramid with `finest`.
        heads: its maps.
        recognizer: reads between sides.
        pixel_mean, pixel_std: BGR.
        points: n of each side.
        samples: see :func:`~dld.modeling.perceptron.map_targets.draw_targets`.
        regressed: read annotated words in training between the points that the offsets give, not the annotated ones.
        weights: of the losses of the maps: segmentation, corner, outline.
        thresholds, contact_share, least_score: see MODEL.TEXT_PERCEPTRON.
        most_words: of an image.
        words_per_chunk: largest number of words read at once at test, which bounds memory.
        recognition_only: train backbone and recogniser alone.
        reader: reads the words at test from strips of the photo; None: the recogniser reads. It is no submodule.
        rules: how strips become words.
        expected_strip_width: padded columns of the strip of a word of which nothing is known yet.
        channels_last, inference_dtype, min_text_score: see :class:`~dld.modeling.meta_arch.text_spotter.TextSpottingRCNN`.

    Raises:
        ValueError: a value out of its range; the message names the key.
    """

    loss_units = {"loss_rec": "step", "loss_ctc": "word"}
    weights_elsewhere = {"roi_heads.recognizer.": "recognizer."}

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: MapHeads,
        recognizer: SplineRecognizer,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        points: int = 7,
        samples: int = 4,
        regressed: bool = False,
        weights: Mapping[str, float] | None = None,
        thresholds: Sequence[float] = (0.35, 0.45, 0.45, 0.35),
        contact_share: float = 0.6,
        least_score: float = 0.35,
        most_words: int = 100,
        words_per_chunk: int = 256,
        recognition_only: bool = False,
        channels_last: bool = False,
        inference_dtype: torch.dtype | None = None,
        min_text_score: float = 0.0,
        reader: StripRecognizer | None = None,
        rules: ReadingRules | None = None,
        expected_strip_width: int = 160,
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        if points < 2:
            raise ValueError(f"MODEL.TEXT_PERCEPTRON.POINTS must be at least 2, got {points}")
        if len(thresholds) != len(KINDS) or not all(0 < x <= 1 for x in thresholds):
            raise ValueError(f"MODEL.TEXT_PERCEPTRON.THRESHOLDS must be four numbers in (0, 1], got {list(thresholds)}")
        shares = {"TEXT_PERCEPTRON.CONTACT_SHARE": contact_share, "TEXT_PERCEPTRON.SCORE_THRESH_TEST": least_score}
        for key, value in {**shares, "RECOGNITION.SCORE_THRESH_TEST": min_text_score}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"MODEL.{key} must be in [0, 1], got {value}")
        self.backbone, self.heads, self.recognizer = backbone, heads, recognizer
        self.points, self.samples, self.regressed = points, samples, regressed
        self.weights = {"segmentation": 1.0, "corner": 0.1, "outline": 0.01, **(weights or {})}
        for name, weight in self.weights.items():
            if weight < 0:
                raise ValueError(f"MODEL.TEXT_PERCEPTRON.{name.upper()}_WEIGHT must be at least 0, got {weight:g}")
        self.thresholds, self.contact_share, self.least_score = tuple(thresholds), contact_share, least_score
        self.most_words, self.words_per_chunk = most_words, words_per_chunk
        self.recognition_only, self.channels_last, self.inference_dtype = recognition_only, channels_last, inference_dtype
        self.min_text_score, self.expected_strip_width = min_text_score, expected_strip_width
        self._reader = [] if reader is None else [reader.compute_in(inference_dtype)]  # in a list: not a submodule
        self.rules = ReadingRules() if rules is None else rules
        # what is never computed gets no gradient, for which distributed training would wait in vain
        for module in (*backbone.output_convs[:-1], *([heads] if recognition_only else [])):
            module.requires_grad_(False)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        node, reading, strips = cfg.MODEL.TEXT_PERCEPTRON, cfg.MODEL.RECOGNITION, cfg.MODEL.STRIPS
        if reading.NAME != "TextRecognizer":
            raise ValueError(f"MODEL.RECOGNITION.NAME must be TextRecognizer in a TextPerceptron, got {reading.NAME!r}")
        if strips.LOCATOR.NAME != "mask":
            raise ValueError(
                f"MODEL.STRIPS.LOCATOR.NAME must be mask: a TextPerceptron finds sides itself, got {strips.LOCATOR.NAME!r}"
            )
        if cfg.MODEL.PRUNED_WIDTHS:
            raise ValueError(f"TextPerceptron {NO_WIDTHS}")
        for key, known in (("MAPS", MAPS), ("READ_POINTS", READ_POINTS)):
            if node[key] not in known:
                raise ValueError(f"MODEL.TEXT_PERCEPTRON.{key} must be one of {', '.join(known)}, got {node[key]!r}")
        backbone = build_backbone(cfg)
        if not hasattr(backbone, "finest"):
            raise ValueError(f"MODEL.BACKBONE.NAME must be a pyramid that can stop at P2, not {cfg.MODEL.BACKBONE.NAME}")
        level: ShapeSpec = backbone.output_shape()["p2"]
        if reading.IN_FEATURE != "p2":
            raise ValueError(f"MODEL.RECOGNITION.IN_FEATURE must be p2 in a TextPerceptron, got {reading.IN_FEATURE!r}")
        recognizer = SplineRecognizer(cfg, level)
        check_places(cfg, {"fpn": backbone, "stem": recognizer.stem, "encoder": recognizer.encoder})
        return {
            "backbone": backbone,
            "heads": MapHeads(level.channels, node.GROUPS),
            "recognizer": recognizer,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "points": node.POINTS,
            "samples": MAPS[node.MAPS],
            "regressed": node.READ_POINTS == "regressed",
            "weights": {name: node[f"{name.upper()}_WEIGHT"] for name in ("segmentation", "corner", "outline")},
            "thresholds": node.THRESHOLDS,
            "contact_share": node.CONTACT_SHARE,
            "least_score": node.SCORE_THRESH_TEST,
            "most_words": cfg.TEST.DETECTIONS_PER_IMAGE,
            "words_per_chunk": reading.WORDS_PER_CHUNK,
            "recognition_only": reading.ONLY,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
            "inference_dtype": inference_dtype(cfg.MODEL.INFERENCE_DTYPE, cfg.MODEL.DEVICE),
            "min_text_score": reading.SCORE_THRESH_TEST,
            "reader": build_strip_recognizer(cfg),
            "rules": ReadingRules(
                min_score=strips.SCORE_THRESH,
                split=strips.SPLIT_AT_SPACES,
                join=strips.JOIN_PIECES,
                rows=strips.ROWS,
                enlarge=strips.MOST_ENLARGED,
                turn_below=strips.TURN_BELOW,
            ),
            "expected_strip_width": strips.EXPECTED_WIDTH,
        }

    @property
    def charset(self) -> Charset:
        return self.recognizer.charset

    @property
    def max_length(self) -> int:
        return self.recognizer.max_length

    @property
    def decoder(self) -> nn.Module:
        return self.recognizer.decoder

    @property
    def has_ctc_head(self) -> bool:
        return self.recognizer.ctc_head is not None

    def ctc_logits(self, features: RecognitionFeatures) -> torch.Tensor:
        return self.recognizer.ctc_logits(features) if self.has_ctc_head else super().ctc_logits(features)

    @property
    def reader(self) -> StripRecognizer | None:
        return self._reader[0] if self._reader else None

    @property
    def reading_rules(self) -> ReadingRules:
        return self.rules

    @property
    def strip_rows(self) -> tuple[int, ...]:
        """Heights at which the reader reads."""
        return tuple(self.rules.rows) if self.reader is not None else (STRIP_ROWS,)

    @property
    def most_enlarged(self) -> float:
        """See `dld.strips.heights.choose_rows`."""
        return self.rules.enlarge if self.reader is not None else MOST_ENLARGED

    def _apply(self, fn, recurse: bool = True):
        # .to() and .cuda() must reach the reader although it is no submodule
        for reader in self._reader:
            reader._apply(fn)
        return super()._apply(fn, recurse)

    def losses(
        self,
        images: ImageList,
        targets: list[Instances],
        seeds: list[int | None] | None = None,
        photos: Photos | None = None,
    ) -> SpotterLosses:
        """Compute every loss; see :meth:`Spotter.losses`.

        Raises:
            ValueError: the words have no sides.
        """
        level, losses = self.backbone.finest(images.tensor), {}
        words = readable_words(targets)
        if self.recognition_only:
            reading = self._read_annotated(level, words)
        else:
            self._check_sides(targets)
            maps = self.heads(level)
            drawn = draw_targets(
                targets, images.image_sizes, tuple(level.shape[-2:]), self.recognizer.pooler.stride, self.samples, seeds
            )
            losses.update(self._map_losses(maps, drawn))
            sides = self._regressed_sides(maps, drawn, targets) if self.regressed else None
            reading = self._read_annotated(level, words, sides)
        losses.update(self.recognizer.losses(reading, torch.cat([x.gt_text for x in words])))
        return SpotterLosses(losses, reading, words)

    def _check_sides(self, targets: list[Instances]) -> None:
        sides = [x.gt_fiducials.points.shape[1] // 2 if x.has("gt_fiducials") else 0 for x in targets if len(x)]
        if any(n != self.points for n in sides):
            raise ValueError(
                f"words have sides of {sides[0]} points: INPUT.SIDE_POINTS must be MODEL.TEXT_PERCEPTRON.POINTS, {self.points}"
            )

    def _map_losses(self, maps: Maps, drawn: MapTargets) -> dict[str, torch.Tensor]:
        with torch.autocast(maps.logits.device.type, enabled=False):
            dice = dice_losses(maps.logits.sigmoid(), drawn.masks, drawn.weights)
            offsets = offset_losses(maps.offsets, drawn.offsets, drawn.offset_weights)
        factors = [self.weights[name] for name in ("corner", "corner", "outline")]
        losses = {f"loss_{kind}": self.weights["segmentation"] * x for kind, x in zip(KINDS, dice, strict=True)}
        losses.update({name: f * x for name, f, x in zip(OFFSET_LOSSES, factors, offsets, strict=True)})
        return losses

    def _regressed_sides(self, maps: Maps, drawn: MapTargets, targets: list[Instances]) -> torch.Tensor:
        """Return the sides of the readable words that the offsets give on the annotated cells, with gradients.

        A word with too few cells has its annotated sides.
        """
        counts = torch.tensor([len(x) for x in targets])
        image = torch.repeat_interleave(torch.arange(len(targets)), counts).to(self.device)
        found, whole = word_points(maps, annotated_cells(drawn, image), self.points, self.recognizer.pooler.stride)
        readable = torch.cat([x.gt_readable for x in targets])
        sides = annotated_sides(readable_words(targets))
        if not len(sides):
            return sides
        return torch.where(whole[readable][:, None, None, None], found[readable], sides)

    def _read_annotated(
        self, level: torch.Tensor, words: list[Instances], sides: torch.Tensor | None = None
    ) -> RecognitionFeatures:
        """Read words of each image between their annotated sides, or between `sides` (R, 2, n, 2)."""
        if sides is None:
            return self.recognizer.annotated_features(level, words)
        counts = torch.tensor([len(x) for x in words])
        image = torch.repeat_interleave(torch.arange(len(words)), counts).to(level.device)
        return self.recognizer.features_between(level, sides, image)

    def recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, list[Instances]]:
        """Compute recognition features between annotated sides through backbone, top-down path and recogniser only."""
        words = readable_words(targets)
        return self._read_annotated(self.backbone.finest(images.tensor), words), words

    @torch.no_grad()
    def find_and_recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, torch.Tensor]:
        """Compute recognition features between annotated sides, and which words an outline kept at test holds (IoU of at
        least 0.5)."""
        level, words = self.backbone.finest(images.tensor), readable_words(targets)
        kept = self.find_words(self.heads(level), images.image_sizes)
        found = [held_by_outlines(x, y.pred_sides, FOUND_IOU) for x, y in zip(words, kept, strict=True)]
        return self._read_annotated(level, words), torch.cat(found)

    def find_words(self, maps: Maps, sizes: Sequence[tuple[int, int]]) -> list[Instances]:
        """Find the words on the maps of N images, surest first, with `pred_sides` (R_i, 2, n, 2), `pred_boxes`, `scores` (mean
        probability of the centre's cells) and `pred_classes`."""
        stride = self.recognizer.pooler.stride
        probabilities = maps.logits.sigmoid()
        cells = find_cells(cell_classes(probabilities, self.thresholds, sizes, stride), self.contact_share)
        sides, whole = word_points(maps, cells, self.points, stride)
        center = cells.kind == 1
        count = torch.bincount(cells.word[center], minlength=len(sides)).clamp(min=1)
        at = cells.image[center], 0, cells.row[center], cells.column[center]
        scores = sides.new_zeros(len(sides)).index_add(0, cells.word[center], probabilities[at]) / count
        results = []
        for i, size in enumerate(sizes):
            own = ((cells.images == i) & whole & (scores >= self.least_score)).nonzero()[:, 0]
            own = own[scores[own].argsort(descending=True, stable=True)[: self.most_words]]
            results.append(words_between(sides[own], scores[own], size))
        return results

    def spot(self, images: ImageList) -> list[Instances]:
        """Find words in a normalised, padded batch, in pixels of that batch; `spotting_postprocess` says what is in them."""
        reduced = self.inference_dtype is not None
        with torch.autocast(images.tensor.device.type, self.inference_dtype, enabled=reduced):
            level = self.backbone.finest(images.tensor)
            found = self.find_words(self.heads(level), images.image_sizes)
            return found if self.reader is not None else self._read_found(level, found)

    def _read_found(self, level: torch.Tensor, found: list[Instances]) -> list[Instances]:
        """Add `pred_ids` (R, T) and `pred_id_scores` (R, T)."""
        counts, recognizer = [len(x) for x in found], self.recognizer
        sides = torch.cat([x.pred_sides for x in found])
        R, T = len(sides), recognizer.max_length + 1
        # padding is the end id with probability 1, as after the end of a word
        ids = torch.full((R, T), recognizer.charset.end, dtype=torch.int64, device=sides.device)
        scores = torch.ones((R, T), device=sides.device)
        if R:
            stem = float_level(recognizer.stem(level))
            image = torch.repeat_interleave(torch.arange(len(found)), torch.tensor(counts)).to(sides.device)
            for chunk in torch.arange(R, device=sides.device).split(self.words_per_chunk):
                crops = recognizer.pooler(stem, sides[chunk], image[chunk])
                reading = recognizer.read(recognizer.encoder(crops))
                steps = reading.ids.shape[1]
                ids[chunk, :steps], scores[chunk, :steps] = reading.ids, reading.probabilities
        for x, i, s in zip(found, ids.split(counts), scores.split(counts), strict=True):
            x.pred_ids, x.pred_id_scores = i, s
        return found

    def words_to_read(self, results: list[Instances], batched_inputs: list[dict]) -> list[WordsToRead]:
        """Return outlines with the sides between which strips are cut; see :meth:`Spotter.words_to_read`."""
        if self.reader is None:
            return super().words_to_read(results, batched_inputs)
        wanted = []
        for result, record in zip(results, batched_inputs, strict=True):
            (height, width), photo = size_of(result, record), photo_of(record)
            found = outlined_boxes(result, height, width)
            zoom = np.array([photo.shape[1] / width, photo.shape[0] / height])
            sides = list(found.pred_sides.double().numpy() * zoom)
            outlines = [polygon * zoom for polygon in found.pred_polygons]
            wanted.append(WordsToRead(found, photo, zoom, outlines, sides, record.get("rows_price")))
        return wanted

    def run_parts(
        self,
        image_size: tuple[int, int],
        words: int,
        steps: int,
        run: Callable[[str, Callable[[], Any]], Any],
        proposals: int | None = None,
    ) -> None:
        """Run backbone, top-down path, dense heads and reading; see :meth:`Spotter.run_parts`."""
        image, recognizer = empty_image(self, image_size), self.recognizer
        level = run("trunk", lambda: self.backbone.finest(image))
        run("rpn", lambda: self.heads(level))
        if words and self.reader is not None:
            run("recognition", lambda: run_strips(self.reader, self.expected_strip_width, STRIP_ROWS, words))
        elif words:
            box = torch.tensor([[0.0, 0.0, 32.0, 16.0]], device=self.device).expand(words, 4)
            sides, of_image = box_sides(box, self.points), torch.zeros(words, dtype=torch.int64, device=self.device)
            stem = float_level(run("stem", lambda: recognizer.stem(level)))
            context = run("recognition", lambda: recognizer.encoder(recognizer.pooler(stem, sides, of_image)))
            memory = run("recognition", lambda: recognizer.decoder.prepare(context))
            run("decoding", lambda: run_decoding(recognizer.decoder, memory, words, steps))

    def timed_calls(self) -> list[tuple[str, Any, str]]:
        """Return the calls of the stages; "proposals" are the dense heads, "boxes" the words found on their maps."""
        reads = "_read_found" if self.reader is None else "_read_strips"
        return [
            ("backbone+FPN", self.backbone, "finest"),
            ("proposals", self.heads, "forward"),
            ("boxes", self, "find_words"),
            ("recognition", self, reads),
            ("post-processing", self, "postprocess"),
        ]

    @contextmanager
    def reading_given_words(self, given: dict[str, Any], steps: int) -> Iterator[None]:
        """Put the given boxes in the place of what the maps give, see :meth:`Spotter.reading_given_words`."""
        recognizer, find_words, rules = self.recognizer, self.find_words, self.rules
        length = recognizer.max_length

        def find(maps: Maps, sizes: Sequence[tuple[int, int]]) -> list[Instances]:
            found = find_words(maps, sizes)
            height, width = sizes[0]
            boxes = given["boxes"].to(self.device) * torch.tensor(
                [width / given["size"][1], height / given["size"][0]] * 2, device=self.device
            )
            sides = box_sides(boxes, self.points)
            return [words_between(sides, torch.ones(len(sides), device=self.device), sizes[0]), *found[1:]]

        self.find_words, recognizer.max_length = find, min(length, steps - 1)
        self.rules = ReadingRules(**{**vars(rules), "join": False})
        try:
            yield
        finally:
            del self.find_words
            recognizer.max_length, self.rules = length, rules

    def reading_step(self, images: ImageList, targets: list[Instances]) -> Callable[[], dict[str, torch.Tensor]]:
        with torch.no_grad():
            level = self.backbone.finest(images.tensor)
        words = readable_words(targets)

        def losses() -> dict[str, torch.Tensor]:
            reading = self._read_annotated(level.detach().requires_grad_(), words)
            return self.recognizer.losses(reading, torch.cat([x.gt_text for x in words]))

        return losses

    def graph_parts(self, size: tuple[int, int], images: int, noise: torch.Generator) -> dict[str, GraphPart]:
        """Raise ValueError: dld.runtime has no part that makes words of maps."""
        raise ValueError(NOT_EXPORTED)

    def graph_settings(self) -> dict[str, Any]:
        """Raise ValueError, as :meth:`graph_parts`."""
        raise ValueError(NOT_EXPORTED)
