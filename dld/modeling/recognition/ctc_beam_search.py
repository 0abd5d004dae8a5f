"""Prefix beam search for connectionist temporal classification (CTC): the K most probable readings of every word.

Letters: R words, K readings returned, B prefixes kept (beam width), M characters that a prefix may grow by, L columns,
T characters, V classes.

A reading's probability is the sum over all paths that collapse to it (Graves et al. 2006, 3.1): one class a column, repeats
become one character, then blanks, class 0, are dropped. The probabilities of all readings add up to 1.
"""

from __future__ import annotations

import torch

from dld.modeling.recognition.beam_search import BeamSequences, follow, select_best
from dld.utils.threads import few_words_on_one_thread

__all__ = ["ctc_beam_search"]

BLANK = 0


@torch.no_grad()
def ctc_beam_search(
    logits: torch.Tensor,
    *,
    num_sequences: int = 3,
    beam_width: int | None = None,
    max_length: int | None = None,
    lengths: torch.Tensor | None = None,
    allowed: torch.Tensor | None = None,
) -> BeamSequences:
    """Decode all words at once with B prefixes a word (Graves and Jaitly 2014; Hannun et al. 2014).

    Each prefix has two probabilities, of its paths that end in a blank and in its last character. A prefix that is reached in
    two ways, by staying and by growing from a shorter one, is one prefix with the sum of both. So the K best and their
    probabilities are exact if B is at least the number of possible prefixes; with fewer, paths are missed and no probability is
    larger than the exact one. Ties go to the better-ranked prefix, then to not growing, then to the more probable character,
    then to the smaller id.

    Args:
        logits: of CTC, (R, L, V), V > 1; also log-probabilities, and -inf for what cannot be. Computed in float32, float64
            where they are float64.
        num_sequences: K.
        beam_width: B >= K; None: K + 2. (On generated words, B = 3 finds 96.6 % of the three best of B = 64,
            B = 5 finds 99.4 %, B = 8 finds 99.7 %.)
        max_length: largest number of characters in a word; longer readings are left out. None: L.
        lengths: int64 (R,), columns of each word, the first ones; None: all L.
        allowed: bool (V,), classes that can be read; probabilities are those among them. None: all.

    Returns:
        the K best readings of each word as `beam_search` returns them: the blank's id ends each, V pads; lengths count the
        end. T is the length of the longest of them, 0 if there are no words.

    Raises:
        ValueError: an argument is out of its range.
    """
    R, L, V = logits.shape
    K = num_sequences
    B = K + 2 if beam_width is None else beam_width
    _check_arguments(V, K, B, max_length, allowed)
    if not R:
        empty = torch.zeros((0, K), dtype=torch.int64, device=logits.device)
        return BeamSequences(empty.new_zeros((0, K, 0)), empty.float(), empty, empty.bool())
    columns = L if lengths is None else min(max(int(lengths.max()), 0), L)
    with few_words_on_one_thread(R, logits.device):
        log_p = _log_probabilities(logits[:, :columns], lengths, allowed)
        return _search(log_p, K, B, columns if max_length is None else min(max_length, columns))


def _check_arguments(V: int, K: int, B: int, max_length: int | None, allowed: torch.Tensor | None) -> None:
    if V < 2:
        raise ValueError(f"logits must have a blank and at least one character, got {V} classes")
    if K < 1:
        raise ValueError(f"num_sequences must be at least 1, got {K}")
    if B < K:
        raise ValueError(f"beam_width must be at least num_sequences = {K}, got {B}")
    if max_length is not None and max_length < 0:
        raise ValueError(f"max_length must not be negative, got {max_length}")
    if allowed is not None and allowed.shape != (V,):
        raise ValueError(f"allowed must have one value for each of {V} classes, got the shape {tuple(allowed.shape)}")


