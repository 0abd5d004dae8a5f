"""The spotter of a server: what it reads together, and what it does not read at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dld.data.picture import read_picture
from dld.data.samples import sample_files
from dld.data.tiles import tiles_of
from dld.inference.predictor import TextSpotter
from dld.serve.options import ReadOptions
from dld.serve.settings import OptionError, Refusal
from dld.structures.words import SpottingResult

__all__ = ["MOST_TILES", "Network"]

# tiles of 64 pixels would cut a photo into thousands, and everybody else would wait for them
MOST_TILES = 100


class Network:
    """Reads batches with a spotter, in one thread.

    Args:
        spotter: loaded.
    """

    def __init__(self, spotter: TextSpotter) -> None:
        self.spotter = spotter

    def warm_up(self) -> None:
        """Read a sample picture: what is set up once is set up now."""
        self.spotter(read_picture(sample_files()[0]))

    def read(self, pictures: Sequence[np.ndarray], options: ReadOptions) -> list[SpottingResult]:
        """Read uint8 BGR pictures (H, W, 3) of one batch.

        Raises:
            OptionError: the options are not for these weights.
        """
        try:
            with self.spotter.allowing(options.allow):
                self.spotter([], **options.of_call())
        except ValueError as error:
            raise OptionError(str(error)) from error
        with self.spotter.allowing(options.allow):
            return self.spotter(list(pictures), batch_size=max(len(pictures), 1), **options.of_call())

    def check_tiles(self, size: tuple[int, int], options: ReadOptions, picture: str) -> None:
        """Refuse a picture (H, W) that would be cut into too many tiles.

        Raises:
            Refusal: 400; says what would be right.
        """
        # turned or not, there are as many tiles
        count = len(tiles_of(size, options.tile, *self.spotter.input_sides))
        if count > MOST_TILES:
            raise Refusal(
                400,
                f"{picture} of {size[1]} x {size[0]} pixels would be read in {count:,} tiles, more than {MOST_TILES}: "
                "cut it up, or ask for larger tiles or tile=off",
            )
