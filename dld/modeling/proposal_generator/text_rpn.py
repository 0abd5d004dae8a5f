"""Region proposal network whose sampling leaves out don't-care regions."""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import pairwise_intersection

from dld.modeling.layers.parsimonious import make_parsimonious
from dld.modeling.sampling import random_numbers_of

__all__ = ["TextRPN", "covered_by_ignored", "split_ignored"]


# with 200,000 anchors, a table for 64 regions takes 50 MB; an image may have 10,000 regions
IGNORED_AT_ONCE = 64


def split_ignored(targets: Instances) -> tuple[Instances, Boxes]:
    """Split targets into the words that count and the boxes of the words that do not.

    Args:
        targets: with `gt_boxes` and, optionally, `gt_ignore` (bool).
    """
    if not targets.has("gt_ignore") or not len(targets):
        return targets, Boxes(targets.gt_boxes.tensor[:0])
    return targets[~targets.gt_ignore], targets.gt_boxes[targets.gt_ignore]


def covered_by_ignored(boxes: Boxes, ignored: Boxes, threshold: float) -> torch.Tensor:
    """Find boxes that are neither positive nor negative because they lie on a don't-care word.

    A box is one of them if its intersection with one don't-care box is at least `threshold` of the box's own area, or if
    their IoU is at least 0.3 (a larger box around a small don't-care word).

    Returns:
        bool (len(boxes),).
    """
    covered = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if not len(ignored) or not len(boxes):
        return covered
    area = boxes.area().clamp(min=1e-6)
    for start in range(0, len(ignored), IGNORED_AT_ONCE):
        some = ignored[start : start + IGNORED_AT_ONCE]
        common = pairwise_intersection(some, boxes)  # (I, B)
        union = some.area()[:, None] + area[None] - common
        covered |= ((common / area >= threshold) | (common / union >= 0.3)).any(0)
    return covered


@PROPOSAL_GENERATOR_REGISTRY.register()
class TextRPN(RPN):
    """RPN in which anchors over don't-care words are never sampled as background.

    detectron2's own sampler does not know such words: on ICDAR 2015, 62 % of the words would become background.
    """

    @configurable
    def __init__(self, *, ignore_overlap: float = 0.5, **rpn) -> None:
        super().__init__(**rpn)
        self.ignore_overlap = ignore_overlap
        self._ignored_anchors: list[torch.Tensor] = []
        self._seeds: list[int | None] | None = None
        self._image = 0

    @classmethod
    def from_config(cls, cfg, input_shape):
        ret = super().from_config(cfg, input_shape)
        ret["head"] = make_parsimonious(cfg, "rpn", ret["head"], "")
        ret["ignore_overlap"] = cfg.MODEL.TEXT.IGNORE_OVERLAP
        return ret

    def forward(self, images, features, gt_instances=None, seeds: list[int | None] | None = None):
        """Propose regions as detectron2 does; `seeds` gives each image its own random numbers."""
        self._seeds = seeds
        return super().forward(images, features, gt_instances)

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[torch.Tensor],
        pred_anchor_deltas: list[torch.Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Return detectron2's proposals, but decode only the boxes that suppression looks at: 1,500 of 100,000.

        Args:
            anchors: A_i anchors of each level.
            pred_objectness_logits: (N, A_i) of each level.
            pred_anchor_deltas: (N, A_i, 4) of each level.
            image_sizes: N pairs of height and width in pixels.

        Returns:
            N Instances with `proposal_boxes` and `objectness_logits`, highest logit first.
        """
        scores, boxes = [], []
        most = self.pre_nms_topk[self.training]
        for level, logits, deltas in zip(anchors, pred_objectness_logits, pred_anchor_deltas, strict=True):
            best, index = logits.topk(min(logits.shape[1], most), dim=1)
            chosen = deltas.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
            decoded = self.box2box_transform.apply_deltas(chosen.flatten(0, 1), level.tensor[index.flatten()])
            scores.append(best)
            boxes.append(decoded.view(*index.shape, 4))
        return find_top_rpn_proposals(
            boxes,
            scores,
            image_sizes,
            self.nms_thresh,
            most,
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )

    @torch.no_grad()
    def label_and_sample_anchors(self, anchors: list[Boxes], gt_instances: list[Instances]):
        """Return labels and matched boxes per image as detectron2 does, with label -1 for anchors over don't-care words."""
        every = Boxes.cat(anchors)
        split = [split_ignored(x) for x in gt_instances]
        self._ignored_anchors = [covered_by_ignored(every, ignored, self.ignore_overlap) for _, ignored in split]
        self._image = 0
        return super().label_and_sample_anchors(anchors, [words for words, _ in split])

    def _subsample_labels(self, label: torch.Tensor) -> torch.Tensor:
        # detectron2 calls this once per image, in order, between matching and sampling: the only place to intervene
        label[(label == 0) & self._ignored_anchors[self._image]] = -1
        seed = self._seeds[self._image] if self._seeds else None
        self._image += 1
        with random_numbers_of(seed, label.device):
            return super()._subsample_labels(label)
