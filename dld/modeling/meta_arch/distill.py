"""Dynamic low-resolution distillation: frozen teacher, trainable student, resolution selector.

The three steps of a training iteration are methods in the order in which they run: :meth:`DistillMetaArch.ask_teacher`
(called by the trainer), :meth:`~DistillMetaArch.compare_scales`, :meth:`~DistillMetaArch.train_student`.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import nn

from dld.modeling.losses.feature_distillation import (
    character_kl,
    context_feature_loss,
    image_kl,
    roi_feature_loss,
)
from dld.modeling.losses.sequence_distillation import sequence_distillation_loss
from dld.modeling.losses.word_maps import word_map_targets, word_maps_loss
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.recognizer import RecognitionFeatures, trim
from dld.modeling.recognition.teacher_targets import TeacherTargets, teacher_targets
from dld.modeling.resolution.gumbel import (
    draw_scales,
    gumbel_selector_loss,
    gumbel_straight_through,
    risk_regression_loss,
    soft_target_loss,
    soft_targets,
)
from dld.modeling.resolution.rescale import rescale_images, rescale_instances
from dld.modeling.resolution.scale_comparison import ScaleComparison, ScaleWords, reading_lost
from dld.modeling.resolution.word_loss_selector import WordLossSelector

__all__ = ["DistillMetaArch", "batch_norm_in_eval"]


@contextmanager
def batch_norm_in_eval(model: nn.Module):
    """Run without touching the running statistics of batch norm, and with them instead of the batch's own."""
    touched = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for m in touched:
        m.eval()
    try:
        yield
    finally:
        for m in touched:
            m.train()


