"""Dynamic low-resolution distillation: frozen teacher, trainable student, resolution selector.

The three steps of a training iteration are methods in the order in which they run: :meth:`DistillMetaArch.ask_teacher`
(called by the trainer), :meth:`~DistillMetaArch.compare_scales`, :meth:`~DistillMetaArch.train_student`.
"""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import nn

from dld.modeling.losses.feature_distillation import context_feature_loss, roi_feature_loss
from dld.modeling.losses.sequence_distillation import sequence_distillation_loss
from dld.modeling.meta_arch.annotated_words import at_scale, read_annotated, word_index, word_offsets, word_texts
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.meta_arch.scale_trial import WORD_LOSSES, try_scales
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.recognizer import RecognitionFeatures
from dld.modeling.recognition.teacher_targets import TeacherTargets, teacher_targets
from dld.modeling.resolution.objective import SelectorObjective
from dld.modeling.resolution.scale_comparison import ScaleComparison
from dld.modeling.resolution.selector_losses import draw_scales
from dld.modeling.resolution.word_loss_selector import WordLossSelector

__all__ = ["DistillMetaArch"]

SEQUENCE_TARGETS = ("beams", "right_beams", "forced_top1")


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
        word_loss: "reading", "spotting" or "kl", what a `WordLossSelector` learns to predict of each word, see `try_scales`.
        uniform_share: share of the training scales drawn uniformly.
        num_sequences, beam_width: K and the width of the teacher's beam search.
        sequence_form: "weighted" or "paper", see `sequence_distillation_loss`.
        sequence_targets: "beams"; "right_beams": of the words that the teacher reads right, while the others add nothing;
            or "forced_top1": the teacher's most probable characters under the annotated prefix, which is what the
            reference code does.
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
        if sequence_targets not in SEQUENCE_TARGETS:
            known = ", ".join(SEQUENCE_TARGETS)
            raise ValueError(f"MODEL.DISTILLATION.SEQUENCE_TARGETS must be one of {known}, got {sequence_targets!r}")
        if word_loss not in WORD_LOSSES:
            raise ValueError(f"MODEL.SELECTOR.WORD_LOSS must be one of {', '.join(WORD_LOSSES)}, got {word_loss!r}")
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule
        by_words = isinstance(self.selector, WordLossSelector)
        self.word_loss = word_loss if by_words else None
        self.objective = SelectorObjective(
            gamma, selector_form, target_temperature, uniform_share, self.selector.words_per_image if by_words else None
        )
        self.num_sequences, self.beam_width = num_sequences, beam_width
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
        features = read_annotated(self.teacher, self.normalize(batched_inputs), words, 1.0).features
        texts = word_texts(words, self.charset.pad)
        return teacher_targets(self.teacher.roi_heads.recognizer, features, texts, self.num_sequences, self.beam_width)

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

    def compare_scales(
        self, images: list[torch.Tensor], words: list[Instances], targets: TeacherTargets
    ) -> ScaleComparison:
        """Step 2: the student reads the annotated words at every candidate scale, without gradient; see `try_scales`."""
        return try_scales(self.student, images, words, targets, self.cost_table, self.word_loss)

    def train_selector(self, images: list[torch.Tensor], comparison: ScaleComparison) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the selector on normalised images, and the index of the scale each is trained at, int64 (N,)."""
        if isinstance(self.selector, WordLossSelector):
            batch = ImageList.from_tensors(images, self.student.backbone.size_divisibility)
            with torch.autocast(self.device.type, enabled=False):
                maps = self.selector.maps(batch.tensor, batch.image_sizes)
                loss = self.objective.of_maps(maps, comparison, batch.image_sizes)
                logits = self.selector.scores_of_totals(torch.stack([m.total() for m in maps])).detach()
            # whatever weights it started from, the cost weighs what this training's gamma says
            self.mu.fill_(self.objective.gamma / self.selector.temperature)
            choice = draw_scales(logits - self.mu * comparison.cost, uniform_share=self.objective.uniform_share)
        else:
            loss, choice = self.objective.of_scores(self.score_scales(images), comparison, float(self.temperature))
        storage = get_event_storage()
        storage.put_scalar("selector/kl", float(comparison.kl.mean()))
        storage.put_scalar("selector/cost", float(comparison.cost.gather(1, choice[:, None]).mean()))
        return loss, choice

    def train_student(
        self, images: list[torch.Tensor], words: list[Instances], scales: list[float], targets: TeacherTargets | None
    ) -> dict[str, torch.Tensor]:
        """Step 3: detection, recognition and distillation losses at the chosen scales.

        Images of one scale and padded size run together. A loss that is a mean over images, words or characters is put
        together from those of the groups by their share of images, words or characters: grouping changes no weight.
        """
        offsets = word_offsets(words)
        texts = word_texts(words, self.charset.pad)
        steps = (texts != self.charset.pad).sum(1)  # (R,), end symbols included
        losses: dict[str, torch.Tensor] = {}
        for (scale, _), members in self.groups(images, scales).items():
            batch, scaled = at_scale(self.student, [images[i] for i in members], [words[i] for i in members], scale)
            found, reading, _ = self.student.losses(batch, scaled)
            index = word_index(offsets, members).to(self.device)
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
            # a mean over all words: one without sequences adds nothing, and changes nothing about the others
            counted = valid.any(1).sum() / max(len(valid), 1)
            losses["loss_kd_sequence"] = self.weights["sequence"] * counted * sequence_distillation_loss(
                decoder(reading.context, ids), ids, scores, valid, self.charset.pad, form=self.sequence_form
            )
        return losses

    def _sequences(self, targets: TeacherTargets, index: torch.Tensor, texts: torch.Tensor):
        """Ids (R', K, T), scores (R', K) and validity (R', K) of the sequences the student is trained on."""
        if self.sequence_targets != "forced_top1":
            beams = targets.beams
            valid = beams.valid[index]
            if self.sequence_targets == "right_beams":
                valid = valid & targets.correct[index].unsqueeze(1)
            ids = beams.ids[index]
            if len(index):
                ids = ids[:, :, : max(int((ids != self.charset.pad).sum(-1).max()), 1)]
            return ids, beams.log_probabilities[index], valid
        best = targets.logits[index].argmax(-1)
        end = best == self.charset.end
        # nothing after the first end, nor where there is no annotated prefix any more
        over = (end.cumsum(1) - end.long() > 0) | (texts[index] == self.charset.pad)
        ids = best.masked_fill(over, self.charset.pad).unsqueeze(1)
        return ids, ids.new_zeros((len(ids), 1), dtype=torch.float32), ids.new_ones((len(ids), 1), dtype=torch.bool)
