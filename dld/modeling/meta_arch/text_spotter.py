"""The base spotter: Mask R-CNN whose heads also read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from dld.modeling.compression.prunable import Prunable, prunable_channels
from dld.modeling.compression.widths import thin_as_configured
from dld.modeling.flops import evaluating, run_parts
from dld.modeling.graph_part import GraphPart
from dld.modeling.layers.parsimonious import check_places
from dld.modeling.losses.finding_distillation import FindingTargets, finding_losses
from dld.modeling.meta_arch.spotter import Spotter, SpotterLosses, WordsToRead, held_words
from dld.modeling.meta_arch.strip_words import photo_of, size_of
from dld.modeling.poolers.channels_last_roi_align import float_levels
from dld.modeling.postprocess import VIEW_FIELDS, outlined_boxes
from dld.modeling.recognition.locators.located_words import ReadingLoss, learned_sides, locator_losses
from dld.modeling.recognition.locators.locator import Locator, build_locator
from dld.modeling.recognition.recognizer import Photos, RecognitionFeatures, readable_words
from dld.modeling.recognition.strip_recognizer import StripRecognizer, build_strip_recognizer, other_characters
from dld.modeling.spotter_graphs import graph_parts, graph_settings
from dld.strips.grouping import PADDED_WIDTHS
from dld.strips.heights import MOST_ENLARGED, STRIP_ROWS, checked_rows
from dld.strips.rules import ReadingRules
from dld.text.charset import Charset
from dld.utils.number_format import inference_dtype

__all__ = ["TextSpottingRCNN"]


@META_ARCH_REGISTRY.register()
class TextSpottingRCNN(GeneralizedRCNN, Spotter):
    """GeneralizedRCNN whose `roi_heads` is a :class:`~dld.modeling.roi_heads.text_roi_heads.TextROIHeads`.

    In training, `forward` returns the losses of proposals, boxes, masks and recognition. At test it returns one dict
    per image with "instances" in the pixels of the image the input says it came from (`height`, `width`); their
    fields are those of :func:`~dld.modeling.postprocess.spotting_postprocess`.

    Args:
        recognition_only: train backbone and recogniser alone, on annotated boxes: the cheap first stage of training.
        inference_dtype: number format of convolutions and matrix products at test; None: float32. The recogniser's
            recurrences, box decoding and RoIAlign stay in float32.
        min_text_score: words read less surely are left out at test, see `spotting_postprocess`.
        reader: reads the words at test from strips of the photo, in place of the recogniser of the heads; None: that one reads.
            It is no submodule: its weights are in a file of their own, and no checkpoint holds them. A recogniser of the
            heads that reads strips itself is trained with the spotter and in its checkpoints.
        min_score: words that `reader` reads are kept from this score on, see `dld.strips.scoring.word_score`.
        split_at_spaces: an outline in which `reader` sees several words becomes several words.
        expected_strip_width: padded columns of the strip of a word of which nothing is known yet.
        strip_rows, most_enlarged: heights of strips to choose from, see `dld.strips.heights.choose_rows`.
        turn_below, join_pieces: see `dld.strips.rules.ReadingRules`.
        locator: finds the sides of words that are read from strips; None: they follow from the outlines of the masks.
        locator_only: train the locator alone, on annotated boxes; all else is frozen.
        locator_weight: of its losses.
        least_bend: see MODEL.STRIPS.LOCATOR.LEAST_BEND.
    """

    loss_units = {
        "loss_rec": "step",
        "loss_ctc": "word",
        "loss_cls": "proposal",
        "loss_box_reg": "proposal",
        "loss_box_again": "proposal",
        "loss_mask": "foreground",
    }

    @configurable
    def __init__(
        self,
        *,
        recognition_only: bool = False,
        channels_last: bool = False,
        inference_dtype: torch.dtype | None = None,
        min_text_score: float = 0.0,
        reader: StripRecognizer | None = None,
        min_score: float = 0.0,
        split_at_spaces: bool = True,
        expected_strip_width: int = 160,
        strip_rows: Sequence[int] = (STRIP_ROWS,),
        most_enlarged: float = MOST_ENLARGED,
        turn_below: float = 0.0,
        join_pieces: bool = True,
        locator: Locator | None = None,
        locator_only: bool = False,
        locator_weight: float = 1.0,
        least_bend: float = 0.1,
        **rcnn,
    ) -> None:
        super().__init__(**rcnn)
        self.reads_photos = self.roi_heads.recognizer.reads_strips
        if reader is not None and self.reads_photos:
            raise ValueError("the spotter reads strips itself: it takes no reader beside its own")
        self._reader = [] if reader is None else [reader.compute_in(inference_dtype)]  # in a list: not a submodule
        # of a recogniser that is trained here: its weights as they are now, in the format of inference
        self.register_load_state_dict_post_hook(lambda model, _: model._forget_reader())
        if not 0 <= min_score <= 1:
            raise ValueError(f"MODEL.STRIPS.SCORE_THRESH must be in [0, 1], got {min_score}")
        if not 8 <= expected_strip_width <= PADDED_WIDTHS[-1]:
            raise ValueError(f"MODEL.STRIPS.EXPECTED_WIDTH must be from 8 to {PADDED_WIDTHS[-1]}, got {expected_strip_width}")
        if not most_enlarged > 0:
            raise ValueError(f"MODEL.STRIPS.MOST_ENLARGED must be positive, got {most_enlarged}")
        self.min_score, self.split_at_spaces, self.expected_strip_width = min_score, split_at_spaces, expected_strip_width
        self.strip_rows, self.most_enlarged = checked_rows(strip_rows), most_enlarged
        if not 0 <= turn_below <= 1:
            raise ValueError(f"MODEL.STRIPS.TURN_BELOW must be in [0, 1], got {turn_below}")
        self.turn_below, self.join_pieces = turn_below, join_pieces
        if not 0 <= min_text_score <= 1:
            raise ValueError(f"MODEL.RECOGNITION.SCORE_THRESH_TEST must be in [0, 1], got {min_text_score}")
        self.min_text_score = min_text_score
        if locator is not None and not (self.reads_photos or reader is not None):
            raise ValueError(
                "MODEL.STRIPS.LOCATOR.NAME must be mask where no strips are read: MODEL.RECOGNITION.READER is empty "
                "and NAME is no StripRecognizer"
            )
        if locator_only and (locator is None or recognition_only):
            wanted = "MODEL.RECOGNITION.ONLY False" if recognition_only else "a MODEL.STRIPS.LOCATOR.NAME that learns, not mask"
            raise ValueError(f"MODEL.STRIPS.LOCATOR.ONLY needs {wanted}")
        if least_bend < 0:
            raise ValueError(f"MODEL.STRIPS.LOCATOR.LEAST_BEND must be at least 0, got {least_bend}")
        self.locator, self.locator_only = locator, locator_only
        self.locator_weight, self.least_bend = locator_weight, least_bend
        self.loss_units = {**type(self).loss_units, **getattr(self.roi_heads.recognizer, "loss_units", {})}
        if locator is not None:
            self.loss_units.update({"loss_read": "word", **locator.loss_units})
        self.recognition_only = recognition_only
        self.inference_dtype = inference_dtype
        self.channels_last = channels_last
        if recognition_only:
            self._freeze_detection()
        if locator_only:
            self.requires_grad_(False)
            locator.requires_grad_(True)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        ret = super().from_config(cfg)
        heads = ret["roi_heads"]
        crops = None if heads.recognizer.reads_strips else heads.recognizer
        check_places(
            cfg,
            {
                "fpn": ret["backbone"],
                "rpn": ret["proposal_generator"],
                "stem": getattr(crops, "stem", None),
                "encoder": getattr(crops, "encoder", None),
                "mask": getattr(heads, "mask_head", None),
            },
        )
        thin_as_configured(cfg, {name: ret[name] for name in ("backbone", "proposal_generator", "roi_heads")})
        ret["recognition_only"] = cfg.MODEL.RECOGNITION.ONLY
        ret["channels_last"] = cfg.MODEL.CHANNELS_LAST
        ret["min_text_score"] = cfg.MODEL.RECOGNITION.SCORE_THRESH_TEST
        ret["inference_dtype"] = inference_dtype(cfg.MODEL.INFERENCE_DTYPE, cfg.MODEL.DEVICE)
        trained = ret["roi_heads"].recognizer.reads_strips
        ret["reader"], ret["min_score"] = None if trained else build_strip_recognizer(cfg), cfg.MODEL.STRIPS.SCORE_THRESH
        ret["split_at_spaces"] = cfg.MODEL.STRIPS.SPLIT_AT_SPACES
        ret["expected_strip_width"] = cfg.MODEL.STRIPS.EXPECTED_WIDTH
        ret["strip_rows"], ret["most_enlarged"] = cfg.MODEL.STRIPS.ROWS, cfg.MODEL.STRIPS.MOST_ENLARGED
        ret["turn_below"], ret["join_pieces"] = cfg.MODEL.STRIPS.TURN_BELOW, cfg.MODEL.STRIPS.JOIN_PIECES
        node = cfg.MODEL.STRIPS.LOCATOR
        locator = build_locator(cfg, ret["backbone"].output_shape()[cfg.MODEL.RECOGNITION.IN_FEATURE])
        # one that looks at no features is what happens without any
        ret["locator"] = locator if locator.learns else None
        ret["locator_only"], ret["locator_weight"], ret["least_bend"] = node.ONLY, node.LOSS_WEIGHT, node.LEAST_BEND
        return ret

    def _freeze_detection(self) -> None:
        # what recognition does not touch gets no gradient, for which distributed training would wait in vain
        heads = [m for name, m in self.roi_heads.named_children() if name != "recognizer"]
        heads += [] if self.locator is None else [self.locator]
        # strips go past the backbone
        backbone = [self.backbone] if self.reads_photos else self.backbone.output_convs[:-1]
        for module in (self.proposal_generator, *heads, *backbone):
            module.requires_grad_(False)

    @property
    def charset(self) -> Charset:
        return self.roi_heads.recognizer.charset

    @property
    def max_length(self) -> int:
        return self.roi_heads.recognizer.max_length

    @property
    def decoder(self) -> nn.Module:
        return self.roi_heads.recognizer.decoder

    @property
    def trial_rows(self) -> tuple[int, ...]:
        """Heights of strips at which the recogniser of the heads is trained; empty where it reads crops."""
        return self.roi_heads.recognizer.train_rows if self.reads_photos else ()

    def at_height(self, rows: int) -> AbstractContextManager[None]:
        """Read annotated words from strips of this height; see :meth:`Spotter.at_height`."""
        return self.roi_heads.recognizer.at_height(rows) if self.reads_photos else super().at_height(rows)

    @property
    def layer_groups(self) -> Mapping[str, tuple[int, int]]:
        """Those of the recogniser of the heads; see :attr:`Spotter.layer_groups`."""
        return getattr(self.roi_heads.recognizer, "layer_groups", None) or {}

    def keeping_layers(self) -> AbstractContextManager[None]:
        """Keep what the recogniser's layers give; see :meth:`Spotter.keeping_layers`."""
        return self.roi_heads.recognizer.keeping_layers() if self.layer_groups else super().keeping_layers()

    def losses_from(self, group: str, features: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the losses of the recogniser; see :meth:`Spotter.losses_from`."""
        return self.roi_heads.recognizer.losses_from(group, features, texts)

    @property
    def has_ctc_head(self) -> bool:
        return self.roi_heads.recognizer.ctc_head is not None

    def ctc_logits(self, features: RecognitionFeatures) -> torch.Tensor:
        return self.roi_heads.recognizer.ctc_logits(features) if self.has_ctc_head else super().ctc_logits(features)

    def learning_rate_factors(self, cfg) -> dict[str, float]:
        factors = super().learning_rate_factors(cfg)
        if self.reads_photos:
            # the reader comes trained, its decoder does not
            branch = "roi_heads.recognizer."
            factors |= {branch: cfg.MODEL.STRIPS.TRAINING.LR_FACTOR, f"{branch}decoder.": 1.0}
        return factors

    @property
    def reader(self) -> StripRecognizer | None:
        """What reads strips at test, None where the recogniser of the heads reads crops.

        Of a recogniser of strips that is trained with the spotter it is a copy for test, made when it is first asked for.
        """
        if self.reads_photos and not self._reader:
            own = copy.deepcopy(self.roi_heads.recognizer).requires_grad_(False).eval()
            self._reader.append(own.compute_in(self.inference_dtype))
        return self._reader[0] if self._reader else None

    def _forget_reader(self) -> None:
        if self.reads_photos:
            self._reader.clear()

    def train(self, mode: bool = True) -> TextSpottingRCNN:
        """Set the mode; in training the weights change, so what reads strips at test is copied anew after it."""
        if mode:
            self._forget_reader()
        super().train(mode)
        if mode and self.locator_only:
            # the frozen parts keep their statistics
            for part in self.children():
                part.train(part is self.locator)
        return self

    def _apply(self, fn, recurse: bool = True):
        # .to() and .cuda() must reach the reader although it is no submodule
        for reader in self._reader:
            reader._apply(fn)
        return super()._apply(fn, recurse)

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise, pad and batch; in the memory format the convolutions were laid out for."""
        images = super().preprocess_image(batched_inputs)
        if self.channels_last:
            images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        return images

    def forward(self, batched_inputs: list[dict]):
        """Return losses by name in training, a list of output dicts at test; see the class."""
        if not self.training:
            return self.inference(batched_inputs)
        return self.step_losses(batched_inputs)

    def losses(
        self,
        images: ImageList,
        targets: list[Instances],
        seeds: list[int | None] | None = None,
        photos: Photos | None = None,
    ) -> SpotterLosses:
        """Compute every loss; see :meth:`Spotter.losses`."""
        losses, counts, features = {}, {}, None
        if self.locator_only:
            with torch.no_grad():
                level = self.backbone.finest(images.tensor)
            words = readable_words(targets)
            return SpotterLosses(self._locator_losses(level, words, images), None, words, counts)
        if self.recognition_only:
            level = None if self.reads_photos else self.backbone.finest(images.tensor)
        else:
            features = self.backbone(images.tensor)
            proposals, proposal_losses = self.proposal_generator(images, features, targets, seeds=seeds)
            losses.update(proposal_losses)
            detection_losses, counts = self.roi_heads.detection_losses(images, features, proposals, targets, seeds)
            losses.update(detection_losses)
            level = features[self.roi_heads.recognizer_feature]
        reading, words = self.roi_heads.read_ground_truth(level, targets, photos or Photos(images, targets, seeds))
        losses.update(self.roi_heads.recognition_losses(reading, words))
        if self.locator is not None and not self.recognition_only:
            losses.update(self._locator_losses(features[self.roi_heads.recognizer_feature], words, images))
        return SpotterLosses(losses, reading, words, counts, features)

    def _locator_losses(self, level: torch.Tensor, words: list[Instances], images: ImageList) -> dict[str, torch.Tensor]:
        """Compute the weighted losses of the locator on annotated words, which lie in `images`."""
        reading_loss = None
        if self.locator.learns_by_reading:
            # a spotter that reads strips itself has no other reader in training: it learns from these strips, too
            reader = self.roi_heads.recognizer if self.reads_photos else self.reader
            if reader.charset != self.charset:
                raise ValueError(other_characters(reader.charset))
            reading_loss = ReadingLoss(reader, images, self.pixel_mean, self.pixel_std)
        losses = locator_losses(self.locator, level, words, reading_loss)
        return {name: self.locator_weight * value for name, value in losses.items()}

    @torch.no_grad()
    def finding_targets(self, images: ImageList, proposals: int, finds: int, threshold: float) -> list[FindingTargets]:
        """Return what the box and mask heads say of the surest proposals; see :meth:`Spotter.finding_targets`."""
        features = self.backbone(images.tensor)
        with evaluating(self.proposal_generator):
            proposed, _ = self.proposal_generator(images, features, None)
        return self.roi_heads.finding_targets(features, proposed, proposals, finds, threshold)

    def finding_losses(self, pyramid: dict[str, torch.Tensor], targets: list[FindingTargets]) -> dict[str, torch.Tensor]:
        """Compute the losses of the box and mask heads; see :meth:`Spotter.finding_losses`."""
        said = self.roi_heads.read_boxes(pyramid, [Boxes(t.boxes) for t in targets])
        return finding_losses(said, self.roi_heads.mask_logits(pyramid, [Boxes(t.finds) for t in targets]), targets)

    def recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, list[Instances]]:
        """Compute recognition features of annotated words: crops through backbone, top-down path and recogniser only, strips
        through the recogniser alone."""
        level = None if self.reads_photos else self.backbone.finest(images.tensor)
        return self.roi_heads.read_ground_truth(level, targets, photos or Photos(images, targets))

    @torch.no_grad()
    def find_and_recognize(
        self, images: ImageList, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, torch.Tensor]:
        """Compute recognition features of annotated words, and which of them a box kept at test holds (IoU of at least 0.5)."""
        features = self.backbone(images.tensor)
        with evaluating(self.proposal_generator), evaluating(self.roi_heads):
            proposals, _ = self.proposal_generator(images, features, None)
            features = float_levels(features)
            kept = self.roi_heads.find_boxes(features, proposals)
        level = features[self.roi_heads.recognizer_feature]
        reading, words = self.roi_heads.read_ground_truth(level, targets, photos or Photos(images, targets))
        return reading, torch.cat([held_words(x.gt_boxes, y.pred_boxes) for x, y in zip(words, kept, strict=True)])

    def run_parts(
        self,
        image_size: tuple[int, int],
        words: int,
        steps: int,
        run: Callable[[str, Callable[[], Any]], Any],
        proposals: int | None = None,
    ) -> None:
        """Run backbone, pyramid, proposals, boxes, masks and reading; see :meth:`Spotter.run_parts`."""
        run_parts(self, image_size, words, run, proposals, steps)

    def prunable_channels(self) -> dict[str, Prunable]:
        """Return those of blocks and heads; see :meth:`Spotter.prunable_channels`."""
        return prunable_channels(self)

    def graph_parts(self, size: tuple[int, int], images: int, noise: torch.Generator) -> dict[str, GraphPart]:
        """Return the parts of `dld.modeling.spotter_graphs`; see :meth:`Spotter.graph_parts`."""
        return graph_parts(self, size, images, noise)

    def graph_settings(self) -> dict[str, Any]:
        """Return levels, thresholds and how words are read; see :meth:`Spotter.graph_settings`."""
        return graph_settings(self)

    def timed_calls(self) -> list[tuple[str, Any, str]]:
        heads = self.roi_heads
        reads = (heads, "_read_predictions") if self.reader is None else (self, "_read_strips")
        return [
            ("backbone+FPN", self.backbone, "forward"),
            ("proposals", self.proposal_generator, "forward"),
            ("boxes", heads, "find_boxes"),
            ("masks", heads, "_forward_mask"),
            ("recognition", *reads),
            ("post-processing", self, "postprocess"),
        ]

    @contextmanager
    def reading_given_words(self, given: dict[str, Any], steps: int) -> Iterator[None]:
        """Put the given boxes in the place of those that are kept, see :meth:`Spotter.reading_given_words`."""
        heads, recognizer = self.roi_heads, self.roi_heads.recognizer
        find_boxes, length = heads.find_boxes, recognizer.max_length

        def find(*args, **kwargs) -> list[Instances]:
            found = find_boxes(*args, **kwargs)
            return [_words_at(given["boxes"], given["size"], found[0]), *found[1:]]

        join_pieces = self.join_pieces
        heads.find_boxes, recognizer.max_length, self.join_pieces = find, min(length, steps - 1), False
        try:
            yield
        finally:
            del heads.find_boxes
            recognizer.max_length, self.join_pieces = length, join_pieces

    def reading_step(self, images: ImageList, targets: list[Instances]) -> Callable[[], dict[str, torch.Tensor]]:
        heads, photos, level = self.roi_heads, Photos(images, targets), None
        if not self.reads_photos:
            with torch.no_grad():
                level = self.backbone.finest(images.tensor)

        def losses() -> dict[str, torch.Tensor]:
            own = None if level is None else level.detach().requires_grad_()
            return heads.recognition_losses(*heads.read_ground_truth(own, targets, photos))

        return losses

    def spot(self, images: ImageList) -> list[Instances]:
        """Find words in a normalised, padded batch, in pixels of that batch; `spotting_postprocess` says what is in them."""
        reduced = self.inference_dtype is not None
        with torch.autocast(images.tensor.device.type, self.inference_dtype, enabled=reduced):
            features = self.backbone(images.tensor)
            proposals, _ = self.proposal_generator(images, features, None)
            levels = float_levels(features)
            found = self.roi_heads(images, levels, proposals, None)[0]
            if self.locator is not None:
                boxes = [x.pred_boxes.tensor.float() for x in found]
                views = self.locator.view(levels[self.roi_heads.recognizer_feature], boxes).split([len(b) for b in boxes])
                for x, *fields in zip(found, views, boxes, strict=True):
                    for name, value in zip(VIEW_FIELDS, fields, strict=True):
                        x.set(name, value)
            return found

    @property
    def reading_rules(self) -> ReadingRules:
        return ReadingRules(
            min_score=self.min_score,
            split=self.split_at_spaces,
            join=self.join_pieces,
            rows=self.strip_rows,
            enlarge=self.most_enlarged,
            turn_below=self.turn_below,
        )

    def words_to_read(self, results: list[Instances], batched_inputs: list[dict]) -> list[WordsToRead]:
        """Return the outlines between whose sides strips are cut; see :meth:`Spotter.words_to_read`.

        The locator is asked about bent outlines; of boxes that :meth:`spot` did not find it has no views, and is not asked.
        """
        if self.reader is None:
            return super().words_to_read(results, batched_inputs)
        found, photos = [], [photo_of(x) for x in batched_inputs]
        zooms: list[np.ndarray] = []
        outlines: list[list[np.ndarray]] = []
        for result, record, photo in zip(results, batched_inputs, photos, strict=True):
            height, width = size_of(result, record)
            found.append(outlined_boxes(result, height, width))
            zooms.append(np.array([photo.shape[1] / width, photo.shape[0] / height]))
            outlines.append([polygon * zooms[-1] for polygon in found[-1].pred_polygons])
        sides: list[list[np.ndarray | None]] = [[None] * len(shapes) for shapes in outlines]
        asked = [0] * len(outlines)
        if self.locator is not None and all(x.has(VIEW_FIELDS[0]) for x in found):
            scales = [np.array(p.shape[1::-1]) / r.image_size[::-1] for r, p in zip(results, photos, strict=True)]
            sides, asked = learned_sides(self.locator, found, outlines, scales, self.least_bend)
        prices = [record.get("rows_price") for record in batched_inputs]
        return [WordsToRead(*parts) for parts in zip(found, photos, zooms, outlines, sides, prices, asked, strict=True)]

    def inference(self, batched_inputs: list[dict], detected_instances=None, do_postprocess: bool = True):
        """Run as GeneralizedRCNN does; post-processing gives polygons and text."""
        if detected_instances is not None:
            results = super().inference(batched_inputs, detected_instances, do_postprocess=False)
        else:
            results = self.spot(self.preprocess_image(batched_inputs))
        return self.postprocess(results, batched_inputs) if do_postprocess else results


def _words_at(boxes: torch.Tensor, size: tuple[int, int], found: Instances) -> Instances:
    """Return words of score 1 at boxes (R, 4) in pixels of an image of `size` (H, W), for the image of `found`."""
    boxes = boxes.to(found.scores.device, copy=True)
    boxes[:, 0::2] *= found.image_size[1] / size[1]
    boxes[:, 1::2] *= found.image_size[0] / size[0]
    words = Instances(found.image_size)
    words.pred_boxes, words.scores = Boxes(boxes), torch.ones(len(boxes), device=boxes.device)
    words.pred_classes = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    return words
