"""Dynamic low-resolution distillation: frozen teacher, trainable student, resolution selector.

The three steps of a training iteration are methods. They run in this order: :meth:`DistillMetaArch.ask_teacher` (called
by the trainer), :meth:`~DistillMetaArch.compare_scales`, :meth:`~DistillMetaArch.train_student`. All three get the
:class:`~dld.modeling.meta_arch.annotated_batch.AnnotatedBatch` that :meth:`DistillMetaArch.annotate` makes once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from detectron2.utils.events import get_event_storage
from torch import nn

from dld.modeling.losses.feature_distillation import context_feature_loss, roi_feature_loss
from dld.modeling.losses.finding_distillation import FindingTargets
from dld.modeling.losses.sequence_distillation import sequence_distillation_loss
from dld.modeling.meta_arch.annotated_batch import AnnotatedBatch, read_annotated
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.meta_arch.layer_aggregation import GROUP_LOSSES, LayerAggregation, checked_aggregation
from dld.modeling.meta_arch.scale_trial import batch_norm_in_eval, try_scales
from dld.modeling.meta_arch.spotter import NO_LAYERS, NO_PROPOSALS, Spotter, build_spotter, lacks
from dld.modeling.meta_arch.step_losses import StepLosses
from dld.modeling.meta_arch.teacher_config import teacher_config
from dld.modeling.recognition.recognizer import RecognitionFeatures
from dld.modeling.recognition.teacher_targets import BEAMS, TeacherTargets, teacher_targets
from dld.modeling.resolution.cost import CostTable
from dld.modeling.resolution.scale_comparison import ScaleComparison
from dld.modeling.resolution.selector_losses import draw_scales
from dld.modeling.sampling import image_generators

__all__ = ["DistillMetaArch"]

# each is a mean over words
DISTILLATION_LOSSES = ("loss_kd_roi", "loss_kd_context", "loss_kd_sequence")
FINDING_LOSSES = ("class", "box", "mask", "feature")
# units of the reading losses that MODEL.DISTILLATION.REC_WEIGHT weights
READING_UNITS = ("word", "step")
# losses of reading that the annotation gives; in a search each has a counterpart that reads the aggregate
ANNOTATED_READING = ("loss_rec", "loss_ctc")
SEQUENCE_TARGETS = ("beams", "right_beams", "forced_top1")


@META_ARCH_REGISTRY.register()
class DistillMetaArch(DynamicSpotter):
    """Teacher, student and the selector; at test it is the :class:`DynamicSpotter` it trains.

    Teacher and student may have different architectures as long as they read the same characters. Where features are
    distilled, their features must have the same shape.

    The teacher is not a submodule: it has no part in `parameters()`, `state_dict()`, `train()` or gradient averaging, so
    checkpoints and exports contain only the student and the selector.

    A locator of the student learns by its own losses, in the images as the student sees them; the teacher has none.

    Args:
        teacher: frozen spotter.
        num_sequences, beam_width: K and the width of the teacher's beam search.
        sequence_form: "weighted" or "paper", see `sequence_distillation_loss`.
        sequence_targets: "beams"; "right_beams": only the beams of words that the teacher reads correctly, while the
            others add nothing; or "forced_top1": the teacher's most probable characters under the annotated prefix, as in
            the reference code.
        weights: weights of the losses by name: rec, selector, roi, context, sequence, and those of finding: class, box, mask,
            feature (0 unless given).
        finding: the most proposals and finds of an image that finding is learned from, and the least probability of a find.
        beams: head of the teacher that gives the beams: "attention" or "ctc". With "ctc" a word counts as read correctly, for
            `right_beams`, if its first beam is the annotated text.
        freeze_norm: batch norm of the student keeps the teacher's statistics (its inputs come at mixed scales).
        training_scale: train every image at this scale; a selector, if there is one, is then not trained. None: ask the
            selector, or draw uniformly from the candidates if there is none.
        aggregation: keywords of :class:`LayerAggregation`, whose targets then take the place of the teacher's crops and context
            features; their weights stay those of `roi` and `context`. None: single features are distilled.
        student: see :class:`DynamicSpotter`, as for all other arguments.

    Attributes:
        keeps_shared: whether the losses of a step say from which features they come, see `StepLosses.shared`.

    Raises:
        ValueError: `sequence_targets` or `beams` is unknown or does not fit the teacher, teacher and student differ in their
            characters or in how they normalise images, or one of them lacks what a loss needs.
    """

    @configurable
    def __init__(
        self,
        *,
        teacher: Spotter,
        num_sequences: int = 3,
        beam_width: int = 3,
        sequence_form: str = "weighted",
        sequence_targets: str = "beams",
        beams: str = "attention",
        weights: dict[str, float] | None = None,
        finding: tuple[int, int, float] = (100, 24, 0.3),
        freeze_norm: bool = True,
        training_scale: float | None = None,
        aggregation: dict | None = None,
        **spotter,
    ) -> None:
        super().__init__(**spotter)
        if sequence_targets not in SEQUENCE_TARGETS:
            known = ", ".join(SEQUENCE_TARGETS)
            raise ValueError(f"MODEL.DISTILLATION.SEQUENCE_TARGETS must be one of {known}, got {sequence_targets!r}")
        if beams not in BEAMS:
            raise ValueError(f"MODEL.DISTILLATION.BEAMS must be one of {', '.join(BEAMS)}, got {beams!r}")
        if beams == "ctc" and not teacher.has_ctc_head:
            raise ValueError("MODEL.DISTILLATION.BEAMS ctc needs a teacher with a CTC head (MODEL.RECOGNITION.CTC_WEIGHT > 0)")
        if beams == "ctc" and sequence_targets == "forced_top1":
            raise ValueError("MODEL.DISTILLATION.SEQUENCE_TARGETS forced_top1 is of the decoder: it does not go with BEAMS ctc")
        for who, spotter in (("teacher", teacher), ("student", self.student)):
            if spotter.decoder is None:
                hint = ": MODEL.STRIPS.TRAINING.DECODER_WIDTH must be positive" if spotter.reads_photos else ""
                raise ValueError(f"the {who}, a {type(spotter).__name__}, has no attention decoder{hint}")
        if teacher.charset != self.student.charset:
            raise ValueError(f"the teacher reads {teacher.charset!r}, the student {self.student.charset!r}")
        for statistic in ("pixel_mean", "pixel_std"):
            if torch.equal(getattr(teacher, statistic), getattr(self.student, statistic)):
                continue
            raise ValueError("teacher and student normalise images otherwise: MODEL.PIXEL_MEAN and PIXEL_STD must agree")
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule
        self.num_sequences, self.beam_width = num_sequences, beam_width
        reading = {"rec": 1.0, "selector": 1.0, "roi": 1.0, "context": 1.0, "sequence": 1.0}
        self.weights = {**reading, **dict.fromkeys(FINDING_LOSSES, 0.0), **(weights or {})}
        self.finding = finding
        if self.distills_finding:
            for spotter, method in ((teacher, "finding_targets"), (self.student, "finding_losses")):
                if lacks(type(spotter), method):
                    raise ValueError(f"{type(spotter).__name__} {NO_PROPOSALS}")
        self.sequence_form, self.sequence_targets, self.beams = sequence_form, sequence_targets, beams
        self.freeze_norm, self.training_scale = freeze_norm, training_scale
        if self.selector is not None and training_scale is not None:
            # no loss reaches it, and distributed training would wait forever for its gradient
            self.selector.requires_grad_(False)
        self.aggregation = None if aggregation is None else self._aggregation(aggregation)
        self.keeps_shared = False
        self.loss_units = {**self.student.loss_units, **dict.fromkeys(DISTILLATION_LOSSES, "word")}
        if self.aggregation is not None:
            self.loss_units |= dict.fromkeys(("loss_kd_st", *(f"loss_kd_{group}" for group in GROUP_LOSSES)), "word")
            annotated = {name: self.student.loss_units.get(name, "word") for name in ANNOTATED_READING}
            self.loss_units |= {f"loss_kd_ts_{name.removeprefix('loss_')}": unit for name, unit in annotated.items()}

    def _aggregation(self, options: dict) -> LayerAggregation:
        for spotter in (self.teacher, self.student):
            if not spotter.layer_groups:
                raise ValueError(f"{type(spotter).__name__} {NO_LAYERS}")
        return LayerAggregation(self.student.layer_groups, self.teacher.layer_groups, **options)

    @classmethod
    def from_config(cls, cfg) -> dict:
        ret = super().from_config(cfg)
        node, selector = cfg.MODEL.DISTILLATION, cfg.MODEL.SELECTOR
        if cfg.MODEL.STRIPS.LOCATOR.ONLY:
            raise ValueError(
                "MODEL.STRIPS.LOCATOR.ONLY needs MODEL.META_ARCHITECTURE TextSpottingRCNN: a locator has no teacher"
            )
        other = teacher_config(cfg)
        of_teacher = (cfg if other is None else other).clone()
        of_teacher.defrost()
        # nobody asks the teacher where annotated words run, and its weights may hold no locator
        of_teacher.MODEL.STRIPS.LOCATOR.NAME = "mask"
        teacher = build_spotter(of_teacher)
        if other is not None:
            ret["cost_table"] = CostTable.measure(ret["student"], teacher, ret["selector"], tuple(selector.SCALES))
        ret.update(
            teacher=teacher,
            num_sequences=node.NUM_SEQUENCES,
            beam_width=node.BEAM_WIDTH,
            sequence_form=node.SEQUENCE_FORM,
            sequence_targets=node.SEQUENCE_TARGETS,
            beams=node.BEAMS,
            weights={
                "rec": node.REC_WEIGHT,
                "selector": selector.WEIGHT,
                "roi": node.ROI_WEIGHT,
                "context": node.CONTEXT_WEIGHT,
                "sequence": node.SEQUENCE_WEIGHT,
                **{name: node.FINDING[f"{name.upper()}_WEIGHT"] for name in FINDING_LOSSES},
            },
            finding=(node.FINDING.PROPOSALS, node.FINDING.FINDS, node.FINDING.SCORE_THRESH),
            freeze_norm=node.FREEZE_NORM,
            training_scale=selector.FIXED_SCALE or None,
        )
        groups, aggregation = checked_aggregation(cfg), node.AGGREGATION
        if groups:
            ret["aggregation"] = {
                "groups": groups,
                "search_steps": aggregation.SEARCH_STEPS,
                "gamma_st": aggregation.GAMMA_ST,
                "gamma_ts": aggregation.GAMMA_TS,
                "shares": aggregation.BETA,
                "scales": tuple(selector.SCALES) if aggregation.BY_SCALE else (),
            }
        return ret

    @property
    def teacher(self) -> Spotter:
        return self._teacher[0]

    def _apply(self, fn, recurse: bool = True):
        # .to() and .cuda() must reach the teacher although it is not a submodule
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> DistillMetaArch:
        """Set training mode for student and selector, but never for the teacher or for frozen batch norm."""
        super().train(mode)
        if mode and self.freeze_norm:
            for m in self.student.modules():
                if isinstance(m, nn.modules.batchnorm._BatchNorm):
                    m.eval()
        return self

    @property
    def distills(self) -> bool:
        """Whether any distillation loss of reading is on."""
        return any(self.weights[k] > 0 for k in ("roi", "context", "sequence"))

    @property
    def distills_finding(self) -> bool:
        """Whether any distillation loss of finding is on."""
        return any(self.weights[k] > 0 for k in FINDING_LOSSES)

    @property
    def reading_losses(self) -> set[str]:
        """Names of the losses of reading, those of the annotation included."""
        own = {name for name in self.loss_units if name.startswith("loss_kd_")}
        return {*ANNOTATED_READING, *own}

    def _keeping_layers(self, spotter: Spotter) -> AbstractContextManager[None]:
        return nullcontext() if self.aggregation is None else spotter.keeping_layers()

    @property
    def selects(self) -> bool:
        """Whether a selector is trained."""
        return self.selector is not None and self.training_scale is None

    def annotate(self, batched_inputs: list[dict]) -> AnnotatedBatch:
        """Make the batch that all steps of an iteration use, from the mapper's inputs at the teacher's resolution."""
        return AnnotatedBatch.of(batched_inputs, self.student)

    @torch.no_grad()
    def ask_teacher(self, batch: AnnotatedBatch) -> TeacherTargets | None:
        """Step 1: the frozen teacher reads the annotated words of the batch at full resolution.

        Returns:
            its features, characters and best sequences for the R readable words; None if neither distillation nor selector
            needs them.
        """
        if not (self.distills or self.selects):
            return None
        with self._keeping_layers(self.teacher):
            features = read_annotated(self.teacher, batch, 1.0).features
        return teacher_targets(self.teacher, features, batch.texts, self.num_sequences, self.beam_width, self.beams)

    @torch.no_grad()
    def ask_where(self, batch: AnnotatedBatch) -> list[FindingTargets] | None:
        """Return what the frozen teacher finds in each image at full resolution; None if no loss needs it."""
        if not self.distills_finding:
            return None
        found: dict[int, FindingTargets] = {}
        for members in batch.groups([1.0] * len(batch), self.teacher.size_divisibility).values():
            images = batch.at_scale(members, 1.0, self.teacher).images
            found.update(zip(members, self.teacher.finding_targets(images, *self.finding), strict=True))
        return [found[i] for i in range(len(batch))]

    def forward(self, batch: AnnotatedBatch | list[dict], targets: TeacherTargets | None = None):
        """Return losses in training, spotted words at test.

        Args:
            batch: in training the result of :meth:`annotate`, or the mapper's inputs; at test the inputs.
            targets: the result of :meth:`ask_teacher` for this batch; None: the teacher is asked here.
        """
        if not self.training:
            return self.inference(batch)
        if not isinstance(batch, AnnotatedBatch):
            batch = self.annotate(batch)
        if targets is None:
            targets = self.ask_teacher(batch)
        losses, generators = {}, image_generators(batch.seeds)
        if self.selects:
            images = batch.padded(self.student.size_divisibility)
            loss, choice = self.train_selector(images, self.compare_scales(batch, targets), generators)
            losses["loss_selector"] = self.weights["selector"] * loss
            scales = [self.scales[i] for i in choice.tolist()]
        else:
            scales = self._given_scales(batch, generators)
        student = self.train_student(batch, scales, targets, self.ask_where(batch))
        return StepLosses({**losses, **student}, self.loss_units, student.counts, scales, student.shared)

    def _given_scales(self, batch: AnnotatedBatch, generators: list[torch.Generator] | None) -> list[float]:
        """Return the scale of each image without a selector: the fixed one, or a candidate that is drawn."""
        if self.training_scale is not None:
            return [self.training_scale] * len(batch)
        undecided = torch.zeros(len(batch), len(self.scales), device=self.device)
        return [self.scales[i] for i in draw_scales(undecided, generators, uniform_share=1.0).tolist()]

    def compare_scales(self, batch: AnnotatedBatch, targets: TeacherTargets) -> ScaleComparison:
        """Step 2: the student reads the annotated words at every candidate scale, without gradient; see `try_scales`."""
        return try_scales(self.student, batch, targets, self.cost_table, self.selector.word_loss)

    def train_selector(
        self, images: ImageList, comparison: ScaleComparison, generators: list[torch.Generator] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the selector's loss on normalised, padded images, and each image's training scale as an index, int64 (N,)."""
        loss, choice = self.selector.learn(images, comparison, generators)
        if self.selector.mu is not None:
            # the weight of the cost follows from this training's gamma, whatever weights the model started from
            self.mu.fill_(self.selector.mu)
        storage = get_event_storage()
        storage.put_scalar("selector/kl", float(comparison.kl.mean()))
        storage.put_scalar("selector/cost", float(comparison.cost.gather(1, choice[:, None]).mean()))
        for rows, lost in (comparison.lost_at_rows or {}).items():
            if len(lost):
                storage.put_scalar(f"selector/lost_at_{rows}_rows", float(lost.mean()))
        return loss, choice

    def train_student(
        self,
        batch: AnnotatedBatch,
        scales: list[float],
        targets: TeacherTargets | None,
        finding: list[FindingTargets] | None = None,
    ) -> StepLosses:
        """Step 3: compute detection, recognition and distillation losses at the chosen scales.

        Images of one scale and padded size run together. The loss of the batch is the sum of the groups' losses, each weighted
        by the group's share of what that loss is a mean over: images, words, characters or sampled proposals. So grouping
        changes no weight.

        Args:
            finding: the result of :meth:`ask_where`.
        """
        steps, groups = batch.steps, []
        shared: dict[str, list[torch.Tensor]] = {"finding": [], "reading": []}
        for (scale, _), members in batch.groups(scales, self.student.size_divisibility).items():
            part = batch.at_scale(members, scale, self.student)
            with self._keeping_layers(self.student):
                student = self.student.losses(part.images, part.words, part.seeds, part.photos)
            found, index = student.losses, batch.word_index(members)
            if self.keeps_shared:
                shared["finding"] += (student.pyramid or {}).values()
                if student.features is not None:
                    # crops are what all losses of reading come from; strips of several widths come together behind them
                    shared["reading"].append(student.features.context if self.student.reads_photos else student.features.roi)
            if self.distills:
                assert student.features is not None, "students read"
                found.update(self.distillation_losses(student.features, targets, index, batch.texts, scale))
            if finding is not None:
                seen = zip(members, part.images.image_sizes, strict=True)
                found.update(self.finding_losses(student.pyramid, [finding[i].resized(size) for i, size in seen]))
            groups.append((found, {"image": len(members), "word": len(index), "step": steps[index].sum(), **student.counts}))
        return self._put_together(groups, scales, shared if self.keeps_shared else None)

    def _put_together(
        self,
        groups: list[tuple[dict[str, torch.Tensor], dict]],
        scales: list[float],
        shared: dict[str, list[torch.Tensor]] | None = None,
    ) -> StepLosses:
        """Return the losses of the batch from those of groups of its images, each with its number of units."""
        total = {unit: sum(counts[unit] for _, counts in groups) for unit in groups[0][1]}
        losses: dict[str, torch.Tensor] = {}
        for found, counts in groups:
            for name, value in found.items():
                unit = self.loss_units.get(name, "image")
                weight = counts[unit] / max(total[unit], 1)
                if self.student.loss_units.get(name) in READING_UNITS:
                    weight = self.weights["rec"] * weight
                losses[name] = losses[name] + weight * value if name in losses else weight * value
        counted = {unit: n for unit, n in total.items() if unit != "image"}
        return StepLosses(losses, self.loss_units, counted, scales, shared)

    def search_losses(self, batch: AnnotatedBatch, targets: TeacherTargets) -> StepLosses:
        """Return the bridge loss of a batch of which only beta learns; scales are drawn uniformly where none is fixed."""
        scales, groups = self._given_scales(batch, image_generators(batch.seeds)), []
        for (scale, _), members in batch.groups(scales, self.student.size_divisibility).items():
            part, index = batch.at_scale(members, scale, self.student), batch.word_index(members)
            with torch.no_grad(), self._keeping_layers(self.student), batch_norm_in_eval(self.student):
                reading = self.student.recognize(part.images, part.words, part.photos)[0]
            found = self.aggregated_losses(reading, targets, index, batch.texts, scale)
            groups.append((found, {"image": len(members), "word": len(index), "step": batch.steps[index].sum()}))
        return self._put_together(groups, scales)

    def distillation_losses(
        self,
        reading: RecognitionFeatures,
        targets: TeacherTargets,
        index: torch.Tensor,
        texts: torch.Tensor,
        scale: float = 1.0,
    ) -> dict[str, torch.Tensor]:
        """Return feature and sequence losses of the student's words against the teacher's words `index` (R',).

        Args:
            texts: annotated ids (R, T) of all words of the batch.
            scale: at which the student read them.
        """
        losses = {}
        if self.aggregation is not None:
            losses.update(self.aggregated_losses(reading, targets, index, texts, scale))
        elif self.weights["roi"] > 0:
            wanted = targets.roi[index]
            if self.student.reads_photos:
                wanted = wanted[..., : reading.roi.shape[-1]]
            losses["loss_kd_roi"] = self.weights["roi"] * roi_feature_loss(reading.roi, wanted)
        if self.aggregation is None and self.weights["context"] > 0:
            wanted = targets.context[index]
            if self.student.reads_photos:
                # columns beyond the longest of these words are repeated ones
                wanted = wanted[:, : reading.context.shape[1]]
            losses["loss_kd_context"] = self.weights["context"] * context_feature_loss(reading.context, wanted)
        if self.weights["sequence"] > 0:
            decoder = self.student.decoder
            ids, scores, valid = self._sequences(targets, index, texts)
            # a mean over all words: a word without sequences adds nothing and does not change the weight of the others
            counted = valid.any(1).sum() / max(len(valid), 1)
            losses["loss_kd_sequence"] = (
                self.weights["sequence"]
                * counted
                * sequence_distillation_loss(
                    decoder(reading.context, ids), ids, scores, valid, self.charset.pad, form=self.sequence_form
                )
            )
        return losses

    def aggregated_losses(
        self, reading: RecognitionFeatures, targets: TeacherTargets, index: torch.Tensor, texts: torch.Tensor, scale: float
    ) -> dict[str, torch.Tensor]:
        """Return the losses against aggregates of the teacher's layers: in a search the bridge loss, else a distance by group.

        Arguments as of :meth:`distillation_losses`.
        """
        aggregation, own, columns = self.aggregation, reading.layers, reading.context.shape[1]
        assert aggregation is not None and own is not None and targets.layers is not None, "they were asked for"
        wanted = {name: tuple(x[index] for x in group) for name, group in targets.layers.items()}
        if self.student.reads_photos:
            # columns beyond the longest of these words are repeated ones
            wanted = {
                name: tuple(x[..., :columns] if x.dim() == 4 else x[:, :columns] for x in group)
                for name, group in wanted.items()
            }

        def read(group: str, features: torch.Tensor) -> dict[str, torch.Tensor]:
            with batch_norm_in_eval(self.student):
                return self.student.losses_from(group, features, texts[index])

        if aggregation.group is not None:
            losses = aggregation.bridge_losses(own, wanted, scale, read)
        else:
            losses = {
                f"loss_kd_{group}": self.weights[GROUP_LOSSES[group]] * aggregation.distance(group, own, wanted, scale)
                for group in aggregation.groups
            }
        first = next(iter(losses))
        return {**losses, first: losses[first] + aggregation.nothing()}

    def finding_losses(self, pyramid: dict[str, torch.Tensor] | None, targets: list[FindingTargets]) -> dict[str, torch.Tensor]:
        """Return the weighted losses of finding of images at one scale; see :meth:`Spotter.finding_losses`.

        Raises:
            ValueError: the student is not trained to find.
        """
        if pyramid is None:
            raise ValueError("MODEL.RECOGNITION.ONLY trains no finding: MODEL.DISTILLATION.FINDING must be 0")
        losses = self.student.finding_losses(pyramid, targets)
        weights = {f"loss_kd_{name}": self.weights[name] for name in FINDING_LOSSES}
        return {name: weights[name] * value for name, value in losses.items() if weights[name] > 0}

    def _sequences(self, targets: TeacherTargets, index: torch.Tensor, texts: torch.Tensor):
        """Return ids (R', K, T), scores (R', K) and validity (R', K) of the sequences that the student is trained on."""
        if self.sequence_targets != "forced_top1":
            beams = targets.beams
            valid = beams.valid[index]
            if self.sequence_targets == "right_beams":
                valid = valid & self._read_right(targets, texts)[index].unsqueeze(1)
            ids = beams.ids[index]
            if len(index):
                ids = ids[:, :, : max(int((ids != self.charset.pad).sum(-1).max()), 1)]
            return ids, beams.log_probabilities[index], valid
        best = targets.logits[index].argmax(-1)
        end = best == self.charset.end
        # no step after the first end counts, and none beyond the annotated prefix
        over = (end.cumsum(1) - end.long() > 0) | (texts[index] == self.charset.pad)
        ids = best.masked_fill(over, self.charset.pad).unsqueeze(1)
        return ids, ids.new_zeros((len(ids), 1), dtype=torch.float32), ids.new_ones((len(ids), 1), dtype=torch.bool)

    def _read_right(self, targets: TeacherTargets, texts: torch.Tensor) -> torch.Tensor:
        """Return which words (R,) the head that gives the beams reads as they are annotated, ids (R, T)."""
        if self.beams == "attention":
            return targets.correct
        longest = max(targets.beams.ids.shape[2], texts.shape[1])
        best, wanted = (
            F.pad(ids, (0, longest - ids.shape[1]), value=self.charset.pad) for ids in (targets.beams.ids[:, 0], texts)
        )
        # what is not to be read is padding, and so is the first beam of a word without any
        return (best == wanted).all(1) & targets.beams.valid[:, 0]
