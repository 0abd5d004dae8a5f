"""Search for the weights with which the teacher's layers make one target, and the target (DFA, arXiv 2008.00506).

Stage 1 goes through the groups of layers one after another. Its steps take turns: weights and connectors learn on one batch
with beta fixed, beta on the next with everything else fixed (first order), both by the bridge loss

    gamma_ST L_ST + gamma_TS L_TS.

L_ST is the distance of the student's last layer, through a connector, to the aggregate; L_TS the loss of the task where the
aggregate, through the other connector, takes the place of that layer. L_ST alone prefers shallow layers, L_TS deep ones. In
stage 2 beta is fixed and L_ST of every group is a loss of distillation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from dld.modeling.losses.feature_aggregation import aggregate, normalised_distance
from dld.modeling.recognition.encoder import Layers

__all__ = ["GROUP_LOSSES", "LayerAggregation", "checked_aggregation"]

NODE = "MODEL.DISTILLATION.AGGREGATION"
# the weight of each group in stage 2, by its name among the losses of distillation
GROUP_LOSSES = {"crops": "roi", "columns": "context"}


class Connector(nn.Linear):
    """A 1x1 convolution over the channels of crops (R, C, H, W) or columns (R, L, C); it starts as the identity."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1) if x.dim() == 4 else super().forward(x)


