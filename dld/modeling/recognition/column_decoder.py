"""Attention decoder for a reader whose columns are trained already: it knows where it has been, and reads what it looks at.

Letters as in :mod:`~dld.modeling.recognition.decoder`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from dld.modeling.recognition.decoder import AttentionDecoder, DecoderMemory, DecoderState

__all__ = ["ColumnDecoder"]

# channels and columns of the convolution over what has been looked at
_PLACES, _REACH = 8, 11


class LocatedState(NamedTuple):
    """State of a decoder that knows where it has looked: DecoderState, and the attention weights of all steps, added up."""

    hidden: torch.Tensor  # (R, K, H)
    cell: torch.Tensor  # (R, K, H)
    seen: torch.Tensor  # (R, K, L)


class ColumnDecoder(AttentionDecoder):
    """AttentionDecoder with two paths that a frozen encoder with a trained CTC head makes worthwhile.

    - The attention sees where it has been (Chorowski et al. 2015, arXiv 1506.07503, 2.1, here over the sum of all steps):
      e_l = v . tanh(W_k x_l + W_q h_{t-1} + W_s s_l), s = conv(sum of the a of the steps before). Long words and repeated
      letters look alike without it.
    - The columns that it looks at are read directly, too: logits = W_o h_t + W_g g_t. :meth:`read_as` starts W_g as a CTC
      head, so that a decoder of random weights reads a word as soon as its attention goes along it; what the LSTM learns is the
      difference.

    Args and methods: see :class:`AttentionDecoder`.
    """

    def __init__(self, context_dim: int, hidden_dim: int, num_inputs: int, num_outputs: int, start: int, end: int) -> None:
        super().__init__(context_dim, hidden_dim, num_inputs, num_outputs, start, end)
        self.places = nn.Conv1d(1, _PLACES, _REACH, padding=_REACH // 2, bias=False)
        self.place = nn.Linear(_PLACES, hidden_dim, bias=False)
        self.glimpse = nn.Linear(context_dim, num_outputs)

    @torch.no_grad()
    def read_as(self, head: nn.Linear) -> None:
        """Read what is looked at as a CTC head reads a column; of its blank, this decoder's end, nothing is known."""
        self.glimpse.weight.copy_(head.weight)
        self.glimpse.bias.copy_(head.bias)
        self.glimpse.weight[self.end] = 0
        self.glimpse.bias[self.end] = 0

    def initial_state(self, memory: DecoderMemory, num_hypotheses: int = 1) -> DecoderState | LocatedState:
        R, L, _ = memory.keys.shape
        return LocatedState(*super().initial_state(memory, num_hypotheses), memory.keys.new_zeros(R, num_hypotheses, L))

    def _look(self, state, memory: DecoderMemory) -> torch.Tensor:
        R, K, L = state.seen.shape
        places = self.place(self.places(state.seen.reshape(R * K, 1, L)).transpose(1, 2)).view(R, K, L, -1)
        query = self.query(state.hidden).unsqueeze(2)
        return self.energy(torch.tanh(memory.keys.unsqueeze(1) + query + places)).squeeze(-1)

    def _after(self, state, hidden: torch.Tensor, cell: torch.Tensor, weights: torch.Tensor) -> LocatedState:
        return LocatedState(hidden, cell, state.seen + weights)

    def _classify(self, hidden: torch.Tensor, glimpse: torch.Tensor) -> torch.Tensor:
        return self.output(hidden) + self.glimpse(glimpse)
