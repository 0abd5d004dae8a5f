"""Loads the spotter that the options of a verb name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dld.inference.predictor import TextSpotter

__all__ = ["load_spotter", "pictures_at_once"]


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
    """Return how many pictures to read at once: those asked for, else as many as the spotter reads views of one."""
    return spotter.views_at_once if asked is None else asked
