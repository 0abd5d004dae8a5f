"""Measures where the time of reading an image goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from unittest.mock import patch

import torch
from torch import nn

import dld.modeling.meta_arch.dynamic_spotter as dynamic_spotter
from dld.benchmark.timing import synchronize

__all__ = ["STAGES", "StageClock", "spotting_stages"]

STAGES = ("selector", "resize", "backbone+FPN", "proposals", "boxes", "masks", "recognition", "post-processing")


class StageClock:
    """Adds up seconds by stage; a stage inside another counts for itself, not for the outer one.

    On a GPU every border of a stage waits for the device: sums are right, and a little above an unobserved run.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    def _turn(self) -> None:
        """Add the time since the last border to the stage that was running."""
        synchronize(self.device)
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside for `name`."""
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def watched(self, name: str, call):
        """Wrap `call` so that its time counts for stage `name`."""

        @wraps(call)
        def timed(*args, **kwargs):
            with self.stage(name):
                return call(*args, **kwargs)

        return timed


@contextmanager
def spotting_stages(model: nn.Module) -> Iterator[StageClock]:
    """Watch the stages of a `Spotter` or of a `DynamicSpotter` with one; inside, use `clock.stage("other")` around its call.

    "other" is then what belongs to no stage: normalising, padding, counting the cost.
    """
    spotter = getattr(model, "student", model)
    clock = StageClock(spotter.device)
    parts = spotter.timed_calls()
    if getattr(model, "selector", None) is not None:
        parts.append(("selector", model, "select_scales"))
    with ExitStack() as stack:
        for name, owner, method in parts:
            stack.enter_context(patch.object(owner, method, clock.watched(name, getattr(owner, method))))
        resize = clock.watched("resize", dynamic_spotter.rescale_images)
        stack.enter_context(patch.object(dynamic_spotter, "rescale_images", resize))
        yield clock