@META_ARCH_REGISTRY.register()
class DistillMetaArch(DynamicSpotter):
    """Teacher and student of one architecture, and the selector; at test it is the :class:`DynamicSpotter` it trains.

    The teacher is no submodule: it has no part in `parameters()`, `state_dict()`, `train()` or gradient averaging, so
    checkpoints and exports hold the student and the selector only.

    Args:
        teacher: frozen spotter.
        gamma: weight of cost against accuracy in the selector's training.
        selector_form: "risk", "soft_target" or "gumbel" (the paper's).
        target_temperature: tau of the soft targets and of the scores of the risk form.
        word_loss: "reading" or "kl", what a `WordLossSelector` learns to predict of each word.
        uniform_share: share of the training scales drawn uniformly.
        num_sequences, beam_width: K and the width of the teacher's beam search.
        sequence_form: "weighted" or "paper", see `sequence_distillation_loss`.
        sequence_targets: "beams", or "forced_top1": the teacher's most probable characters under the annotated prefix,
            which is what the reference code does.
        weights: of the losses by name: rec, selector, roi, context, sequence.
        freeze_norm: batch norm of the student keeps the teacher's statistics (its inputs come at mixed scales).
        training_scale: train every image at this scale; the selector, if there is one, then stays as it is. None: ask
            the selector, or draw uniformly from the candidates where there is none.
        student: see :class:`DynamicSpotter`, as for all other arguments.
    """

    @configurable
    def __init__(
        self,
        *,
        teacher: TextSpottingRCNN,
        gamma: float,
        selector_form: str = "soft_target",
        target_temperature: float = 0.1,
        word_loss: str = "reading",
        uniform_share: float = 0.15,
        num_sequences: int = 3,
        beam_width: int = 3,
        sequence_form: str = "weighted",
        sequence_targets: str = "beams",
        weights: dict[str, float] | None = None,
        freeze_norm: bool = True,
        training_scale: float | None = None,
        **spotter,
    ) -> None:
        super().__init__(**spotter)
        if selector_form not in ("risk", "soft_target", "gumbel"):
            raise ValueError(f"MODEL.SELECTOR.FORM must be risk, soft_target or gumbel, got {selector_form!r}")
        if sequence_targets not in ("beams", "forced_top1"):
            raise ValueError(f"MODEL.DISTILLATION.SEQUENCE_TARGETS must be beams or forced_top1, got {sequence_targets!r}")
        if word_loss not in ("reading", "kl"):
            raise ValueError(f"MODEL.SELECTOR.WORD_LOSS must be reading or kl, got {word_loss!r}")
        self.word_loss = word_loss
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule
        self.gamma, self.selector_form, self.target_temperature = gamma, selector_form, target_temperature
        self.uniform_share, self.num_sequences, self.beam_width = uniform_share, num_sequences, beam_width
        self.sequence_form, self.sequence_targets = sequence_form, sequence_targets
        self.weights = {"rec": 1.0, "selector": 1.0, "roi": 1.0, "context": 1.0, "sequence": 1.0, **(weights or {})}
        self.freeze_norm, self.training_scale = freeze_norm, training_scale
        if self.selector is not None and training_scale is not None:
            # no loss reaches it, and distributed training waits in vain for a gradient
            self.selector.requires_grad_(False)
        # follows from the iteration (a hook sets it), so no checkpoint needs it
        self.register_buffer("temperature", torch.tensor(5.0), persistent=False)
        self.last_scales: list[float] = []

    @classmethod
    def from_config(cls, cfg) -> dict:
        ret = super().from_config(cfg)
        node, selector = cfg.MODEL.DISTILLATION, cfg.MODEL.SELECTOR
        ret.update(
            teacher=TextSpottingRCNN(cfg),
            gamma=node.GAMMA,
            selector_form=selector.FORM,
            target_temperature=selector.TARGET_TEMPERATURE,
            word_loss=selector.WORD_LOSS,
            uniform_share=selector.UNIFORM_SHARE,
            num_sequences=node.NUM_SEQUENCES,
            beam_width=node.BEAM_WIDTH,
            sequence_form=node.SEQUENCE_FORM,
            sequence_targets=node.SEQUENCE_TARGETS,
            weights={
                "rec": node.REC_WEIGHT,
                "selector": selector.WEIGHT,
                "roi": node.ROI_WEIGHT,
                "context": node.CONTEXT_WEIGHT,
                "sequence": node.SEQUENCE_WEIGHT,
            },
            freeze_norm=node.FREEZE_NORM,
            training_scale=selector.FIXED_SCALE or None,
        )
        return ret

    @property
    def teacher(self) -> TextSpottingRCNN:
        return self._teacher[0]

    def _apply(self, fn, recurse: bool = True):
        # .to() and .cuda() must reach the teacher although it is no submodule
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> DistillMetaArch:
        """Training mode for student and selector; never for the teacher, nor for batch norm that is frozen."""
        super().train(mode)
        if mode and self.freeze_norm:
            for m in self.student.modules():
                if isinstance(m, nn.modules.batchnorm._BatchNorm):
                    m.eval()
        return self

    @property
    def distills(self) -> bool:
        """Whether any distillation loss is on."""
        return any(self.weights[k] > 0 for k in ("roi", "context", "sequence"))

    @property
    def selects(self) -> bool:
        """Whether a selector is trained."""
        return self.selector is not None and self.training_scale is None

    @torch.no_grad()
    def ask_teacher(self, batched_inputs: list[dict]) -> TeacherTargets | None:
        """Step 1: the frozen teacher reads the annotated words of the batch at full resolution.

        Returns:
            RoI and context features, character logits and top-K beams of the R readable words of the batch, in the
            order of the images; None where neither distillation nor selector needs them.
        """
        if not (self.distills or self.selects):
            return None
        words = [x["instances"].to(self.device) for x in batched_inputs]
        reading = self._read(self.teacher, self.normalize(batched_inputs), words, 1.0)
        return teacher_targets(
            self.teacher.roi_heads.recognizer, reading, self._texts(words), self.num_sequences, self.beam_width
        )

    def forward(self, batched_inputs: list[dict], targets: TeacherTargets | None = None):
        """Losses in training, spotted words at test.

        Args:
            batched_inputs: as the mapper made them, at the teacher's resolution.
            targets: what :meth:`ask_teacher` returned for this batch; None: it is asked here.
        """
        if not self.training:
            return self.inference(batched_inputs)
        if targets is None:
            targets = self.ask_teacher(batched_inputs)
        images = self.normalize(batched_inputs)
        words = [x["instances"].to(self.device) for x in batched_inputs]
        losses = {}
        if self.selects:
            comparison = self.compare_scales(images, words, targets)
            loss, choice = self.train_selector(images, comparison)
            losses["loss_selector"] = self.weights["selector"] * loss
            scales = [self.scales[i] for i in choice.tolist()]
        elif self.training_scale is not None:
            scales = [self.training_scale] * len(images)
        else:
            scales = [self.scales[i] for i in torch.randint(len(self.scales), (len(images),)).tolist()]
        self.last_scales = scales
        losses.update(self.train_student(images, words, scales, targets))
        return losses

    @torch.no_grad()
    def compare_scales(
        self, images: list[torch.Tensor], words: list[Instances], targets: TeacherTargets
    ) -> ScaleComparison:
        """Step 2: the student reads the annotated words at every candidate scale, without gradient.

        One batched pass per scale (and padded size) through backbone, top-down path and recogniser. Both decoders are
        fed the annotated prefix. Words that the teacher itself misreads are not counted.
        """
        ids = self._texts(words)
        valid = ids != self.charset.pad
        by_word = isinstance(self.selector, WordLossSelector)
        image_of = torch.repeat_interleave(
            torch.arange(len(words), device=self.device),
            torch.tensor([int(x.gt_readable.sum()) for x in words], device=self.device),
        )
        columns, counted, kl, lost = [], None, [], []
        with batch_norm_in_eval(self.student):
            for scale in self.scales:
                reading = self._read(self.student, images, words, scale)
                logits = self.student.roi_heads.recognizer.decoder(reading.context, ids)
                per_word = character_kl(logits, targets.logits, valid)
                per_image, counted = image_kl(per_word, image_of, len(images), targets.correct)
                columns.append(per_image)
                if by_word:
                    kl.append(per_word)
                    lost.append(reading_lost(logits, targets.logits, ids, self.charset.pad))
        count = [int((~x.gt_ignore).sum()) for x in words]
        cost = self.cost_table.costs([tuple(x.shape[-2:]) for x in images], count)
        found = None
        if by_word:
            kl, lost = torch.stack(kl, 1), torch.stack(lost, 1)  # (R, S)
            boxes = torch.cat([x.gt_boxes.tensor[x.gt_readable] for x in words])
            kept = [(image_of == i) & targets.correct for i in range(len(images))]
            found = [ScaleWords(boxes[k], kl[k], lost[k]) for k in kept]
        return ScaleComparison(torch.stack(columns, 1), cost.to(self.device), counted, found)

    def train_selector(self, images: list[torch.Tensor], comparison: ScaleComparison) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the selector on normalised images, and the index of the scale each is trained at, int64 (N,)."""
        if not isinstance(self.selector, WordLossSelector):
            return self.selector_loss(self.score_scales(images), comparison)
        batch = ImageList.from_tensors(images, self.student.backbone.size_divisibility)
        with torch.autocast(self.device.type, enabled=False):
            maps = self.selector.maps(batch.tensor, batch.image_sizes)
            targets = [
                word_map_targets(x.boxes, self._word_losses(x), size, tuple(m.density.shape))
                for x, m, size in zip(comparison.words, maps, batch.image_sizes, strict=True)
            ]
            loss = word_maps_loss(maps, targets, self.selector.words_per_image)
            logits = self.selector.scores_of_totals(torch.stack([m.total() for m in maps])).detach()
        # whatever weights it started from, the cost weighs what this training's gamma says
        self.mu.fill_(self.gamma / self.selector.temperature)
        choice = draw_scales(logits - self.mu * comparison.cost, uniform_share=self.uniform_share)
        self._log_choice(comparison, choice)
        return loss, choice

    def _word_losses(self, words: ScaleWords) -> torch.Tensor:
        return words.lost if self.word_loss == "reading" else words.kl

    def risk(self, comparison: ScaleComparison) -> torch.Tensor:
        """What the selector should make small, (N, S): the loss of each scale + gamma x its cost."""
        if isinstance(self.selector, WordLossSelector):
            lost = torch.stack([self._word_losses(x).sum(0) for x in comparison.words]) / self.selector.words_per_image
        else:
            lost = torch.where(comparison.counted[:, None], comparison.kl, torch.zeros_like(comparison.kl))
        return lost.float() + self.gamma * comparison.cost

    def selector_loss(self, logits: torch.Tensor, comparison: ScaleComparison) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the selector's logits (N, S), and the index of the scale each image is trained at (N,)."""
        if self.selector_form == "gumbel":
            onehot = gumbel_straight_through(logits, float(self.temperature))
            loss = gumbel_selector_loss(onehot, comparison.kl, comparison.cost, self.gamma, comparison.counted)
            choice = draw_scales(logits, uniform_share=self.uniform_share, onehot=onehot)
        else:
            known = (comparison.kl, comparison.cost, self.gamma, self.target_temperature, comparison.counted)
            if self.selector_form == "risk":
                loss = risk_regression_loss(logits, *known)
            else:
                loss = soft_target_loss(logits, soft_targets(*known))
            choice = draw_scales(logits, uniform_share=self.uniform_share)
        self._log_choice(comparison, choice)
        return loss, choice

    @staticmethod
    def _log_choice(comparison: ScaleComparison, choice: torch.Tensor) -> None:
        storage = get_event_storage()
        storage.put_scalar("selector/kl", float(comparison.kl.mean()))
        storage.put_scalar("selector/cost", float(comparison.cost.gather(1, choice[:, None]).mean()))

    def train_student(
        self, images: list[torch.Tensor], words: list[Instances], scales: list[float], targets: TeacherTargets | None
    ) -> dict[str, torch.Tensor]:
        """Step 3: detection, recognition and distillation losses at the chosen scales.

        Images of one scale and padded size run together. A loss that is a mean over images, words or characters is put
        together from those of the groups by their share of images, words or characters: grouping changes no weight.
        """
        first = _offsets(words)
        texts = self._texts(words)
        steps = (texts != self.charset.pad).sum(1)  # (R,), end symbols included
        losses: dict[str, torch.Tensor] = {}
        for (scale, _), members in self.groups(images, scales).items():
            batch, scaled = self._at_scale([images[i] for i in members], [words[i] for i in members], scale)
            found, reading, _ = self.student.losses(batch, scaled)
            index = _word_index(first, members).to(self.device)
            if self.distills:
                found.update(self.distillation_losses(reading, targets, index, texts))
            by_image = len(members) / len(images)
            by_word = len(index) / max(len(texts), 1)
            by_step = steps[index].sum() / steps.sum().clamp(min=1)
            for name, value in found.items():
                if name == "loss_rec":
                    weight = self.weights["rec"] * by_step
                elif name == "loss_ctc":
                    weight = self.weights["rec"] * by_word
                else:
                    weight = by_word if name.startswith("loss_kd") else by_image
                losses[name] = losses[name] + weight * value if name in losses else weight * value
        return losses

    def distillation_losses(
        self, reading: RecognitionFeatures, targets: TeacherTargets, index: torch.Tensor, texts: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Feature and sequence losses of the student's words against the teacher's words `index` (R',).

        Args:
            texts: annotated ids (R, T) of all words of the batch.
        """
        losses = {}
        if self.weights["roi"] > 0:
            losses["loss_kd_roi"] = self.weights["roi"] * roi_feature_loss(reading.roi, targets.roi[index])
        if self.weights["context"] > 0:
            losses["loss_kd_context"] = self.weights["context"] * context_feature_loss(
                reading.context, targets.context[index]
            )
        if self.weights["sequence"] > 0:
            decoder = self.student.roi_heads.recognizer.decoder
            ids, scores, valid = self._sequences(targets, index, texts)
            losses["loss_kd_sequence"] = self.weights["sequence"] * sequence_distillation_loss(
                decoder(reading.context, ids), ids, scores, valid, self.charset.pad, form=self.sequence_form
            )
        return losses

    def _sequences(self, targets: TeacherTargets, index: torch.Tensor, texts: torch.Tensor):
        """Ids (R', K, T), scores (R', K) and validity (R', K) of the sequences the student is trained on."""
        if self.sequence_targets == "beams":
            beams = targets.beams
            ids = beams.ids[index]
            if len(index):
                ids = ids[:, :, : max(int((ids != self.charset.pad).sum(-1).max()), 1)]
            return ids, beams.log_probabilities[index], beams.valid[index]
        best = targets.logits[index].argmax(-1)
        end = best == self.charset.end
        # nothing after the first end, nor where there is no annotated prefix any more
        over = (end.cumsum(1) - end.long() > 0) | (texts[index] == self.charset.pad)
        ids = best.masked_fill(over, self.charset.pad).unsqueeze(1)
        return ids, ids.new_zeros((len(ids), 1), dtype=torch.float32), ids.new_ones((len(ids), 1), dtype=torch.bool)

    def _texts(self, words: list[Instances]) -> torch.Tensor:
        """Ids (R, T) of the readable words of a batch."""
        return trim(torch.cat([x.gt_text[x.gt_readable] for x in words]), self.charset.pad)

    def _read(
        self, spotter: TextSpottingRCNN, images: list[torch.Tensor], words: list[Instances], scale: float
    ) -> RecognitionFeatures:
        """Recognition features of the readable words, in the order of the images, all of which run at one scale."""
        first = _offsets(words)
        readings, order = [], []
        for members in self.groups(images, [scale] * len(images)).values():
            batch, scaled = self._at_scale([images[i] for i in members], [words[i] for i in members], scale)
            readings.append(spotter.recognize(batch.tensor, scaled)[0])
            order.append(_word_index(first, members))
        back = torch.cat(order).argsort().to(self.device)
        return RecognitionFeatures(
            torch.cat([x.roi for x in readings])[back], torch.cat([x.context for x in readings])[back]
        )

    def _at_scale(
        self, images: list[torch.Tensor], words: list[Instances], scale: float
    ) -> tuple[ImageList, list[Instances]]:
        batch = rescale_images(images, scale, self.student.backbone.size_divisibility)
        if self.student.channels_last:
            batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch, [rescale_instances(x, size) for x, size in zip(words, batch.image_sizes, strict=True)]


def _offsets(words: list[Instances]) -> list[int]:
    """Where the readable words of each image begin in a list of all of the batch; the last entry is their number."""
    return torch.tensor([0, *(int(x.gt_readable.sum()) for x in words)]).cumsum(0).tolist()


def _word_index(first: list[int], members: list[int]) -> torch.Tensor:
    """Positions in that list of the words of the images `members`."""
    return torch.cat([torch.arange(first[i], first[i + 1]) for i in members])
