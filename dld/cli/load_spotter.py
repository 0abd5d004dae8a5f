"""Loads the spotter that the options of a verb name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dld.inference.predictor import TextSpotter

__all__ = ["MOST_AT_ONCE", "load_spotter", "pictures_at_once"]

# pictures that are in memory at once where nobody said how many
MOST_AT_ONCE = 4


def load_spotter(args: argparse.Namespace) -> TextSpotter:
    """Load the spotter that the options name."""
    from dld.engine.setup import load_config
    from dld.inference.predictor import TextSpotter, checked_device, reading_options
    from dld.model_zoo import weights_address

    weights = weights_address(args.weights)
    if not args.config_file:
        return TextSpotter.from_checkpoint(weights, args.opts, args.device, charset=args.charset, allow=args.allow)
    device = ["MODEL.DEVICE", checked_device(args.device)] if args.device else []
    asked = [*device, *reading_options(args.charset, args.allow), "MODEL.WEIGHTS", weights]
    return TextSpotter(load_config(args.config_file, [*args.opts, *asked]))


def pictures_at_once(asked: int | None, spotter: TextSpotter) -> int:
    """Return how many pictures to read at once: those asked for, else on a CPU one for each thread of torch, at most four."""
    import torch

    if asked is not None:
        return asked
    return min(torch.get_num_threads(), MOST_AT_ONCE) if spotter.on_cpu else 1
