"""How OpenMP's threads wait; to be settled before torch is imported, so nothing here imports it."""

from __future__ import annotations

import os

__all__ = ["wait_briefly"]

SPINS = "2000"


def wait_briefly() -> None:
    """Let threads that wait for work look for it some microseconds long, then sleep.

    Left to itself GNU's OpenMP spins for milliseconds: fast on an idle machine, several times slower for everybody on a shared
    one. Where the environment has OMP_WAIT_POLICY or GOMP_SPINCOUNT already, it decides.
    """
    if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = SPINS
