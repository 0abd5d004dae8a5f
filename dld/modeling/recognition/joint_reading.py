"""Reading with both heads: the CTC head proposes readings of a word, the attention decoder has its say about each.

Hybrid of CTC and attention (Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition",
II.C, rescoring): log p = (1 - w) log p_ctc + w log p_attention. CTC reads columns one by one and knows no spelling; a decoder
knows what follows on what, and repeats or leaves out letters. Both seldom make the same mistake.

Letters: R words, K readings returned, B candidates, L columns, T steps, V classes, n characters.
"""

from __future__ import annotations

import numpy as np
import torch

from dld.modeling.recognition.beam_search import BeamSequences, follow
from dld.modeling.recognition.ctc_beam_search import BLANK, ctc_beam_search
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.strips.collapsing import Characters, collapse

__all__ = ["CANDIDATES", "aligned", "joint_beams", "read_jointly"]

CANDIDATES = 5
# prefixes that the search keeps beside the candidates
_MORE = 3


@torch.no_grad()
def joint_beams(
    logits: torch.Tensor,
    decoder: AttentionDecoder,
    columns: torch.Tensor,
    *,
    decoder_weight: float,
    num_sequences: int = 3,
    candidates: int | None = None,
    allowed: torch.Tensor | None = None,
) -> BeamSequences:
    """Rank the most probable readings of CTC by both heads.

    Args:
        logits: of CTC, (R, L, V).
        decoder: reads the columns (R, L, C) with the same classes; its end is the class of the blank.
        decoder_weight: w, from 0 (CTC alone) to 1 (the decoder chooses among the candidates).
        num_sequences: K.
        candidates: B >= K, how many readings CTC proposes; None: 5, or K where that is more.
        allowed: bool (V,), see :func:`ctc_beam_search`.

    Returns:
        as of :func:`ctc_beam_search`, with log p of both heads, best first. By Hoelder's inequality all p add up to 1 at most.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not 0 <= decoder_weight <= 1:
        raise ValueError(f"decoder_weight must be in [0, 1], got {decoder_weight}")
    B = max(num_sequences, CANDIDATES) if candidates is None else candidates
    if B < num_sequences:
        raise ValueError(f"candidates must be at least num_sequences = {num_sequences}, got {B}")
    beams, steps = _candidates(logits, decoder, columns, B, allowed)
    total, order = _total(beams, steps, decoder_weight).sort(dim=1, descending=True, stable=True)
    total, order = total[:, :num_sequences], order[:, :num_sequences]
    lengths, ids = beams.lengths.gather(1, order), follow(beams.ids, order)
    longest = max(int(lengths.max()), 1) if len(lengths) else 0
    return BeamSequences(ids[:, :, :longest], total, lengths, beams.valid.gather(1, order))


@torch.no_grad()
def read_jointly(
    logits: torch.Tensor,
    decoder: AttentionDecoder,
    columns: torch.Tensor,
    decoder_weight: float,
    allowed: torch.Tensor | None = None,
    gap: int | None = None,
) -> list[Characters]:
    """Read R words by both heads; arguments as of :func:`joint_beams`.

    Args:
        gap: class that stands between words. Decoders learn from single words, so where CTC sees a gap its reading stays, and
            no other reading gets one. None: no class does.

    Returns:
        the best of the candidates of each word. Probabilities and columns of its characters are those of CTC, which rules of
        scores are fitted to: of a reading that is not CTC's own those of its most probable path, see :func:`aligned`.
    """
    if not len(logits):
        return []
    beams, steps = _candidates(logits, decoder, columns, CANDIDATES, allowed)
    total = _total(beams, steps, decoder_weight)
    if gap is not None:
        total = total.masked_fill((beams.ids == gap).any(2), -torch.inf)
    chosen = total.max(1).indices
    words = torch.arange(len(chosen), device=chosen.device)
    ids, counts, said = (
        x.cpu().numpy() for x in (beams.ids[words, chosen], beams.lengths[words, chosen], steps[words, chosen])
    )
    log_p = (logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)).float().log_softmax(-1)
    best = log_p.max(-1)
    greedy = collapse(best.indices.cpu().numpy(), best.values.exp().cpu().numpy())
    found = []
    for r, (word, seen) in enumerate(zip(ids, greedy, strict=True)):
        reading = word[: int(counts[r]) - 1]
        stays = gap is not None and (gap in seen.ids or gap in reading)
        found.append(seen if stays or np.array_equal(reading, seen.ids) else aligned(log_p[r].cpu().numpy(), reading))
    return found


def aligned(log_p: np.ndarray, ids: np.ndarray) -> Characters:
    """Place the characters of a reading on the columns of CTC, by the most probable path that collapses to it (Viterbi).

    Args:
        log_p: log-probabilities (L, V); class 0 is the blank.
        ids: int (n,), the reading, which L columns can hold.

    Returns:
        its characters, each with the probability of the surest of its columns, in the middle of its columns.
    """
    n, columns = len(ids), len(log_p)
    if not n:
        return Characters(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0))
    # blanks at even places, characters at odd ones
    labels = np.full(2 * n + 1, BLANK)
    labels[1::2] = ids
    passes_blank = np.zeros(2 * n + 1, bool)  # from the character before, without a blank between
    passes_blank[3::2] = ids[1:] != ids[:-1]
    emitted = log_p[:, labels]
    score = np.full(2 * n + 1, -np.inf)
    score[:2] = emitted[0, :2]
    back = np.zeros((columns, 2 * n + 1), np.int64)
    for t in range(1, columns):
        before = np.full((3, 2 * n + 1), -np.inf)
        before[0], before[1, 1:], before[2, 2:] = score, score[:-1], score[:-2]
        before[2, ~passes_blank] = -np.inf
        back[t] = before.argmax(0)
        score = before.max(0) + emitted[t]
    place = 2 * n - int(score[-1] < score[-2])
    places = np.zeros(columns, np.int64)
    for t in range(columns - 1, -1, -1):
        places[t] = place
        place -= back[t, place]
    first = np.searchsorted(places, np.arange(1, 2 * n, 2))
    last = np.searchsorted(places, np.arange(1, 2 * n, 2), side="right") - 1
    sure = [emitted[a : b + 1, 2 * i + 1].max() for i, (a, b) in enumerate(zip(first, last, strict=True))]
    return Characters(np.asarray(ids), np.exp(np.array(sure)), (first + last) / 2)


def _candidates(
    logits: torch.Tensor, decoder: AttentionDecoder, columns: torch.Tensor, count: int, allowed: torch.Tensor | None
) -> tuple[BeamSequences, torch.Tensor]:
    """Return the readings that CTC proposes, and what the decoder says of each of their steps, log p (R, B, T); 0 beyond."""
    beams = ctc_beam_search(logits, num_sequences=count, beam_width=count + _MORE, allowed=allowed)
    said = decoder(columns, beams.ids)
    if allowed is not None:
        said = said.masked_fill(~allowed, -torch.inf)
    ids = beams.ids.clamp(max=said.shape[-1] - 1)  # the padding is none of the classes
    steps = said.float().log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    within = torch.arange(ids.shape[2], device=ids.device) < beams.lengths.unsqueeze(-1)
    return beams, steps.masked_fill(~within, 0.0)


def _total(beams: BeamSequences, steps: torch.Tensor, decoder_weight: float) -> torch.Tensor:
    """Return log p (R, B) of both heads, -inf where there is no reading."""
    total = (1 - decoder_weight) * beams.log_probabilities + decoder_weight * steps.sum(-1)
    return total.masked_fill(~beams.valid, -torch.inf)
