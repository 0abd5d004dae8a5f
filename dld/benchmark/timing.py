"""Times two things against each other, always alternately, so that both meet the machine in the same state."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

__all__ = ["Comparison", "alternate", "seconds_of", "synchronize"]


def synchronize(device: torch.device | str) -> None:
    """Wait until a GPU has finished its work; do nothing on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """Measure the wall-clock seconds of one call, the GPU's work included."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


@dataclass
class Comparison:
    """Seconds of two variants, measured in pairs: `a[i]` and `b[i]` followed each other."""

    a: list[float]
    b: list[float]

    @property
    def ratio(self) -> float:
        """Return how many times as long a takes: median of a over median of b."""
        return statistics.median(self.a) / statistics.median(self.b)

    @property
    def spread(self) -> float:
        """Return the interquartile range of the pairs' own ratios, as a share of their median; 0 for a single pair."""
        ratios = [x / y for x, y in zip(self.a, self.b, strict=True)]
        if len(ratios) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return (high - low) / middle

    def entry(self, size: str, threads: int, **more) -> dict:
        """Return what the report keeps: `ratio`, `a_median`, `b_median` (seconds), `spread`, `pairs`, `size`, `threads`."""
        return {
            "ratio": self.ratio,
            "a_median": statistics.median(self.a),
            "b_median": statistics.median(self.b),
            "spread": self.spread,
            "pairs": len(self.a),
            "size": size,
            "threads": threads,
            **more,
        }


def alternate(
    a: Callable[[int], object],
    b: Callable[[int], object],
    pairs: int,
    *,
    device: torch.device | str = "cpu",
    warm_up: int = 1,
    seconds: float = float("inf"),
    clock: Callable[[Callable[[], object], torch.device | str], float] = seconds_of,
) -> Comparison:
    """Measure a, b, b, a, a, b, ..., so that neither always runs on what the other left in the caches.

    Args:
        a, b: called with the number of the pair, so that both can take the same one of several inputs.
        pairs: how many are measured.
        warm_up: pairs that run before and are not counted.
        seconds: after so many no further pair begins; one is always measured.
        clock: seconds of a call.

    Raises:
        ValueError: `pairs` below 1.
    """
    if pairs < 1:
        raise ValueError(f"at least one pair must be measured, got {pairs}")
    for _ in range(warm_up):
        a(0)
        b(0)
    found = Comparison([], [])
    begun = time.perf_counter()
    for i in range(pairs):
        order: Sequence = ((a, found.a), (b, found.b)) if i % 2 == 0 else ((b, found.b), (a, found.a))
        for call, times in order:
            times.append(clock(lambda call=call, i=i: call(i), device))
        if time.perf_counter() - begun > seconds:
            break
    return found
