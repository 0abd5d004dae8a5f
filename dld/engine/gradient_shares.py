"""How strongly each loss pulls at the features that several losses share, and weights that give each a wanted share of it.

The pull of a loss is the L2 norm of its gradient at these features, over all images and processes; its share is the pull
divided by the sum of all pulls there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
import torch.distributed as dist
from detectron2.utils import comm

from dld.modeling.meta_arch.layer_aggregation import GROUP_LOSSES

__all__ = ["ShareBalance", "configured_balance", "gradient_norms", "gradient_shares"]

BALANCES = ("", "gradient_share")
# of the running mean of a pull, at every measurement
MEMORY = 0.9
# no weight goes beyond this or its inverse: a loss that is nearly 0 pulls at nothing
LARGEST = 100.0

# pulls of the losses that come from the same features, by the kind of these
Norms = dict[str, dict[str, float]]


def gradient_norms(
    losses: Mapping[str, torch.Tensor],
    shared: Mapping[str, Sequence[torch.Tensor]],
    reading: Collection[str],
    scale: float = 1.0,
) -> Norms:
    """Return the L2 norm of the gradient of each loss at the features that it comes from; the graph is kept.

    Every process must call this in the same step: squares are added over the processes.

    Args:
        losses: scalars by name.
        shared: features with a graph, "finding" and "reading".
        reading: names of the losses that are looked for at the features of reading; the others are at those of finding.
        scale: losses are multiplied by it while gradients flow, against underflow.

    Returns:
        norms by kind of features and by name. Losses that do not come from them are left out, and so is a kind whose norms are
        not all finite.
    """
    kinds = {kind: [x for x in features if x.requires_grad] for kind, features in shared.items()}
    names, rows = list(losses), []
    for name, loss in losses.items():
        features, found = kinds["reading" if name in reading else "finding"], []
        if features and loss.requires_grad:
            grads = torch.autograd.grad(loss * scale, features, retain_graph=True, allow_unused=True)
            found = [(g.detach().double() / scale).square().sum() for g in grads if g is not None]
        squares = torch.stack(found).sum() if found else loss.new_zeros((), dtype=torch.float64)
        rows.append(torch.stack([squares, torch.full_like(squares, float(bool(found)))]))
    if not rows:
        return {}
    table = torch.stack(rows)
    if comm.get_world_size() > 1:
        dist.all_reduce(table)
    norms: Norms = {kind: {} for kind in kinds}
    for name, (square, reached) in zip(names, table.tolist(), strict=True):
        if reached:
            norms["reading" if name in reading else "finding"][name] = math.sqrt(square) if square >= 0 else math.nan
    return {kind: found for kind, found in norms.items() if all(map(math.isfinite, found.values()))}


def gradient_shares(norms: Norms) -> dict[str, float]:
    """Return the share of each loss in the sum of the norms of its kind; 0 where all are 0."""
    return {name: norm / (sum(found.values()) or 1.0) for found in norms.values() for name, norm in found.items()}


class ShareBalance:
    """Weights of losses that give each a wanted share of the gradient, from running means of the norms.

    With the mean norms g, and G the sum of those without a wanted share among the same features, a loss of share t has the
    weight f = t / (1 - sum t) G / g: then f g / (G + sum f g) = t.

    Args:
        targets: wanted shares by the names of losses.
        reading: names of the losses of reading, whose shares are apart from those of finding.

    Raises:
        ValueError: shares are not positive, or leave nothing for the other losses.
    """

    def __init__(self, targets: Mapping[str, float], reading: Collection[str] = ()) -> None:
        self.targets = dict(targets)
        for kind in (True, False):
            own = {name: share for name, share in self.targets.items() if (name in reading) is kind}
            if min(own.values(), default=1.0) <= 0 or sum(own.values()) >= 1:
                raise ValueError(
                    "MODEL.DISTILLATION.BALANCE_SHARES must be positive and sum up to less than 1 among the losses of "
                    f"{'reading' if kind else 'finding'}, got {own}"
                )
        self.means: Norms = {}
        self.factors = dict.fromkeys(self.targets, 1.0)

    def update(self, norms: Norms) -> None:
        """Take a measurement of the losses without these weights into the means; where nothing pulls, nothing was measured."""
        for kind, found in norms.items():
            if not any(found.values()):
                continue
            means = self.means.setdefault(kind, {})
            for name, norm in found.items():
                means[name] = MEMORY * means[name] + (1 - MEMORY) * norm if name in means else norm
            wanted = {name: share for name, share in self.targets.items() if name in means}
            others = sum(norm for name, norm in means.items() if name not in wanted)
            for name, share in wanted.items():
                if others > 0 and means[name] > 0:
                    factor = share / (1 - sum(wanted.values())) * others / means[name]
                    self.factors[name] = min(max(factor, 1 / LARGEST), LARGEST)

    def state_dict(self) -> dict:
        return {"means": {kind: dict(found) for kind, found in self.means.items()}, "factors": dict(self.factors)}

    def load_state_dict(self, state: Mapping) -> None:
        """Go on from a saved state; losses that have no wanted share now are left out."""
        self.means = {kind: dict(found) for kind, found in state.get("means", {}).items()}
        self.factors |= {name: factor for name, factor in state.get("factors", {}).items() if name in self.targets}


def configured_balance(cfg) -> ShareBalance | None:
    """Return the balance that MODEL.DISTILLATION.BALANCE asks for; None where it is empty.

    Raises:
        ValueError: the message names the key.
    """
    node, key = cfg.MODEL.DISTILLATION, "MODEL.DISTILLATION.BALANCE"
    if node.GRADIENT_SHARES_PERIOD < 0:
        raise ValueError(f"MODEL.DISTILLATION.GRADIENT_SHARES_PERIOD must be at least 0, got {node.GRADIENT_SHARES_PERIOD}")
    if node.BALANCE not in BALANCES:
        raise ValueError(f"{key} must be empty or {BALANCES[1]}, got {node.BALANCE!r}")
    if not node.BALANCE:
        return None
    if not node.GRADIENT_SHARES_PERIOD:
        raise ValueError(f"{key} {node.BALANCE} needs MODEL.DISTILLATION.GRADIENT_SHARES_PERIOD above 0")
    targets = _pairs(node.BALANCE_SHARES)
    weights = {name: node[f"{name.upper()}_WEIGHT"] for name in ("roi", "context", "sequence")}
    if node.AGGREGATION.ENABLED:
        weights |= {group: weights.pop(name) for group, name in GROUP_LOSSES.items()}
    if cfg.MODEL.RECOGNITION.NAME == "StripRecognizer":
        # compared before the columns, at which gradients are measured
        weights = {name: weight for name, weight in weights.items() if name not in ("roi", "crops")}
    reading = {f"loss_kd_{name}" for name in weights}
    weights |= {k.removesuffix("_WEIGHT").lower(): v for k, v in node.FINDING.items() if k.endswith("_WEIGHT")}
    known = sorted(f"loss_kd_{name}" for name, weight in weights.items() if weight > 0)
    unknown = [name for name in targets if name not in known]
    if unknown or not targets:
        raise ValueError(f"{key}_SHARES must name some of {', '.join(known)}, got {', '.join(unknown) or 'none'}")
    return ShareBalance(targets, reading)


def _pairs(given: Sequence) -> dict[str, float]:
    try:
        return {str(name): float(share) for name, share in given}
    except (TypeError, ValueError):
        raise ValueError(
            f'MODEL.DISTILLATION.BALANCE_SHARES must be pairs like ["loss_kd_roi", 0.2], got {list(given)}'
        ) from None