def _log_probabilities(logits: torch.Tensor, lengths: torch.Tensor | None, allowed: torch.Tensor | None) -> torch.Tensor:
    """Return log p (R, L, V) of every column. Beyond a word's length the blank is certain, which changes no prefix."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    # where nothing is possible a softmax would give NaN
    log_p = logits.log_softmax(-1).masked_fill((logits == -torch.inf).all(-1, keepdim=True), -torch.inf)
    if lengths is not None:
        beyond = torch.arange(log_p.shape[1], device=log_p.device) >= lengths.unsqueeze(1)
        blank = torch.full_like(log_p[0, :1], -torch.inf)
        blank[:, BLANK] = 0.0
        log_p = torch.where(beyond.unsqueeze(-1), blank, log_p)
    return log_p


def _search(log_p: torch.Tensor, K: int, B: int, T: int) -> BeamSequences:
    (R, L, V), pad = log_p.shape, log_p.shape[2]
    # Of what a prefix may grow by, the B + 1 most probable characters of a column are enough: at least B of them are none
    # that the prefix ends with, and each gives a prefix, new or kept, at least as good as a less probable one would.
    M = min(B + 1, V - 1)
    best_p, best = (x.view(R, L, M) for x in select_best(log_p[..., 1:].reshape(R * L, V - 1), M))
    best = best + 1

    ids = torch.full((R, B, T + 1), pad, dtype=torch.int64, device=log_p.device)
    size = torch.zeros((R, B), dtype=torch.int64, device=log_p.device)
    last = torch.full_like(size, BLANK)  # the last character, the blank where there is none
    # log p of the paths of each prefix that end in a blank, and of those that end in its last character
    in_blank = torch.full((R, B), -torch.inf, dtype=log_p.dtype, device=log_p.device)
    in_blank[:, 0] = 0.0  # only one empty prefix: places without a path are no prefixes
    in_last = torch.full_like(in_blank, -torch.inf)
    total = in_blank
    for t in range(L):
        last_p = log_p[:, t].gather(1, last).masked_fill(size == 0, -torch.inf)
        parent_of = _parents(ids[:, :, : t + 1], size, total > -torch.inf)  # (R, child, parent)
        # a character can follow itself only across a blank
        given = torch.where(last.unsqueeze(2) == last.unsqueeze(1), in_blank.unsqueeze(1), total.unsqueeze(1))
        given = given.masked_fill(~parent_of, -torch.inf).amax(2)
        stay_blank = total + log_p[:, t, BLANK, None]
        stay_last = torch.logaddexp(in_last, given) + last_p
        again = best[:, None, t] == last.unsqueeze(2)  # (R, B, M)
        grow = torch.where(again, in_blank.unsqueeze(2), total.unsqueeze(2)) + best_p[:, None, t]
        # what a kept prefix has been given already is no new prefix
        taken = (parent_of.unsqueeze(3) & (last.unsqueeze(2) == best[:, None, t]).unsqueeze(2)).any(1)
        grow = grow.masked_fill(taken | (size >= T).unsqueeze(2), -torch.inf)
        stay = torch.logaddexp(stay_blank, stay_last)
        total, chosen = select_best(torch.cat([stay.unsqueeze(2), grow], 2).flatten(1), B)
        old, slot = chosen // (M + 1), chosen % (M + 1)
        dead = total == -torch.inf  # fewer than B prefixes are possible
        grown = (slot > 0) & ~dead
        character = best[:, t].gather(1, (slot - 1).clamp(min=0))
        in_blank = stay_blank.gather(1, old).masked_fill(grown | dead, -torch.inf)
        in_last = torch.where(grown | dead, total, stay_last.gather(1, old))
        ids, size, last = follow(ids, old), size.gather(1, old), last.gather(1, old)
        ids.scatter_(2, size.unsqueeze(2), torch.where(grown, character, pad).unsqueeze(2))
        size, last = size + grown, torch.where(grown, character, last)
    return _ended(ids[:, :K], size[:, :K], total[:, :K], pad)


def _parents(ids: torch.Tensor, size: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
    """Tell which kept prefix is which other one without its last character, bool (R, child, parent)."""
    at_last = torch.arange(ids.shape[2], device=ids.device) == (size - 1).unsqueeze(2)
    same = (ids.unsqueeze(2) == ids.unsqueeze(1)) | at_last.unsqueeze(2)
    one_less = size.unsqueeze(2) - 1 == size.unsqueeze(1)
    return same.all(3) & one_less & alive.unsqueeze(2) & alive.unsqueeze(1)


def _ended(ids: torch.Tensor, size: torch.Tensor, total: torch.Tensor, pad: int) -> BeamSequences:
    """Put the end after the prefixes, ids (R, K, T + 1), and leave out what has no path."""
    valid = total > -torch.inf
    ids = ids.scatter(2, size.unsqueeze(2), BLANK).masked_fill(~valid.unsqueeze(2), pad)
    lengths = (size + 1).masked_fill(~valid, 0)
    return BeamSequences(ids[:, :, : max(int(lengths.max()), 1)], total, lengths, valid)
