"""Reaches a wanted mean cost without retraining: the selector's scores are shifted by mu x cost.

N images, S candidate scales. `DynamicSpotter` reads image i at the scale argmax_s (log p_is - mu c_is), where c_is is the
cost of that scale as a share of the teacher's. A larger mu gives cheaper scales: the mean cost of a set of images is a
falling staircase over mu, whose steps lie where two scales of an image change places. mu is found among those steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter

__all__ = ["DEAREST", "Budget", "ReadingSaved", "ScaleScores", "calibrate_mu", "choose_scales", "gather_scores", "score_images"]

# a mu beyond which nothing becomes cheaper
DEAREST = 1e4
# values of mu at which what strips save is looked at
_GRID = 200
# The model keeps mu in float32: steps that lie closer than this are one step.
_DECIMALS = 6


class ScaleScores(NamedTuple):
    """What a selector thinks of every image and what every scale would cost; float64 (N, S) each."""

    log_probabilities: np.ndarray
    costs: np.ndarray  # shares of the teacher's cost on that image, `expected_words` assumed
    gflops: np.ndarray  # the same in 1e9 FLOPs, selector included


class Budget(NamedTuple):
    """A wanted mean cost: a share of the teacher's cost, or 1e9 FLOPs an image."""

    value: float
    in_gflops: bool = False

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget: `0.6` is a share of the teacher's mean cost, `150G` are GFLOPs (1e9) an image.

        Raises:
            ValueError: neither of the two, or not positive.
        """
        number = text.strip()
        in_gflops = number[-1:] in ("G", "g")
        try:
            value = float(number[:-1] if in_gflops else number)
        except ValueError:
            value = float("nan")
        if not (value > 0 and np.isfinite(value)):
            raise ValueError(f"budget {text!r} is neither a share of the teacher's cost (0.6) nor GFLOPs (150G)")
        return cls(value, in_gflops)

    def __str__(self) -> str:
        return f"{self.value:g}G" if self.in_gflops else f"{self.value:g}"

    def calibrate(self, scores: ScaleScores, saved: ReadingSaved | None = None) -> float:
        """Return the mu that keeps to this budget on the images of `scores`; see :func:`calibrate_mu`.

        Args:
            saved: what lower strips save of the cost at a mu, as shares and in GFLOPs; None: nothing.
        """
        spent = scores.gflops if self.in_gflops else scores.costs
        own = None if saved is None else lambda mu: saved(mu)[self.in_gflops]
        return calibrate_mu(scores.log_probabilities, scores.costs, self.value, spent, own)


def choose_scales(scores: np.ndarray, costs: np.ndarray, mu: float) -> np.ndarray:
    """Return the index of the chosen scale of each image, int64 (N,); arguments as in :func:`calibrate_mu`."""
    return (np.asarray(scores, dtype=np.float64) - mu * np.asarray(costs, dtype=np.float64)).argmax(1)


def calibrate_mu(
    scores: np.ndarray | Sequence,
    costs: np.ndarray | Sequence,
    wanted_mean_cost: float,
    spent: np.ndarray | Sequence | None = None,
    saved: Callable[[float], float] | None = None,
) -> float:
    """Find the mu that spends as much as it may: the mean chosen cost is at most the wanted one.

    A bisection over the steps of the staircase makes the answer exact for these images. mu is negative where the wanted cost
    is above what the selector spends by itself, and 0 where 0 is right already.

    Args:
        scores: log-probabilities (N, S).
        costs: c (N, S), what mu multiplies.
        wanted_mean_cost: in the unit of `spent`.
        spent: what is averaged (N, S), larger where the image's cost is; None: the costs.
        saved: by how much the mean is less at a mu, whatever scales are chosen, and never less at a larger one: what lower
            strips save. The bisection is then over the steps of the scales and a grid beside them, and may spend a little less
            than it may, never more.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a cost that no choice of scales has; the
            message names the reachable range.
    """
    scores, costs = np.asarray(scores, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    spent = costs if spent is None else np.asarray(spent, dtype=np.float64)
    shapes = [table.shape for table in (scores, costs, spent)]
    if scores.ndim != 2 or not scores.size or len(set(shapes)) > 1:
        raise ValueError(f"scores, costs and spent must be (N, S) alike, got {', '.join(map(str, shapes))}")
    if not all(np.isfinite(table).all() for table in (scores, costs, spent)):
        raise ValueError("scores and costs must be finite")
    low, high = float(spent.min(1).mean()), float(spent.max(1).mean())
    steps = _steps(scores, costs)
    if saved is not None:
        # strips save between the steps of the scales, too, and go on where every image has its cheapest scale
        dearest = max(DEAREST, 2 * float(steps[-1])) if len(steps) else DEAREST
        steps = np.unique(np.concatenate([steps, np.geomspace(1e-3, dearest, _GRID)]))
        low -= saved(_between(steps, len(steps)))
    slack = 1e-9 * max(abs(high), 1.0)
    if not low - slack <= wanted_mean_cost <= high + slack:
        side = "below" if wanted_mean_cost < low else "above"
        raise ValueError(
            f"a mean cost of {wanted_mean_cost:g} is {side} what the candidate scales allow: {low:.4g} to {high:.4g}"
        )
    rows = np.arange(len(scores))

    def mean_cost(mu: float) -> float:
        mean = float(spent[rows, choose_scales(scores, costs, mu)].mean())
        return mean if saved is None else mean - saved(mu)

    def candidate(k: int) -> float:
        before, after = (steps[k - 1] if k else -np.inf), (steps[k] if k < len(steps) else np.inf)
        return 0.0 if before < 0 < after else _between(steps, k)

    first, last = 0, len(steps)  # the wanted stretch between two steps; the last costs least
    while first < last:
        middle = (first + last) // 2
        if mean_cost(candidate(middle)) <= wanted_mean_cost + slack:
            last = middle
        else:
            first = middle + 1
    return candidate(first)


def _steps(scores: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Return every mu at which two scales of an image change places, ascending."""
    i, j = np.triu_indices(scores.shape[1], 1)
    gap = costs[:, i] - costs[:, j]
    apart = gap != 0
    return np.unique(np.round((scores[:, i] - scores[:, j])[apart] / gap[apart], _DECIMALS))


