"""The model that inference runs: selector -> antialiased resize -> student -> words in coordinates of the given image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import nn

from dld.modeling.meta_arch.annotated_batch import normalized_images
from dld.modeling.meta_arch.spotter import Spotter, build_spotter
from dld.modeling.resolution.cost import CostTable, stored_cost
from dld.modeling.resolution.rescale import group_by_scale, rescale_images
from dld.modeling.resolution.selector import build_selector
from dld.strips.rows_price import RowsPrice, checked_shares, loss_table
from dld.text.charset import Charset

__all__ = ["DynamicSpotter"]


@META_ARCH_REGISTRY.register()
class DynamicSpotter(nn.Module):
    """A student spotter and the selector that chooses, per image, the scale it reads at.

    The choice is deterministic: the scale is argmax_i (log p_i - mu c_i), where c_i is the cost of scale i as a share of
    the teacher's. Images of one scale and padded size run together, so a batch gives exactly the words that its images give
    one by one.

    Each output dict has "instances" (see `spotting_postprocess`), "scale" (of the teacher's resolution), "cost" (share of
    the teacher's total FLOPs at full size), "gflops" (everything that ran, selector included, 2 FLOPs per
    multiply-accumulate) and "paper_gflops" (the paper's convention, see `dld.modeling.flops`).

    Args:
        student: the spotter.
        selector: scores the candidate scales; None: every image runs at `fixed_scale`.
        scales: candidate scales S of the teacher's resolution.
        cost_table: see :class:`~dld.modeling.resolution.cost.CostTable`.
        mu: how much a unit of cost lowers a scale's score; calibrated for a wanted mean cost.
        expected_words: number of words per image to assume when the cost of a scale must be known before reading.
        fixed_scale: run every image at this scale, whatever the selector says; None: ask the selector.
        rows_losses: of each height of strips what a word of each class of height loses
            (:func:`dld.strips.rows_price.loss_table`). Where the selector chooses, by scores that are of words, heights are
            then chosen at the same price, mu; empty: the heights of the words alone choose those of strips.
        height_shares: shares of words of these classes.
    """

    @configurable
    def __init__(
        self,
        *,
        student: Spotter,
        selector: nn.Module | None,
        scales: tuple[float, ...],
        cost_table: CostTable,
        mu: float = 0.0,
        expected_words: float = 8.0,
        fixed_scale: float | None = None,
        rows_losses: Mapping[int, np.ndarray] | None = None,
        height_shares: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if selector is None and fixed_scale is None:
            raise ValueError("without a selector a fixed scale is needed")
        self.student, self.selector = student, selector
        if hasattr(selector, "inference_dtype"):
            selector.inference_dtype = student.inference_dtype
        self.scales, self.cost_table = tuple(float(s) for s in scales), cost_table
        self.expected_words, self.fixed_scale = expected_words, fixed_scale
        self.rows_losses, self.height_shares = dict(rows_losses or {}), tuple(height_shares)
        self.register_buffer("mu", torch.tensor(float(mu)))

    @classmethod
    def from_config(cls, cfg) -> dict:
        student = build_spotter(cfg)
        node = cfg.MODEL.SELECTOR
        selector = build_selector(cfg) if node.ENABLED else None
        return {
            "student": student,
            "selector": selector,
            "scales": tuple(node.SCALES),
            "cost_table": CostTable.measure(
                student, None, selector, tuple(node.SCALES), stored_cost(cfg.MODEL.DISTILLATION.TEACHER_COST)
            ),
            "mu": node.MU,
            "expected_words": node.EXPECTED_WORDS,
            "fixed_scale": node.FIXED_SCALE or (None if selector is not None else max(node.SCALES)),
            "rows_losses": loss_table(cfg.MODEL.STRIPS.ROWS_LOSSES),
            "height_shares": checked_shares(cfg.MODEL.STRIPS.HEIGHT_SHARES),
        }

    @property
    def device(self) -> torch.device:
        return self.student.pixel_mean.device

    @property
    def charset(self) -> Charset:
        return self.student.charset

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """Read images, see the class. Each input dict has "image" (3, H, W) at the teacher's resolution, `height`, `width`."""
        return self.inference(batched_inputs)

    def normalize(self, batched_inputs: list[dict]) -> list[torch.Tensor]:
        """Return normalised images (3, H_i, W_i) on the model's device."""
        return normalized_images(batched_inputs, self.student)

    def select_scales(self, images: list[torch.Tensor]) -> list[float]:
        """Choose the scale of each normalised image (3, H_i, W_i)."""
        if self.fixed_scale is not None:
            return [float(self.fixed_scale)] * len(images)
        logits = self.score_scales(images)
        sizes = [tuple(x.shape[-2:]) for x in images]
        cost = self.cost_table.costs(sizes, [self.expected_words] * len(sizes)).to(logits)
        return [self.scales[i] for i in (logits.log_softmax(-1) - self.mu * cost).argmax(-1).tolist()]

    def score_scales(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Return the selector's logits (N, S) for normalised images of any sizes."""
        batch = ImageList.from_tensors(images, self.student.size_divisibility)
        return self.selector(batch.tensor, batch.image_sizes).float()

    @property
    def prices_rows(self) -> bool:
        """Whether heights of strips are chosen for their cost where the selector chooses scales."""
        reads_strips = bool(self.cost_table.student.strip_laws)
        return reads_strips and bool(self.rows_losses) and getattr(self.selector, "words_per_score", None) is not None

    def rows_price(self, full: float, mu: float) -> RowsPrice:
        """Return what chooses heights of strips for an image whose reading costs the teacher `full` FLOPs.

        A score falls by mu for the teacher's whole cost, and by 1 for `words_per_score` words: so a FLOP is worth
        mu words_per_score / full words.
        """
        price = max(mu, 0.0) * self.selector.words_per_score / full
        return RowsPrice(self.rows_losses, self.cost_table.student.strip_laws, price)

    def reading_saved(self, full: float, mu: float) -> float:
        """Return the FLOPs that lower strips are expected to save of such an image; 0 where nothing is known of heights."""
        if not (self.prices_rows and self.height_shares):
            return 0.0
        law, student = self.cost_table.student, self.student
        price = self.rows_price(full, mu)
        spent = price.expected_flops(self.height_shares, law.expected_strip_width, student.strip_rows, student.most_enlarged)
        return self.expected_words * (law.expected_reading - spent)

    def groups(self, images: list[torch.Tensor], scales: list[float]) -> dict[tuple, list[int]]:
        """Return the positions of the images (3, H_i, W_i) that run together, see :func:`group_by_scale`."""
        sizes = [tuple(x.shape[-2:]) for x in images]
        return group_by_scale(sizes, scales, self.student.size_divisibility)

    def inference(self, batched_inputs: list[dict], do_postprocess: bool = True) -> list[dict]:
        """Read the images as `forward` does."""
        images = self.normalize(batched_inputs)
        scales = self.select_scales(images)
        divisor = self.student.size_divisibility
        choosing = self.fixed_scale is None and self.prices_rows
        if choosing:
            sizes = [tuple(x.shape[-2:]) for x in images]
            full = self.cost_table.teacher_flops(sizes, [self.expected_words] * len(sizes)).tolist()
            prices = [self.rows_price(flops, float(self.mu)) for flops in full]
            batched_inputs = [{**x, "rows_price": p} for x, p in zip(batched_inputs, prices, strict=True)]
        outputs: list[dict] = [{} for _ in images]
        for (scale, _), members in self.groups(images, scales).items():
            batch = rescale_images([images[i] for i in members], scale, divisor)
            if self.student.channels_last:
                batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
            results = self.student.spot(batch)
            if do_postprocess:
                found = self.student.postprocess(results, [batched_inputs[i] for i in members])
            else:
                found = [{"instances": r} for r in results]
            for i, read, output in zip(members, results, found, strict=True):
                outputs[i] = {**output, **self._account(images[i], scale, len(read), output)}
        return outputs

    def _account(self, image: torch.Tensor, scale: float, words: int, output: dict) -> dict:
        """Return what reading an image cost, of which `output` says what was read; see the class."""
        selecting = self.selector is not None and self.fixed_scale is None
        table = dataclasses.replace(
            self.cost_table,
            scales=(scale,),
            selector_per_pixel=self.cost_table.selector_per_pixel if selecting else 0.0,
        )
        size = [tuple(image.shape[-2:])]
        known = {"strip_sizes": output.get("strip_sizes"), "asked": output.get("asked")}
        spent = float(table.flops(size, [words], **known))
        return {
            "scale": scale,
            "cost": spent / float(table.teacher_flops(size, [words], **known)),
            "gflops": spent / 1e9,
            "paper_gflops": float(table.paper_gflops(size)),
        }
