"""Beam search over the attention decoder: the K most probable readings of every word.

Letters: R words, K sequences returned, B hypotheses kept (beam width), L encoder columns, T steps, V output classes.

Two kinds of sequences exist: those of at most `max_length` characters followed by the end symbol, and those of
`max_length` + 1 characters, cut there without an end (greedy decoding cuts at the same step). Their probabilities add
up to 1. The log-probability of a sequence is the sum over its steps, with the end symbol if there is one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dld.modeling.recognition.decoder import AttentionDecoder, DecoderMemory
from dld.utils.threads import few_words_on_one_thread

__all__ = ["BeamSequences", "beam_search", "follow", "ranked", "select_best"]

FEW = 8


class BeamSequences(NamedTuple):
    """The K best readings of R words, best first. `AttentionDecoder.forward` accepts `ids` as they are."""

    ids: torch.Tensor  # int64 (R, K, T), the start id, which is also the padding, after the end
    # float32 (float64 of CTC logits in it) (R, K), not divided by the length; -inf where not valid
    log_probabilities: torch.Tensor
    lengths: torch.Tensor  # int64 (R, K), steps with the end symbol; 0 where not valid
    valid: torch.Tensor  # bool (R, K), False where a word has fewer than K possible sequences


@torch.no_grad()
def beam_search(
    decoder: AttentionDecoder,
    context: torch.Tensor,
    *,
    num_sequences: int = 3,
    beam_width: int | None = None,
    max_length: int,
    check_every: int = 4,
    length_power: float = 0.0,
    allowed: torch.Tensor | None = None,
) -> BeamSequences:
    """Decode all words at once with B hypotheses a word, each fed its own prefix (Sutskever et al. 2014).

    An ended hypothesis keeps its place and its score in the beam. So B = 1 is greedy decoding. The result is the true K
    best if B >= K + the number of live prefixes, (V - 1) ** max_length: at most K - 1 ended sequences can rank above one
    that belongs to the K best. Ties go to the better-ranked prefix, then to the smaller id.

    Length: hypotheses are compared by the plain sum of their log-probabilities. Since a sum never grows, a word is
    settled once its K best hypotheses have ended. `length_power` a > 0 changes only the last ranking, to
    sum / length ** a (Wu et al. 2016, without their constant); all B hypotheses must then end first.

    Args:
        decoder: attention decoder; the sums are float32 whatever its dtype. A decoder with `best_sequences`, which knows them
            without a search, is asked for those; B then decides nothing.
        context: (R, L, C), any floating dtype.
        num_sequences: K.
        beam_width: B >= K; None: K + 2. (On very noisy words, B = 3 finds 96.5 % of the true three best of a trained
            decoder, B = 5 finds 99.5 %, B = 8 finds 99.9 %; on readable words B = 3 finds all.)
        max_length: largest number of characters in a word; at most max_length + 1 steps run.
        check_every: steps between two checks whether all words are settled (a check makes a GPU wait).
        length_power: exponent a of the length in the last ranking.
        allowed: bool (V,), classes that can be read; probabilities are those among them. None: all.

    Returns:
        the K best sequences of each word; T is the length of the longest of them, 0 if there are no words.

    Raises:
        ValueError: an argument is out of its range.
    """
    K = num_sequences
    B = K + 2 if beam_width is None else beam_width
    check_arguments(K, B, max_length, check_every, length_power)
    if not len(context):
        empty = torch.zeros((0, K), dtype=torch.int64, device=context.device)
        return BeamSequences(empty.new_zeros((0, K, 0)), empty.float(), empty, empty.bool())
    with few_words_on_one_thread(len(context), context.device):
        known = getattr(decoder, "best_sequences", None)
        if known is not None:
            return known(context, K, max_length, length_power, allowed)
        return _search(decoder, context, K, B, max_length, check_every, length_power, allowed)


def _search(
    decoder: AttentionDecoder,
    context: torch.Tensor,
    K: int,
    B: int,
    max_length: int,
    check_every: int,
    length_power: float,
    allowed: torch.Tensor | None,
) -> BeamSequences:
    R, V, pad, device = context.shape[0], decoder.num_outputs, decoder.start, context.device
    ids = torch.full((R, B, max_length + 1), pad, dtype=torch.int64, device=device)
    scores = torch.full((R, B), -torch.inf, device=device)
    scores[:, 0] = 0.0  # only one empty prefix: B of them would fill the beam with copies
    ended = torch.zeros((R, B), dtype=torch.bool, device=device)
    # an ended hypothesis has one continuation, itself
    frozen = torch.full((V,), -torch.inf, device=device)
    frozen[decoder.end] = 0.0

    previous = torch.full((R, B), decoder.start, dtype=torch.int64, device=device)
    memory = decoder.prepare(context)
    state = decoder.initial_state(memory, B)
    words = torch.arange(R, device=device)  # those still being read
    settled_ids, settled_scores = ids.clone(), scores.clone()
    for t in range(max_length + 1):
        logits, state = decoder.step(previous, state, memory)
        logits = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
        steps = torch.where(ended.unsqueeze(-1), frozen, logits.float().log_softmax(-1))  # (R', B, V)
        scores, best = select_best((scores.unsqueeze(-1) + steps).flatten(1), B)
        parents, previous = best // V, best % V
        state = type(state)(*(follow(x, parents) for x in state))
        ids, ended = follow(ids, parents), ended.gather(1, parents)
        ids[:, :, t] = torch.where(ended, pad, previous)
        ended = ended | (previous == decoder.end)
        if (t + 1) % check_every == 0:
            over = ended | ~(scores > -torch.inf)  # places without a possible sequence need no waiting
            live = ~(over if length_power else over[:, :K]).all(1)
            count = int(live.sum())
            if not count:
                break
            if count <= len(words) // 2:
                # removing the other words costs as much as a step
                settled_ids[words], settled_scores[words] = ids, scores
                still = live.nonzero()[:, 0]
                words, ids, scores, ended, previous = (x[still] for x in (words, ids, scores, ended, previous))
                memory, state = DecoderMemory(*(x[still] for x in memory)), type(state)(*(x[still] for x in state))
    settled_ids[words], settled_scores[words] = ids, scores
    return ranked(settled_ids, settled_scores, K, pad, length_power)


def ranked(ids: torch.Tensor, scores: torch.Tensor, K: int, pad: int, length_power: float) -> BeamSequences:
    """Rank B hypotheses, ids (R, B, T) and scores (R, B), and return the K best."""
    lengths = (ids != pad).sum(-1)
    order = (scores / lengths.clamp(min=1) ** length_power).sort(dim=1, descending=True, stable=True).indices[:, :K]
    ids, scores, lengths = follow(ids, order), scores.gather(1, order), lengths.gather(1, order)
    valid = scores > -torch.inf
    ids = ids.masked_fill(~valid.unsqueeze(-1), pad)
    lengths = lengths.masked_fill(~valid, 0)
    ids = ids[:, :, : max(int(lengths.max()), 1)]
    return BeamSequences(ids, scores.masked_fill(~valid, -torch.inf), lengths, valid)


def check_arguments(K: int, B: int, max_length: int, check_every: int, length_power: float) -> None:
    if K < 1:
        raise ValueError(f"num_sequences must be at least 1, got {K}")
    if B < K:
        raise ValueError(f"beam_width must be at least num_sequences = {K}, got {B}")
    if max_length < 0:
        raise ValueError(f"max_length must not be negative, got {max_length}")
    if check_every < 1:
        raise ValueError(f"check_every must be at least 1, got {check_every}")
    if length_power < 0:
        raise ValueError(f"length_power must not be negative, got {length_power}")


def select_best(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` largest values of every row (R, M), largest first, and their positions; among equals the first.

    This does not use `topk`, whose choice among equals is not specified and may change with the device. If `count` is small,
    it finds the values one after another, which is faster than sorting all. Where a row has fewer finite scores, its last
    values are -inf and their positions mean nothing.
    """
    if count > FEW:
        values, index = scores.sort(dim=1, descending=True, stable=True)
        return values[:, :count], index[:, :count]
    rest = scores.clone()
    found = []
    for _ in range(count):
        found.append(rest.max(1, keepdim=True))  # torch documents that this returns the first of equal values
        rest.scatter_(1, found[-1].indices, -torch.inf)
    return torch.cat([x.values for x in found], 1), torch.cat([x.indices for x in found], 1)


def follow(x: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    """Select the rows `parents` (R, B') of the hypotheses' values, (R, B, D) -> (R, B', D)."""
    return x.gather(1, parents.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
