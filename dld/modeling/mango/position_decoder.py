"""The decoder of MANGO: each position is classified by itself. It has the methods of an attention decoder, so that beam search,
teacher and student need not know.

R words, K hypotheses a word, L positions, T <= L steps, V classes, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from dld.modeling.recognition.decoder import DecoderMemory

__all__ = ["PositionDecoder", "PositionState"]


class PositionState(NamedTuple):
    """How many steps each hypothesis has made, int64 (R, K, 1)."""

    position: torch.Tensor


class PositionDecoder(nn.Module):
    """Two layers with ReLU and a linear one at each of L positions: step t reads position t, whatever was read before.

    Sequences are then products of independent distributions, and a beam search of width B = K finds the true K best: whatever
    ranks above a prefix stays above it, for what follows is the same for all.

    Args:
        context_dim: channels C of the context feature.
        hidden_dim: width of the two layers.
        num_outputs: classes V.
        start: id fed at the first step, which is the padding, too.
        end: id that ends a word.
        positions: L.
    """

    def __init__(self, context_dim: int, hidden_dim: int, num_outputs: int, start: int, end: int, positions: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(context_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim), nn.ReLU())
        self.output = nn.Linear(hidden_dim, num_outputs)
        self.num_outputs, self.start, self.end, self.positions = num_outputs, start, end, positions

    def logits(self, context: torch.Tensor) -> torch.Tensor:
        """Return the logits of all positions, (..., L, V), of a context feature (..., L, C)."""
        with torch.autocast(context.device.type, enabled=False):
            return self.output(self.hidden(context.to(self.output.weight.dtype)))

    def prepare(self, context: torch.Tensor) -> DecoderMemory:
        """Classify every position of a context feature (R, L, C); `keys` are the logits."""
        return DecoderMemory(context, self.logits(context))

    def initial_state(self, memory: DecoderMemory, num_hypotheses: int = 1) -> PositionState:
        """Make the state before the first step for K hypotheses of each word."""
        position = torch.zeros(len(memory.keys), num_hypotheses, 1, dtype=torch.int64, device=memory.keys.device)
        return PositionState(position)

    def step(self, previous: torch.Tensor, state: PositionState, memory: DecoderMemory) -> tuple[torch.Tensor, PositionState]:
        """Return logits (R, K, V) of the position that each hypothesis has come to, and the state after it.

        Args:
            previous: ids fed back, int64 (R, K); they decide nothing.
            state: state after the previous step.
            memory: the result of :meth:`prepare` for the same R words.
        """
        at = state.position.expand(-1, -1, self.num_outputs)
        return memory.keys.gather(1, at), PositionState(state.position + 1)

    def forward(self, context: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the logits of the first T positions, (R, T, V), for ids (R, T), or (R, K, T, V) for ids (R, K, T).

        Raises:
            ValueError: more steps than there are positions.
        """
        T = targets.shape[-1]
        if T > self.positions:
            raise ValueError(f"a word of {T} steps is longer than the {self.positions} positions that are read")
        logits = self.logits(context)[:, :T]
        return logits if targets.dim() == 2 else logits[:, None].expand(-1, targets.shape[1], -1, -1)

    @torch.no_grad()
    def greedy(self, context: torch.Tensor, max_length: int, check_every: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose the most probable character of each position, up to the first end.

        Args:
            context: (R, L, C).
            max_length: largest number of characters in a word.
            check_every: not used: all positions are known at once.

        Returns:
            ids int64 (R, max_length + 1) with the end id from the first end on, and their probabilities, 1 after the end.
        """
        best = self.logits(context)[:, : max_length + 1].float().softmax(-1).max(-1)
        return ended_ids(best.indices, best.values, self.end)


def ended_ids(ids: torch.Tensor, probabilities: torch.Tensor, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the end id, of probability 1, behind the first end in ids (R, L)."""
    ends = ids == end
    over = ends.cumsum(1) - ends.long() > 0
    return ids.masked_fill(over, end), probabilities.masked_fill(over, 1.0)
