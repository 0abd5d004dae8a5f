"""Chooses the scale at which a picture is read: the selector's, a given one, or the best within a budget.

N images, S candidate scales. Costs are shares of what the teacher would spend on the same image at full size. They are
needed before anything is read, so MODEL.SELECTOR.EXPECTED_WORDS words are assumed in each image.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from torch import nn

from dld.inference.budget import DEAREST, ReadingSaved, ScaleScores, calibrate_mu, choose_scales
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.resolution.cost import CostTable
from dld.structures.scale_options import mu_of

__all__ = ["CappedSpotter", "at_scale", "dynamic", "mu_table", "within_budget"]

logger = logging.getLogger(__name__)


def dynamic(model: nn.Module, cfg: CfgNode) -> DynamicSpotter:
    """Return the spotter as one that can be told its scale; wrap a plain one and count its cost (some seconds if large).

    The candidates of a plain spotter are MODEL.SELECTOR.SCALES of its configuration and 1, at which it runs by itself.
    """
    if isinstance(model, DynamicSpotter):
        return model
    if not isinstance(model, Spotter):
        raise ValueError(f"a {type(model).__name__} reads at its own scale only: leave out scale and budget")
    scales = tuple(sorted({*(float(s) for s in cfg.MODEL.SELECTOR.SCALES), 1.0}))
    return DynamicSpotter(
        student=model,
        selector=None,
        scales=scales,
        cost_table=CostTable.measure(model, None, None, scales),
        expected_words=cfg.MODEL.SELECTOR.EXPECTED_WORDS,
        fixed_scale=1.0,
    ).eval()


def at_scale(model: DynamicSpotter, scale: float) -> DynamicSpotter:
    """Return the same networks, told the scale; `model` does not change."""
    return DynamicSpotter(**{**_parts(model), "fixed_scale": scale}).eval()


def within_budget(model: DynamicSpotter, budget: float, table: Sequence[Sequence[float]] = ()) -> DynamicSpotter:
    """Return the same networks, keeping to a budget; `model` does not change.

    With a calibration table the mean keeps to the budget (see :func:`mu_of`), without one every image by itself does (see
    :class:`CappedSpotter`).

    Raises:
        ValueError: the table has no mean cost as low as the budget.
    """
    if table and model.selector is not None:
        return DynamicSpotter(**{**_parts(model), "mu": mu_of(table, budget), "fixed_scale": None}).eval()
    return CappedSpotter(model, budget).eval()


class CappedSpotter(DynamicSpotter):
    """Reads every image at the scale its selector likes best among those that cost at most `budget`.

    Without a selector that is the largest of them. An image for which no candidate is cheap enough (padding and the part of
    the cost that does not shrink weigh most in small images) is read at the cheapest one, with a warning. The choice
    is made for `expected_words`, while the cost in the output is that of the words found: an image with more words can end
    above the budget.

    Args:
        model: a spotter whose networks are shared.
        budget: share of the teacher's cost on the same image.
    """

    def __init__(self, model: DynamicSpotter, budget: float) -> None:
        super().__init__(**{**_parts(model), "fixed_scale": 1.0})
        self.fixed_scale = None
        self.budget = budget

    def select_scales(self, images: list[torch.Tensor]) -> list[float]:
        """Choose the scale of each normalised image (3, H_i, W_i)."""
        sizes = [tuple(x.shape[-2:]) for x in images]
        costs = self.cost_table.costs(sizes, [self.expected_words] * len(sizes))  # N, S
        if self.selector is None:
            scores = torch.tensor(self.scales).expand(len(sizes), -1)  # the larger the better
        else:
            scores = self.score_scales(images).log_softmax(-1).cpu() - self.mu.cpu() * costs
        affordable = costs <= self.budget + 1e-6
        beyond = ~affordable.any(1)
        for i in beyond.nonzero()[:, 0].tolist():
            logger.warning(
                "an image of %d x %d pixels cannot be read for %.3g of the teacher's cost: the cheapest scale, %g, takes %.3g",
                sizes[i][1],
                sizes[i][0],
                self.budget,
                self.scales[int(costs[i].argmin())],
                float(costs[i].min()),
            )
        best = scores.masked_fill(~affordable, -torch.inf).argmax(1)
        return [self.scales[i] for i in torch.where(beyond, costs.argmin(1), best).tolist()]


def mu_table(scores: ScaleScores, points: int = 41, saved: ReadingSaved | None = None) -> list[list[float]]:
    """Make a table of mean cost and the mu that gives it on the images of `scores`, evenly from cheapest to dearest choice.

    Args:
        saved: what lower strips save; see :func:`~dld.inference.budget.calibrate_mu`.

    Returns:
        [[mean share of the teacher's cost, mu], ...], cost ascending, no cost twice.
    """
    share = (lambda mu: 0.0) if saved is None else (lambda mu: saved(mu)[0])
    low, high = float(scores.costs.min(1).mean()) - share(DEAREST), float(scores.costs.max(1).mean())
    means: dict[float, float] = {}
    for k in range(points):
        wanted = low + (high - low) * k / max(points - 1, 1)
        mu = calibrate_mu(scores.log_probabilities, scores.costs, wanted, saved=None if saved is None else share)
        choice = choose_scales(scores.log_probabilities, scores.costs, mu)
        means.setdefault(float(scores.costs[range(len(choice)), choice].mean()) - share(mu), mu)
    return [[cost, means[cost]] for cost in sorted(means)]


def _parts(model: DynamicSpotter) -> dict:
    """Return the arguments that build a DynamicSpotter of the same networks."""
    return {
        "student": model.student,
        "selector": model.selector,
        "scales": model.scales,
        "cost_table": model.cost_table,
        "mu": float(model.mu),
        "expected_words": model.expected_words,
        "fixed_scale": model.fixed_scale,
        "rows_losses": model.rows_losses,
        "height_shares": model.height_shares,
    }