class LayerAggregation(nn.Module):
    """Weights of the teacher's layers by group, and the connectors between student and aggregate.

    Args:
        student, teacher: number of layers and channels of each group, see `Spotter.layer_groups`.
        groups: the groups that are used, in the order of the search.
        search_steps: steps of stage 1, divided among the groups that have more than one layer.
        gamma_st, gamma_ts: see above.
        shares: given weights of the layers of each group of the teacher, which are divided by their sum; then nothing is
            searched. Empty: beta starts from equal weights, or from those of a checkpoint.
        scales: the student's scales, each with a beta of its own; empty: one beta for all.

    Attributes:
        group: the group of the present step of the search; None: stage 2.
        moves_beta: whether the present step is one of beta.

    Raises:
        ValueError: teacher and student have other groups, or `shares` does not fit them.
    """

    def __init__(
        self,
        student: Mapping[str, tuple[int, int]],
        teacher: Mapping[str, tuple[int, int]],
        groups: Sequence[str] = tuple(GROUP_LOSSES),
        *,
        search_steps: int = 1000,
        gamma_st: float = 1.0,
        gamma_ts: float = 1.0,
        shares: Sequence[Sequence[float]] = (),
        scales: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if list(student) != list(teacher):
            raise ValueError(f"{NODE}: the teacher has layers {', '.join(teacher)}, the student {', '.join(student)}")
        self.groups = [name for name in teacher if name in groups]
        self.gamma_st, self.gamma_ts, self.scales = gamma_st, gamma_ts, tuple(scales)
        start = {name: torch.zeros(count) for name, (count, _) in teacher.items()}
        if shares:
            start = {name: x.log() for name, x in zip(teacher, _given(shares, teacher), strict=True)}
        self.to_aggregate, self.to_student = nn.ModuleDict(), nn.ModuleDict()
        for name in self.groups:
            # given weights are the configuration's, whatever a checkpoint holds
            beta = start[name].repeat(max(len(self.scales), 1), 1)
            self.register_buffer(f"beta_{name}", beta, persistent=not shares)
            own, other = student[name][1], teacher[name][1]
            self.to_aggregate[name], self.to_student[name] = Connector(own, other), Connector(other, own)
        self.searched = [] if shares else [name for name in self.groups if teacher[name][0] > 1]
        self.search_steps = search_steps if self.searched else 0
        self.group: str | None = None
        self.moves_beta = False

    def begin_step(self, iteration: int) -> None:
        """Say which step comes now: of the weights (even) or of beta (odd) of a group, or of stage 2."""
        searching = iteration < self.search_steps
        self.group = self.searched[iteration * len(self.searched) // self.search_steps] if searching else None
        self.moves_beta = searching and iteration % 2 == 1
        for name in self.groups:
            self.beta(name).requires_grad_(self.moves_beta and name == self.group)

    def beta(self, group: str) -> torch.Tensor:
        """Return beta of a group, (S, J) of S scales, or (1, J)."""
        return getattr(self, f"beta_{group}")

    def shares(self, group: str) -> torch.Tensor:
        """Return softmax(beta) of a group, (S, J) of S scales, or (1, J); without gradient."""
        return self.beta(group).detach().softmax(1)

    def aggregate(self, group: str, layers: Layers, scale: float) -> torch.Tensor:
        """Return the aggregate for words that the student reads at a scale, by the beta of the nearest scale that has one."""
        row = min(range(len(self.scales)), key=lambda i: abs(self.scales[i] - scale)) if self.scales else 0
        return aggregate(layers[group], self.beta(group)[row])

    def distance(self, group: str, own: Layers, layers: Layers, scale: float) -> torch.Tensor:
        """Return L_ST, a mean over words, of the student's layers `own` and the teacher's."""
        return normalised_distance(self.to_aggregate[group](own[group][-1]).float(), self.aggregate(group, layers, scale))

    def bridge_losses(
        self, own: Layers, layers: Layers, scale: float, task: Callable[[str, torch.Tensor], dict[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        """Return the weighted bridge loss of the group that is searched: `loss_kd_st`, `loss_kd_ts_...` of each of the task.

        Args:
            own, layers: of student and teacher, for the same words.
            task: gives the losses of the task from a group and what takes the place of the student's last layer of it.
        """
        group, losses = self.group, {}
        assert group is not None, "stage 2 has no bridge loss"
        if self.gamma_st > 0:
            losses["loss_kd_st"] = self.gamma_st * self.distance(group, own, layers, scale)
        if self.gamma_ts > 0:
            replaced = self.to_student[group](self.aggregate(group, layers, scale)).float()
            found = task(group, replaced)
            losses |= {f"loss_kd_ts_{name.removeprefix('loss_')}": self.gamma_ts * value for name, value in found.items()}
        return losses

    def nothing(self) -> torch.Tensor:
        """Return 0 with a graph to all connectors: other processes wait for the gradient of those that are not used."""
        return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0


def _given(shares: Sequence[Sequence[float]], teacher: Mapping[str, tuple[int, int]]) -> list[torch.Tensor]:
    counts = [count for count, _ in teacher.values()]
    if [len(x) for x in shares] != counts or any(min(x) < 0 or not sum(x) > 0 for x in shares):
        wanted = ", ".join(f"{count} of {name}" for name, count in zip(teacher, counts, strict=True))
        raise ValueError(f"{NODE}.BETA must be lists of weights >= 0, {wanted}, got {[list(x) for x in shares]}")
    return [torch.tensor([float(v) / sum(x) for v in x]) for x in shares]


def checked_aggregation(cfg) -> list[str]:
    """Return the groups that MODEL.DISTILLATION gives a weight; none where layers are not aggregated.

    Raises:
        ValueError: the message names the key.
    """
    node = cfg.MODEL.DISTILLATION
    if not node.AGGREGATION.ENABLED:
        return []
    for key, least in (("SEARCH_STEPS", 0), ("GAMMA_ST", 0), ("GAMMA_TS", 0)):
        if node.AGGREGATION[key] < least:
            raise ValueError(f"{NODE}.{key} must be at least {least}, got {node.AGGREGATION[key]}")
    if not node.AGGREGATION.BETA_LR > 0:
        raise ValueError(f"{NODE}.BETA_LR must be positive, got {node.AGGREGATION.BETA_LR}")
    if not node.AGGREGATION.GAMMA_ST + node.AGGREGATION.GAMMA_TS > 0:
        raise ValueError(f"{NODE}.GAMMA_ST or GAMMA_TS must be positive")
    groups = [group for group, weight in GROUP_LOSSES.items() if node[f"{weight.upper()}_WEIGHT"] > 0]
    if not groups:
        raise ValueError(f"{NODE}.ENABLED needs MODEL.DISTILLATION.ROI_WEIGHT or CONTEXT_WEIGHT above 0")
    return groups
