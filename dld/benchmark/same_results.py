"""Checks that two ways to compute the same thing agree: a step that computes something else is no faster step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch

from dld.modeling.recognition.beam_search import BeamSequences

__all__ = ["DifferentResultsError", "check_beams", "check_losses", "first_samples"]


class DifferentResultsError(RuntimeError):
    """Two variants that are timed against each other do not compute the same."""


@contextmanager
def first_samples() -> Iterator[None]:
    """Sample anchors and proposals in order, not at random: a batch and its images one by one then sample alike."""

    def in_order(n, **kwargs):
        return torch.arange(n, device=kwargs.get("device"))

    with patch.object(torch, "randperm", in_order):
        yield


def check_losses(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], rtol: float, atol: float = 1e-5) -> float:
    """Return the largest relative difference of losses of the same names.

    Raises:
        DifferentResultsError: a name that one lacks, or a difference above atol + rtol x the loss.
    """
    if ours.keys() != theirs.keys():
        raise DifferentResultsError(f"losses that only one of the two has: {sorted(ours.keys() ^ theirs.keys())}")
    largest = 0.0
    for name, value in ours.items():
        a, b = float(value), float(theirs[name])
        if not abs(a - b) <= atol + rtol * abs(b):
            raise DifferentResultsError(f"{name} is {a:.6g} in one and {b:.6g} in the other")
        largest = max(largest, abs(a - b) / max(abs(b), atol / rtol))
    return largest


def check_beams(ours: BeamSequences, theirs: BeamSequences, atol: float = 1e-3) -> float:
    """Return the largest difference of the log-probabilities of the same words' beams; T may differ by padding.

    Two beams whose log-probabilities are closer than `atol` may have changed places: rounding decides between them.

    Raises:
        DifferentResultsError: other sequences, or log-probabilities more than `atol` apart.
    """
    if ours.log_probabilities.shape != theirs.log_probabilities.shape:
        raise DifferentResultsError(
            f"beams of {tuple(ours.log_probabilities.shape)} and of {tuple(theirs.log_probabilities.shape)} words x K"
        )
    largest = 0.0
    for word in range(len(ours.ids)):
        if not torch.equal(ours.valid[word], theirs.valid[word]):
            raise DifferentResultsError(f"word {word} has other numbers of beams")
        a, b = (_sequences(x, word) for x in (ours, theirs))
        for rank, ((ids, score), (other, other_score)) in enumerate(zip(a, b, strict=True)):
            tied = any(abs(score - s) <= atol for k, (_, s) in enumerate(a) if k != rank)
            # the last of the K may be tied with the next one, which neither shows
            tied = tied or (rank == len(a) - 1 and abs(score - other_score) <= atol / 10)
            if abs(score - other_score) > atol or (ids != other and not tied):
                raise DifferentResultsError(
                    f"beam {rank} of word {word}: {ids} with {score:.4f}, and {other} with {other_score:.4f}"
                )
            largest = max(largest, abs(score - other_score))
    return largest


def _sequences(beams: BeamSequences, word: int) -> list[tuple[list[int], float]]:
    """Return the valid sequences of a word without their padding, and their log-probabilities."""
    lengths, scores = beams.lengths[word].tolist(), beams.log_probabilities[word].tolist()
    valid = beams.valid[word].tolist()
    return [(row[:n], s) for row, n, s, ok in zip(beams.ids[word].tolist(), lengths, scores, valid, strict=True) if ok]
