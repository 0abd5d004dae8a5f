"""Attention decoder, which reads the context feature one character at a time.

Letters: R words, K hypotheses per word, L encoder columns, T steps, V output classes, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from dld.utils.threads import few_words_on_one_thread

__all__ = ["AttentionDecoder", "DecoderMemory", "DecoderState"]

# columns on each side of the attention's peak that tell where a character stands
_NEAR = 2


class DecoderMemory(NamedTuple):
    """Tensors that stay the same over all steps of a word; `keys` is computed once per word."""

    context: torch.Tensor  # (R, L, C)
    keys: torch.Tensor  # (R, L, A)


class DecoderState(NamedTuple):
    """Hidden and cell state of the LSTM, each (R, K, H)."""

    hidden: torch.Tensor
    cell: torch.Tensor


# a NamedTuple with the fields of DecoderState, each (R, K, ...)
S = TypeVar("S", bound=Any)


class AttentionDecoder(nn.Module):
    """LSTM cell with additive attention (Bahdanau et al. 2015) that gets the previous character as input.

    Step t: e_l = v . tanh(W_k x_l + W_q h_{t-1}), a = softmax(e), g = sum_l a_l x_l,
    h_t = LSTM([embed(y_{t-1}), g], h_{t-1}), logits = W_o h_t.

    Every method has a hypothesis dimension K. So greedy decoding (K = 1), beam search and the forced reading of K target
    sequences share the same code, and the keys are never copied K times.
    It computes in the dtype of its own weights, even under autocast: the recurrences are small, and their error adds up.

    Args:
        context_dim: channels C of the context feature.
        hidden_dim: width of the LSTM cell, the attention and the character embedding.
        num_inputs: symbols that can be fed back, the start symbol among them.
        num_outputs: classes V that are predicted.
        start: id fed at the first step.
        end: id that ends a word.
    """

    def __init__(self, context_dim: int, hidden_dim: int, num_inputs: int, num_outputs: int, start: int, end: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_inputs, hidden_dim)
        self.key = nn.Linear(context_dim, hidden_dim)
        self.query = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.energy = nn.Linear(hidden_dim, 1, bias=False)
        self.cell = nn.LSTMCell(hidden_dim + context_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, num_outputs)
        self.hidden_dim, self.num_outputs, self.start, self.end = hidden_dim, num_outputs, start, end

    def prepare(self, context: torch.Tensor) -> DecoderMemory:
        """Compute the attention keys of a context feature (R, L, C)."""
        with torch.autocast(context.device.type, enabled=False):
            context = context.to(self.key.weight.dtype)
            return DecoderMemory(context, self.key(context))

    def initial_state(self, memory: DecoderMemory, num_hypotheses: int = 1) -> Any:
        """Make the zero state for K hypotheses of each word."""
        zeros = memory.keys.new_zeros(memory.keys.shape[0], num_hypotheses, self.hidden_dim)
        return DecoderState(zeros, zeros)

    def _advance(self, embedded: torch.Tensor, state: S, memory: DecoderMemory) -> tuple[S, torch.Tensor, torch.Tensor]:
        """Return the state after a step, its attention weights (R, K, L) and what they look at, (R, K, C)."""
        weights = self._look(state, memory).softmax(-1)
        glimpse = torch.matmul(weights, memory.context)
        R, K, _ = glimpse.shape
        inputs = torch.cat([embedded, glimpse], -1).flatten(0, 1)
        hidden, cell = self.cell(inputs, (state.hidden.flatten(0, 1), state.cell.flatten(0, 1)))
        return self._after(state, hidden.view(R, K, -1), cell.view(R, K, -1), weights), weights, glimpse

    def _look(self, state: S, memory: DecoderMemory) -> torch.Tensor:
        """Return the energies of all columns (R, K, L)."""
        query = self.query(state.hidden).unsqueeze(2)  # (R, K, 1, A)
        return self.energy(torch.tanh(memory.keys.unsqueeze(1) + query)).squeeze(-1)

    def _after(self, state: S, hidden: torch.Tensor, cell: torch.Tensor, weights: torch.Tensor) -> S:
        """Return the state that follows on `state`."""
        return state._replace(hidden=hidden, cell=cell)

    def _classify(self, hidden: torch.Tensor, glimpse: torch.Tensor) -> torch.Tensor:
        """Return the logits (..., V) of hidden states (..., H) that looked at (..., C)."""
        return self.output(hidden)

    def step(self, previous: torch.Tensor, state: S, memory: DecoderMemory) -> tuple[torch.Tensor, S]:
        """Run one step for every hypothesis.

        Args:
            previous: ids fed back, int64 (R, K).
            state: state after the previous step.
            memory: the result of :meth:`prepare` for the same R words.

        Returns:
            logits (R, K, V) and the state after this step.
        """
        logits, state, _ = self._step(previous, state, memory)
        return logits, state

    def _step(self, previous: torch.Tensor, state: S, memory: DecoderMemory) -> tuple[torch.Tensor, S, torch.Tensor]:
        with torch.autocast(memory.keys.device.type, enabled=False):
            state, weights, glimpse = self._advance(self.embedding(previous), state, memory)
            return self._classify(state.hidden, glimpse), state, weights

    def forward(self, context: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Run a forced reading: return the logits of every step when the decoder is fed the target's own prefix.

        Args:
            context: (R, L, C).
            targets: ids int64, (R, T) or (R, K, T); this method puts the start symbol before them and never feeds the last id.

        Returns:
            logits (R, T, V) or (R, K, T, V): position t predicts targets[..., t].
        """
        flat = targets.dim() == 2
        targets = targets.unsqueeze(1) if flat else targets
        R, K, T = targets.shape
        if R == 0 or T == 0:
            # the sum keeps every weight in the graph; otherwise distributed training waits for unused parameters
            unused = sum(p.sum() for p in self.parameters()) * 0 + context.float().sum() * 0
            logits = context.new_zeros((R, K, T, self.num_outputs), dtype=torch.float32) + unused
            return logits.squeeze(1) if flat else logits
        few = few_words_on_one_thread(R, context.device)
        with few, torch.autocast(context.device.type, enabled=False):
            memory = self.prepare(context)
            first = targets.new_full((R, K, 1), self.start)
            embedded = self.embedding(torch.cat([first, targets[..., :-1]], -1))  # (R, K, T, H)
            state = self.initial_state(memory, K)
            hidden, glimpses = [], []
            for t in range(T):
                state, _, glimpse = self._advance(embedded[:, :, t], state, memory)
                hidden.append(state.hidden)
                glimpses.append(glimpse)
            logits = self._classify(torch.stack(hidden, 2), torch.stack(glimpses, 2))
        return logits.squeeze(1) if flat else logits

    @torch.no_grad()
    def greedy(self, context: torch.Tensor, max_length: int, check_every: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose the most probable character at every step, until all words have ended.

        Args:
            context: (R, L, C).
            max_length: largest number of characters in a word; at most max_length + 1 steps run, the end symbol included.
            check_every: steps between two checks whether all words have ended (a check makes a GPU wait).

        Returns:
            ids int64 (R, T) with the end id from the first end on, and their probabilities float (R, T), 1 after the end.
        """
        with few_words_on_one_thread(len(context), context.device):
            return self._greedy(context, max_length, check_every, lambda *x: (*self.step(*x), None))[:2]

    @torch.no_grad()
    def greedy_with_columns(
        self, context: torch.Tensor, max_length: int, check_every: int = 4, allowed: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Do as :meth:`greedy`, and tell where each character was seen.

        Args:
            context, max_length, check_every: see :meth:`greedy`.
            allowed: bool (V,), what may be read; probabilities are those among these classes. None: all.

        Returns:
            ids and probabilities as :meth:`greedy`, and the column of every step, float (R, T), 0 after the end; the first
            column is 0. It is the attention's mean column among those at most two from its peak: weights far away would
            draw a mean over all of them to the middle, and two characters often share a peak. (Of 1,139 characters of generated
            words, 95 % are within 0.7 columns of where CTC sees them, of the peaks within 1.0, of the whole means within 1.5.)
        """
        with few_words_on_one_thread(len(context), context.device):
            return self._greedy(context, max_length, check_every, self._step, allowed)

    def _greedy(
        self, context: torch.Tensor, max_length: int, check_every: int, run: Callable, allowed: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Read greedily; `run` is :meth:`step`, or what returns the attention weights, too."""
        R, device = context.shape[0], context.device
        ids = torch.full((R, max_length + 1), self.end, dtype=torch.int64, device=device)
        probabilities = torch.ones((R, max_length + 1), device=device)
        columns = torch.zeros((R, max_length + 1), device=device)
        memory = self.prepare(context)
        state = self.initial_state(memory)
        words = torch.arange(R, device=device)  # those still being read
        previous = torch.full((R, 1), self.start, dtype=torch.int64, device=device)
        ended = torch.zeros((R, 1), dtype=torch.bool, device=device)
        t, live = 0, R
        while live and t <= max_length:
            best, logits, seen = [], [], []
            for _ in range(min(check_every, max_length + 1 - t)):
                step, state, weights = run(previous, state, memory)
                step = step if allowed is None else step.masked_fill(~allowed, -torch.inf)
                previous = step.argmax(-1)
                best.append(previous)
                logits.append(step)
                if weights is not None:
                    seen.append(weights)
            found = torch.cat(best, 1)  # (R', steps)
            ends = found == self.end
            over = ended | (ends.cumsum(1) - ends.long() > 0)  # after the first end
            # one softmax for several steps: overhead dominates when a CPU reads few words
            chosen = torch.cat(logits, 1).float().softmax(-1).gather(-1, found.unsqueeze(-1)).squeeze(-1)
            ids[words, t : t + len(best)] = found.masked_fill(over, self.end)
            probabilities[words, t : t + len(best)] = chosen.masked_fill(over, 1.0)
            if seen:
                columns[words, t : t + len(best)] = _columns_of(torch.cat(seen, 1).float()).masked_fill(over, 0.0)
            t += len(best)
            ended = ended | ends.any(1, keepdim=True)
            live = int((~ended).sum())
            if live <= len(words) // 2:
                # removing the other words costs as much as a step
                still = (~ended[:, 0]).nonzero()[:, 0]
                words, previous, ended = words[still], previous[still], ended[still]
                memory, state = DecoderMemory(*(x[still] for x in memory)), type(state)(*(x[still] for x in state))
        return ids[:, :t], probabilities[:, :t], columns[:, :t]


def _columns_of(weights: torch.Tensor) -> torch.Tensor:
    """Return the mean column near the peak of attention weights, (R, T, L) -> (R, T)."""
    at = torch.arange(weights.shape[-1], device=weights.device)
    near = weights * ((at - weights.argmax(-1, keepdim=True)).abs() <= _NEAR)
    return (near * at).sum(-1) / near.sum(-1)
