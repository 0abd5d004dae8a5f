"""What scales cost, and the choice of an image's scale, from the numbers of `spotter.json`.

The law of cost is that of `dld.modeling.resolution.cost.CostTable`, the rule that of `DynamicSpotter` and
`dld.inference.scale_choice`, for one image at a time and in numpy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dld.strips.grouping import StripSize
from dld.strips.heights import STRIP_ROWS
from dld.strips.rows_price import RowsPrice, loss_table
from dld.strips.strip_law import strip_laws
from dld.structures.image_sizes import padded_size, scaled_size
from dld.structures.scale_options import mu_of

__all__ = ["ScaleRule"]

logger = logging.getLogger(__name__)


class ScaleRule:
    """Costs and choice of the candidate scales.

    Args:
        settings: the "scales" part of `spotter.json`.
        selects: whether there is a selector.
    """

    def __init__(self, settings: Mapping[str, Any], selects: bool) -> None:
        self.selects, self.candidates = selects, [float(s) for s in settings["candidates"]]
        self.mu, self.expected_words = float(settings["mu"]), float(settings["expected_words"])
        self.fixed_scale, self.input_scale = settings["fixed_scale"], settings["input_scale"]
        self.steps, self.table = settings["decoder_steps"], settings["cost_table"]
        self.budget_table = settings["budget_table"]
        # folders of before have neither
        self.words_per_score = settings.get("words_per_score")
        self.rows_losses = loss_table(settings.get("rows_losses", []))

    def choose(self, size: tuple[int, int], score: Callable[[], np.ndarray], budget: float | None = None) -> tuple[float, bool]:
        """Choose the scale of an image; return it and whether the selector ran for it.

        Args:
            size: (H, W) at the teacher's resolution.
            score: gives the selector's logits (S,).
            budget: largest cost; see `dld.TextSpotter`.

        Raises:
            ValueError: a budget below the calibration table.
        """
        if budget is None and self.fixed_scale is not None:
            return float(self.fixed_scale), False
        mu, calibrated = self._mu(budget)
        teacher = self.teacher_flops(size, self.expected_words)
        spent = [self.flops(size, s, self.expected_words, self.selects) for s in self.candidates]
        costs = (np.array(spent) / teacher).astype(np.float32)
        if self.selects:
            logits = score()
            scores = logits - logits.max()
            scores = scores - np.log(np.exp(scores).sum()) - np.float32(mu) * costs
        else:
            scores = np.array(self.candidates)  # the larger the better
        if budget is not None and not calibrated:
            affordable = costs <= budget + 1e-6
            if not affordable.any():
                logger.warning(
                    "an image of %d x %d pixels cannot be read for %.3g of the teacher's cost: the cheapest scale, %g, takes "
                    "%.3g",
                    size[1],
                    size[0],
                    budget,
                    self.candidates[int(costs.argmin())],
                    float(costs.min()),
                )
                affordable = costs == costs.min()
            scores = np.where(affordable, scores, -np.inf)
        return self.candidates[int(scores.argmax())], self.selects

    def _mu(self, budget: float | None) -> tuple[float, bool]:
        """Return mu, and whether it is that of a budget."""
        calibrated = budget is not None and self.selects and bool(self.budget_table)
        return (mu_of(self.budget_table, budget) if calibrated else self.mu), calibrated

    def rows_price(self, size: tuple[int, int], budget: float | None = None) -> RowsPrice | None:
        """Return what chooses heights of strips where the selector chose the scale; see `DynamicSpotter.rows_price`."""
        if not self.rows_losses or self.words_per_score is None:
            return None
        price = max(self._mu(budget)[0], 0.0) * self.words_per_score / self.teacher_flops(size, self.expected_words)
        return RowsPrice(self.rows_losses, strip_laws(self.table["student"]), price)

    def flops(
        self,
        size: tuple[int, int],
        scale: float,
        words: float,
        selecting: bool,
        strip_sizes: Sequence[StripSize] | None = None,
    ) -> float:
        """Count the FLOPs of the student at `scale`, of the resize and, if `selecting`, of the selector.

        Args:
            size: (H, W) at the teacher's resolution.
            words: number of kept boxes.
            strip_sizes: of the strips read; None: one strip a word, of the expected width.
        """
        resize = 2 * 3 * (2 + 2 * scale) if scale < 1 else 0.0
        selector = self.table["selector_per_pixel"] if selecting else 0.0
        return self._spotter("student", size, scale, words, strip_sizes) + size[0] * size[1] * (selector + resize)

    def teacher_flops(self, size: tuple[int, int], words: float, strip_sizes: Sequence[StripSize] | None = None) -> float:
        """Count the FLOPs of the teacher at full size, which reads all strips at 48 rows; arguments as in :meth:`flops`."""
        if strip_sizes is not None:
            strip_sizes = [StripSize(STRIP_ROWS, size.width) for size in strip_sizes]
        return self._spotter("teacher", size, 1.0, words, strip_sizes)

    def _spotter(
        self, name: str, size: tuple[int, int], scale: float, words: float, strip_sizes: Sequence[StripSize] | None
    ) -> float:
        law = self.table[name]
        height, width = padded_size(scaled_size(size, scale), law["divisibility"])
        per_pixel = law["per_pixel"] + law["stem_per_pixel"] * (words > 0)
        fixed = law["per_image"] + words * (law["per_word"] + law["per_step"] * self.steps)
        return per_pixel * height * width + fixed + _strip_flops(law, words, strip_sizes)


def _strip_flops(law: Mapping[str, Any], words: float, strip_sizes: Sequence[StripSize] | None) -> float:
    """Count the FLOPs of reading strips; 0 where crops are read, and for tables older than strips."""
    laws = strip_laws(law)
    if strip_sizes is None:
        return words * float(laws[STRIP_ROWS].flops(law.get("expected_strip_width", 0)))
    # a height that the law does not hold is charged as 48 rows
    return float(sum(laws.get(rows, laws[STRIP_ROWS]).flops(width) for rows, width in strip_sizes))
