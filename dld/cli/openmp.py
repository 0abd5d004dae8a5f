"""Sets how OpenMP's threads wait; must run before torch is imported, so nothing here imports it."""

from __future__ import annotations

import os

__all__ = ["wait_briefly"]

SPINS = "2000"


def wait_briefly() -> None:
    """Let threads that wait for work look for it for some microseconds, then sleep.

    By default GNU's OpenMP spins for milliseconds: fast on an idle machine, several times slower for everybody on a shared one.
    OMP_WAIT_POLICY or GOMP_SPINCOUNT of the environment go first.
    """
    if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = SPINS
