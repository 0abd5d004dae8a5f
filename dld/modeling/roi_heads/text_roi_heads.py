"""Box, mask and text heads of the spotter."""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou

from dld.modeling.layers.parsimonious import make_parsimonious
from dld.modeling.losses.finding_distillation import BoxReadings, FindingTargets
from dld.modeling.poolers.channels_last_roi_align import float_levels, read_channels_last
from dld.modeling.proposal_generator.text_rpn import covered_by_ignored, split_ignored
from dld.modeling.recognition.recognizer import (
    Photos,
    RecognitionFeatures,
    TextRecognizer,
    build_recognizer,
    readable_words,
)
from dld.modeling.sampling import random_numbers_of
from dld.strips.scoring import least_detection

__all__ = ["TextROIHeads"]


@ROI_HEADS_REGISTRY.register()
class TextROIHeads(StandardROIHeads):
    """Mask R-CNN heads plus a recognition branch on the finest pyramid level.

    In training the recogniser reads annotated boxes and masks, so that the words of teacher and student correspond one to
    one. At test it reads predicted boxes and masks.

    Args:
        recognizer: the recognition branch.
        recognizer_feature: name of the pyramid level that it reads.
        ignore_overlap: see :func:`covered_by_ignored`.
        words_per_chunk: largest number of words read at once at test, which bounds memory.
        reads: whether the recogniser reads the words that are found at test; False: another reader does.
        box_rounds: how often the box head is asked where a word is, see :meth:`move_boxes`.
        box_rounds_weight: of `loss_box_again`, the loss of the boxes of the first round moved once more.
        spot_threshold: least detection score of the boxes that `forward` keeps at test; None: that of the box head, which
            :meth:`find_boxes` uses by default.
    """

    @configurable
    def __init__(
        self,
        *,
        recognizer: TextRecognizer,
        recognizer_feature: str,
        ignore_overlap: float,
        words_per_chunk: int = 256,
        reads: bool = True,
        spot_threshold: float | None = None,
        box_rounds: int = 1,
        box_rounds_weight: float = 0.5,
        **heads,
    ) -> None:
        super().__init__(**heads)
        self.recognizer = recognizer
        self.recognizer_feature = recognizer_feature
        self.ignore_overlap = ignore_overlap
        self.words_per_chunk = words_per_chunk
        self.reads, self.spot_threshold = reads, spot_threshold
        if box_rounds < 1:
            raise ValueError(f"MODEL.TEXT.BOX_ROUNDS must be at least 1, got {box_rounds}")
        self.box_rounds, self.box_rounds_weight = box_rounds, box_rounds_weight
        for pooler in (self.box_pooler, self.mask_pooler):
            read_channels_last(pooler)
        self._sampled: dict[str, float | torch.Tensor] = {}
        self._seeds: list[int | None] | None = None
        self._image = 0

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super().from_config(cfg, input_shape)
        if ret.get("mask_head") is not None:
            make_parsimonious(cfg, "mask", ret["mask_head"], cfg.MODEL.ROI_MASK_HEAD.NORM)
        feature = cfg.MODEL.RECOGNITION.IN_FEATURE
        ret["recognizer"] = build_recognizer(cfg, input_shape[feature])
        ret["recognizer_feature"] = feature
        ret["ignore_overlap"] = cfg.MODEL.TEXT.IGNORE_OVERLAP
        ret["box_rounds"], ret["box_rounds_weight"] = cfg.MODEL.TEXT.BOX_ROUNDS, cfg.MODEL.TEXT.BOX_ROUNDS_WEIGHT
        ret["words_per_chunk"] = cfg.MODEL.RECOGNITION.WORDS_PER_CHUNK
        ret["reads"] = not (cfg.MODEL.RECOGNITION.READER or ret["recognizer"].reads_strips)
        if not ret["reads"]:
            strips = cfg.MODEL.STRIPS
            if not 0 <= strips.DETECTION_THRESH <= 1:
                raise ValueError(f"MODEL.STRIPS.DETECTION_THRESH must be in [0, 1], got {strips.DETECTION_THRESH}")
            # boxes that cannot become words are not read
            ret["spot_threshold"] = max(strips.DETECTION_THRESH, least_detection(strips.SCORE_THRESH))
        return ret

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """Drop background proposals that lie on don't-care words, then sample proposals as detectron2 does."""
        kept, words = [], []
        for found, target in zip(proposals, targets, strict=True):
            target, ignored = split_ignored(target)
            covered = covered_by_ignored(found.proposal_boxes, ignored, self.ignore_overlap)
            positive = self.proposal_matcher(pairwise_iou(target.gt_boxes, found.proposal_boxes))[1] == 1
            kept.append(found[positive | ~covered])
            words.append(target)
        self._image = 0
        sampled = super().label_and_sample_proposals(kept, words)
        foreground = sum((x.gt_classes < self.num_classes).sum() for x in sampled)
        self._sampled = {"proposal": sum(map(len, sampled)), "foreground": foreground}
        return sampled

    def _sample_proposals(self, matched_idxs, matched_labels, gt_classes):
        # detectron2 calls this once per image, in order
        seed = self._seeds[self._image] if self._seeds else None
        self._image += 1
        with random_numbers_of(seed, matched_idxs.device):
            return super()._sample_proposals(matched_idxs, matched_labels, gt_classes)

    def detection_losses(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances],
        seeds: list[int | None] | None = None,
    ) -> tuple[dict[str, torch.Tensor], dict[str, float | torch.Tensor]]:
        """Compute the losses of the box and mask heads by name, and how many proposals, all and on words, they are means over.

        Args:
            seeds: of each image, see :meth:`~dld.modeling.meta_arch.spotter.Spotter.losses`.
        """
        self._seeds = seeds
        losses = super().forward(images, float_levels(features), proposals, targets)[1]
        return losses, self._sampled

    def _forward_box(self, features: dict[str, torch.Tensor], proposals: list[Instances]):
        """Do as StandardROIHeads, in several rounds where there are any; in training they add `loss_box_again`."""
        if not self.training:
            return self.find_boxes(features, proposals)
        if self.box_rounds == 1:
            return super()._forward_box(features, proposals)
        predictor = self.box_predictor
        pooled = self.box_pooler([features[f] for f in self.box_in_features], [x.proposal_boxes for x in proposals])
        predictions = predictor(self.box_head(pooled))
        losses = predictor.losses(predictions, proposals)
        losses["loss_box_again"] = self.box_rounds_weight * self._moved_loss(features, proposals, predictions[1].detach())
        return losses

    def _moved_loss(self, features: dict[str, torch.Tensor], proposals: list[Instances], deltas: torch.Tensor) -> torch.Tensor:
        """Return the box head's regression loss on the proposals of words, moved once; a mean over all sampled proposals.

        A box that still overlaps its word by less than an IoU of 0.5 is not kept at test with a score that matters; it counts
        none the less: it has most to learn.
        """
        predictor = self.box_predictor
        starts, wanted, counts = [], [], []
        for x, moves in zip(proposals, deltas.float().split([len(x) for x in proposals]), strict=True):
            words = x.gt_classes < self.num_classes
            boxes = Boxes(predictor.box2box_transform.apply_deltas(moves[words], x.proposal_boxes.tensor[words]))
            boxes.clip(x.image_size)
            # a side may be clipped to nothing, which no regression can start from
            large = boxes.nonempty(threshold=1.0)
            starts.append(boxes[large])
            # an image without words has no such field
            wanted.append(x.gt_boxes.tensor[words][large] if x.has("gt_boxes") else boxes.tensor)
            counts.append(len(x))
        said = self.read_boxes(features, starts)
        boxes = torch.cat([b.tensor for b in starts])
        classes = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        loss = predictor.box_reg_loss(boxes, torch.cat(wanted), said.deltas, classes)
        # box_reg_loss is a mean over the boxes that it is given
        return loss * len(boxes) / max(sum(counts), 1)

    def read_ground_truth(
        self, level: torch.Tensor | None, targets: list[Instances], photos: Photos | None = None
    ) -> tuple[RecognitionFeatures, list[Instances]]:
        """Compute recognition features of the annotated readable words.

        Args:
            level: finest pyramid level of the batch (N, C, H/4, W/4); None where strips are read.
            targets: N Instances with what the recogniser needs and `gt_readable`, in pixels of the input.
            photos: of the same images, for a recogniser that reads strips.

        Returns:
            features of the R readable words of the batch, and those words per image.
        """
        words = readable_words(targets)
        if photos is not None:
            photos = photos._replace(words=readable_words(photos.words))
        return self.recognizer.annotated_features(level, words, photos), words

    def recognition_losses(self, reading: RecognitionFeatures, words: list[Instances]) -> dict[str, torch.Tensor]:
        """Return the recogniser's losses on the result of :meth:`read_ground_truth`."""
        losses = self.recognizer.losses(reading, torch.cat([x.gt_text for x in words]))
        return losses if reading.maps is None else {**losses, **self.recognizer.map_losses(reading.maps, words)}

    def forward(self, images: ImageList, features: dict[str, torch.Tensor], proposals: list[Instances], targets=None):
        """Run the heads as StandardROIHeads does; at test keep the boxes above `spot_threshold`."""
        if self.training or self.spot_threshold is None:
            return super().forward(images, features, proposals, targets)
        return self.forward_with_given_boxes(features, self.find_boxes(features, proposals, self.spot_threshold)), {}

    def find_boxes(
        self, features: dict[str, torch.Tensor], proposals: list[Instances], threshold: float | None = None
    ) -> list[Instances]:
        """Find the boxes that are kept at test, one Instances an image with `pred_boxes` and `scores`; in evaluation mode only.

        Args:
            threshold: their least score; None: that of the box head.
        """
        if threshold is None:
            found = super()._forward_box(features, proposals)
        else:
            predictor = self.box_predictor
            pooled = self.box_pooler([features[f] for f in self.box_in_features], [x.proposal_boxes for x in proposals])
            predictions = predictor(self.box_head(pooled))
            boxes, scores = predictor.predict_boxes(predictions, proposals), predictor.predict_probs(predictions, proposals)
            sizes = [x.image_size for x in proposals]
            rules = (threshold, predictor.test_nms_thresh, predictor.test_topk_per_image)
            found = fast_rcnn_inference(boxes, scores, sizes, *rules)[0]
        for _ in range(self.box_rounds - 1):
            found = self.move_boxes(features, found)
        return found

    def move_boxes(self, features: dict[str, torch.Tensor], found: list[Instances]) -> list[Instances]:
        """Ask the box head where the words of boxes are; return the same words with the boxes that it says.

        Iterative box regression (Gidaris and Komodakis 2015; Cai and Vasconcelos 2018, section 3.1): a box that is near
        shows the head more of the word than a proposal does. Scores stay: those of boxes that were moved once are higher
        for whatever was found, word or not.

        Args:
            features: pyramid levels of N images.
            found: of each image, with `pred_boxes`.
        """
        counts = [len(x) for x in found]
        if not sum(counts):
            return found
        said = self.read_boxes(features, [x.pred_boxes for x in found])
        deltas = said.deltas.float().split(counts)
        for x, moves in zip(found, deltas, strict=True):
            boxes = Boxes(self.box_predictor.box2box_transform.apply_deltas(moves, x.pred_boxes.tensor.float()))
            boxes.clip(x.image_size)
            x.pred_boxes = boxes
        return found

    def read_boxes(self, features: dict[str, torch.Tensor], boxes: list[Boxes]) -> BoxReadings:
        """Ask the box head about given boxes, in any mode and with gradients.

        Args:
            features: pyramid levels of N images.
            boxes: of each image, in pixels of the input.
        """
        levels = float_levels(features)
        pooled = self.box_pooler([levels[f] for f in self.box_in_features], boxes)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return BoxReadings(pooled, logits, deltas)

    def mask_logits(self, features: dict[str, torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Ask the mask head about given boxes, see :meth:`read_boxes`; logits (M, h, w)."""
        levels = float_levels(features)
        return self.mask_head.layers(self.mask_pooler([levels[f] for f in self.mask_in_features], boxes))[:, 0]

    @torch.no_grad()
    def finding_targets(
        self, features: dict[str, torch.Tensor], proposals: list[Instances], most: int, finds: int, threshold: float
    ) -> list[FindingTargets]:
        """Return what these heads say of the surest `most` proposals of each image, and the masks of at most `finds` words.

        Args:
            proposals: of each image, surest first.
            threshold: least probability of a find.
        """
        proposals = [x[:most] for x in proposals]
        counts = [len(x) for x in proposals]
        said = self.read_boxes(features, [x.proposal_boxes for x in proposals])
        refined = self.box_predictor.predict_boxes((said.logits, said.deltas), proposals)
        words = [p.softmax(-1)[:, 0] for p in said.logits.float().split(counts)]
        kept = [(p > threshold).nonzero()[:, 0] for p in words]
        kept = [k[p[k].argsort(descending=True, stable=True)[:finds]] for k, p in zip(kept, words, strict=True)]
        found = [Boxes(boxes[k]) for boxes, k in zip(refined, kept, strict=True)]
        for boxes, x in zip(found, proposals, strict=True):
            boxes.clip(x.image_size)
        masks = self.mask_logits(features, found).split([len(k) for k in kept])
        readings = zip(*(field.split(counts) for field in said), strict=True)
        return [
            FindingTargets(x.image_size, x.proposal_boxes.tensor, BoxReadings(*r), b.tensor, m, p[k])
            for x, r, b, m, p, k in zip(proposals, readings, found, masks, words, kept, strict=True)
        ]

    def forward_with_given_boxes(self, features: dict[str, torch.Tensor], instances: list[Instances]) -> list[Instances]:
        """Add `pred_masks` (R, 1, 28, 28) to the kept boxes and, if the recogniser reads, also `pred_ids` (R, T) and
        `pred_id_scores` (R, T)."""
        instances = super().forward_with_given_boxes(features, instances)
        if not self.reads:
            return instances
        return self._read_predictions(features[self.recognizer_feature], instances)

    def _read_predictions(self, level: torch.Tensor, instances: list[Instances]) -> list[Instances]:
        boxes = [x.pred_boxes.tensor for x in instances]
        counts = [len(b) for b in boxes]
        merged = torch.cat(boxes)
        T = self.recognizer.max_length + 1
        # padding is the end id with probability 1, as after the end of a word
        ids = torch.full((len(merged), T), self.recognizer.charset.end, dtype=torch.int64, device=merged.device)
        scores = torch.ones((len(merged), T), device=merged.device)
        if len(merged):
            probabilities = torch.cat([x.pred_masks for x in instances if len(x)])[:, 0]
            stem = self.recognizer.stem(level)
            image = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor(counts)).to(merged.device)
            for chunk in torch.arange(len(merged), device=merged.device).split(self.words_per_chunk):
                per_image = [merged[chunk[image[chunk] == i]] for i in range(len(boxes))]
                reading = self.recognizer.read(self.recognizer.found_context(stem, per_image, probabilities[chunk]))
                steps = reading.ids.shape[1]
                ids[chunk, :steps], scores[chunk, :steps] = reading.ids, reading.probabilities
        for x, i, s in zip(instances, ids.split(counts), scores.split(counts), strict=True):
            x.pred_ids, x.pred_id_scores = i, s
        return instances