def _between(steps: np.ndarray, k: int) -> float:
    """Return a mu after k of the steps, as far from both neighbours as possible."""
    if not len(steps):
        return 0.0
    if k == 0:
        return float(steps[0] - 1)
    return float(steps[-1] + 1) if k == len(steps) else float((steps[k - 1] + steps[k]) / 2)


@torch.inference_mode()
def score_images(model: DynamicSpotter, images: list[torch.Tensor]) -> ScaleScores:
    """Run the selector alone.

    Args:
        images: normalised (3, H_i, W_i) at the teacher's resolution, see `DynamicSpotter.normalize`.

    Raises:
        ValueError: the model has no selector.
    """
    if model.selector is None:
        raise ValueError("the model has no resolution selector: there is nothing to shift towards a budget")
    sizes = [tuple(x.shape[-2:]) for x in images]
    words = [model.expected_words] * len(sizes)
    log_probabilities = model.score_scales(images).log_softmax(-1).double().cpu().numpy()
    costs = model.cost_table.costs(sizes, words).double().numpy()
    return ScaleScores(log_probabilities, costs, model.cost_table.flops(sizes, words).numpy() / 1e9)


class ReadingSaved:
    """What lower strips are expected to save on images of these sizes at a mu: the mean share of the cost, and 1e9 FLOPs.

    Args:
        model: a spotter that chooses heights of strips for their cost.
        sizes: (H, W) of N images at the teacher's resolution.
    """

    def __init__(self, model: DynamicSpotter, sizes: Sequence[tuple[int, int]]) -> None:
        full = model.cost_table.teacher_flops(list(sizes), [model.expected_words] * len(sizes)).numpy()
        self.model = model
        self.known: dict[float, tuple[float, float]] = {}
        self.full, times = np.unique(full, return_counts=True)
        self.weights = times / len(sizes)

    def __call__(self, mu: float) -> tuple[float, float]:
        if mu not in self.known:
            flops = np.array([self.model.reading_saved(full, mu) for full in self.full.tolist()])
            self.known[mu] = float(self.weights @ (flops / self.full)), float(self.weights @ flops / 1e9)
        return self.known[mu]


def gather_scores(model: DynamicSpotter, records: Iterable[dict], total: int | None = None) -> ScaleScores:
    """Gather scores and costs of many images, one after another, with a progress bar.

    Args:
        records: mapped dicts with "image" (3, H, W), as `TextDatasetMapper` makes them.
        total: their number, for the bar.

    Raises:
        ValueError: no images, or no selector.
    """
    parts = [
        score_images(model, model.normalize([record]))
        for record in tqdm(records, total=total, desc="selector", unit="image", disable=None)
    ]
    if not parts:
        raise ValueError("no images to calibrate on")
    return ScaleScores(*(np.concatenate(tables) for tables in zip(*parts, strict=True)))
