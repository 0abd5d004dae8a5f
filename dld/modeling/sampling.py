"""Random numbers of one image: samples that do not depend on the process or on the image's place in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

__all__ = ["image_generators", "random_numbers_of"]

# scales are drawn from another stream of an image than its anchors and proposals
_SCALES = 0x5CA1E


@contextmanager
def random_numbers_of(seed: int | None, device: torch.device) -> Iterator[None]:
    """Let torch draw from the stream of `seed` inside; outside, everything goes on as if nothing had been drawn.

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


def image_generators(seeds: Sequence[int | None] | None) -> list[torch.Generator] | None:
    """Return a generator on the CPU for each image, for the scale that is drawn for it.

    Args:
        seeds: of the images (the mapper's "sampling_seed").

    Returns:
        None if an image has no seed: the running stream is used for all.
    """
    if seeds is None or any(seed is None for seed in seeds):
        return None
    return [torch.Generator().manual_seed(seed ^ _SCALES) for seed in seeds]
