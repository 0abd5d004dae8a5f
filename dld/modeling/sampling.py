"""Random numbers of one image: samples that do not depend on the process or on the image's place in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["random_numbers_of"]


@contextmanager
def random_numbers_of(seed: int | None, device: torch.device) -> Iterator[None]:
    """Inside, torch draws from the stream of `seed`; outside, everything goes on as if nothing had been drawn.

    Args:
        seed: of the image (the mapper's "sampling_seed"); None leaves the running stream in use.
        device: where the numbers are drawn.
    """
    if seed is None:
        yield
        return
    device = torch.device(device)
    devices = [device.index if device.index is not None else torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
