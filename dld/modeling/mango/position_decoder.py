"""The decoder of MANGO: each position is classified by itself. It has the methods of an attention decoder, so that beam search,
teacher and student need not know.

R words, K hypotheses a word, L positions, T <= L steps, V classes, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from dld.modeling.recognition.beam_search import BeamSequences, follow, ranked, select_best
from dld.modeling.recognition.decoder import DecoderMemory

__all__ = ["PositionDecoder", "PositionState"]


class PositionState(NamedTuple):
    """How many steps each hypothesis has made, int64 (R, K, 1)."""

    position: torch.Tensor


class PositionDecoder(nn.Module):
    """Two layers with ReLU and a linear one at each of L positions: step t reads position t, whatever was read before.

    Sequences are then products of independent distributions, and their K best are known exactly: see :meth:`best_sequences`.

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
    def best_sequences(
        self,
        context: torch.Tensor,
        num_sequences: int,
        max_length: int,
        length_power: float = 0.0,
        allowed: torch.Tensor | None = None,
    ) -> BeamSequences:
        """Return the K best sequences of each word, exactly; arguments as of
        :func:`~dld.modeling.recognition.beam_search.beam_search`.

        The K best prefixes that go on and the K best that have ended are kept apart. What may follow is the same for all
        prefixes, so one that K others precede is in none of the K best sequences. In one beam of a fixed width, prefixes that
        go on can push out an ended one that none of them will reach.
        """
        logits = self.logits(context)[:, : max_length + 1].float()
        logits = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
        steps = logits.log_softmax(-1)
        (R, T, V), K, device = steps.shape, num_sequences, context.device
        ids = torch.full((R, K, T), self.start, dtype=torch.int64, device=device)
        scores = torch.full((R, K), -torch.inf, device=device)
        scores[:, 0] = 0.0  # one empty prefix
        ended, ended_scores = ids.clone(), torch.full_like(scores, -torch.inf)
        for t in range(T):
            further = scores.unsqueeze(-1) + steps[:, t : t + 1]
            over = ids.clone()
            over[:, :, t] = self.end
            scores, best = select_best(further.index_fill(2, torch.tensor(self.end, device=device), -torch.inf).flatten(1), K)
            ids = follow(ids, best // V)
            ids[:, :, t] = best % V
            ended, ended_scores = _best_of(ended, ended_scores, over, further[..., self.end])
        # those that go on are cut here
        return ranked(*_best_of(ended, ended_scores, ids, scores), K, self.start, length_power)

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


def _best_of(
    ids: torch.Tensor, scores: torch.Tensor, other_ids: torch.Tensor, other_scores: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the K best of twice K sequences, ids (R, K, T) and scores (R, K)."""
    scores, best = select_best(torch.cat([scores, other_scores], 1), scores.shape[1])
    return follow(torch.cat([ids, other_ids], 1), best), scores


def ended_ids(ids: torch.Tensor, probabilities: torch.Tensor, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the end id, of probability 1, behind the first end in ids (R, L)."""
    ends = ids == end
    over = ends.cumsum(1) - ends.long() > 0
    return ids.masked_fill(over, end), probabilities.masked_fill(over, 1.0)
