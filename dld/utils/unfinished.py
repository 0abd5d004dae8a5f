"""The error of a command that began its work and could not finish it."""

from __future__ import annotations

__all__ = ["UnfinishedError"]


class UnfinishedError(RuntimeError):
    """Something failed that is no mistake in the options: a command says so in one line and ends with exit code 1."""
