"""One picture, several, or a stream of them, read in batches: how every spotter is called."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, overload

import numpy as np

from dld.data.pages import not_read
from dld.data.picture import Picture, is_picture, read_picture
from dld.data.picture_views import ReadPixels, ViewReader, check_rotation
from dld.data.tiles import check_tile, tiles_of
from dld.structures.scale_options import check_budget, check_scale
from dld.structures.words import SpottingResult

__all__ = ["MOST_AT_ONCE", "ReadBatch", "ReadsPictures", "open_batch", "path_of", "read_in_batches", "with_pixels"]

logger = logging.getLogger(__name__)

# (sources, place of the first of them or None, whether pixels stay within reach of the results) -> their results
ReadBatch = Callable[[Sequence[Any], int | None, bool], list[SpottingResult]]

# pictures in memory at once where nobody said how many
MOST_AT_ONCE = 4
# share of the full resolution at which a page is looked at to find out how it lies
GLANCE = 0.4


def read_in_batches(
    images: Any, batch_size: int, read: ReadBatch
) -> SpottingResult | list[SpottingResult] | Iterator[SpottingResult]:
    """Return the result of one picture, a list for a list or tuple, an iterator for any other iterable.

    Args:
        images: see :meth:`ReadsPictures.__call__`.
        batch_size: pictures handed to `read` at once. An iterator is never asked for more ahead.

    Raises:
        ValueError: a batch size that is no whole number from 1, or what `read` says of a picture.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number from 1, got {batch_size!r}")
    if not is_picture(images):
        if isinstance(images, list | tuple):
            return list(_in_chunks(images, batch_size, read, True))
        if isinstance(images, Iterable) and not hasattr(images, "__array__"):
            return _in_chunks(images, batch_size, read, False)
    return read([images], None, True)[0]  # for anything else than a picture it raises and says what is expected


def _in_chunks(pictures: Iterable, size: int, read: ReadBatch, keep: bool) -> Iterator[SpottingResult]:
    chunk, first = [], 0
    for picture in pictures:
        chunk.append(picture)
        if len(chunk) == size:
            results, first, chunk = read(chunk, first, keep), first + size, []
            yield from results  # the batch is let go before the caller sees them
    if chunk:
        yield from read(chunk, first, keep)


def open_batch(sources: Sequence[Any], channel_order: str, first: int | None) -> list[np.ndarray]:
    """Read the pixels of each source, uint8 BGR (H, W, 3).

    Args:
        first: place of the first source in what was given; None: it was given alone.

    Raises:
        FileNotFoundError, ValueError: see `read_picture`; with the picture's place where there are several.
    """
    pictures = []
    for index, source in enumerate(sources):
        try:
            pictures.append(read_picture(source, channel_order))
        except ValueError as error:
            raise error if first is None else ValueError(f"picture {first + index}: {error}") from error
    return pictures


def path_of(source: Any) -> str | None:
    """Return the path if the source is one, else None."""
    return str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else None


def with_pixels(result: SpottingResult, source: Any, channel_order: str, keep: bool) -> SpottingResult:
    """Return the result, able to draw itself: from the file it was read from or, with `keep`, from the source itself."""
    if keep or path_of(source) is not None:
        result.pixels = partial(read_picture, source, channel_order)
    return result


def _read_sources(
    reader: ViewReader, channel_order: str, sources: Sequence[Any], first: int | None, keep: bool
) -> list[SpottingResult]:
    """Return the results of one batch, see :data:`ReadBatch`."""
    results = reader(open_batch(sources, channel_order, first))
    for source, result in zip(sources, results, strict=True):
        more = not_read(source) if path_of(source) is not None else 0
        if more:
            logger.warning("%s: %d more page%s not read; dld.data.pages.read_pages gives all", source, more, "s"[: more > 1])
        result.file_name = path_of(source)
        with_pixels(result, source, channel_order, keep)
    return results


class ReadsPictures(ABC):
    """How a spotter is called, whatever runs its networks."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an iterable of str, too
        self,
        images: Picture,
        batch_size: int = 1,
        scale: str | float = "auto",
        budget: float | None = None,
        channel_order: str = "BGR",
        rotation: str | int = 0,
        tile: str | int | None = "auto",
    ) -> SpottingResult: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: list[Picture] | tuple[Picture, ...],
        batch_size: int = 1,
        scale: str | float = "auto",
        budget: float | None = None,
        channel_order: str = "BGR",
        rotation: str | int = 0,
        tile: str | int | None = "auto",
    ) -> list[SpottingResult]: ...

    @overload
    def __call__(
        self,
        images: Iterable[Picture],
        batch_size: int = 1,
        scale: str | float = "auto",
        budget: float | None = None,
        channel_order: str = "BGR",
        rotation: str | int = 0,
        tile: str | int | None = "auto",
    ) -> Iterator[SpottingResult]: ...

    def __call__(
        self,
        images: Any,
        batch_size: int = 1,
        scale: str | float = "auto",
        budget: float | None = None,
        channel_order: str = "BGR",
        rotation: str | int = 0,
        tile: str | int | None = "auto",
    ) -> SpottingResult | list[SpottingResult] | Iterator[SpottingResult]:
        """Read the words of one picture, or of each of several in their order.

        Args:
            images: one picture, as a path, an array of numbers (BGR unless `channel_order` says otherwise), a PIL
                image, bytes or an open binary file (see :func:`~dld.data.picture.read_picture`); or a list or tuple of
                pictures, which gives a list; or any other iterable of pictures, which gives an iterator that reads at most
                `batch_size` pictures ahead and keeps none.
            batch_size: pictures read at once: on several threads of a CPU side by side, else those of one scale and padded size
                together. Each gets the words that it gets alone.
            scale: "auto", what the selector chooses (1 where there is none); or a share of the full resolution, from 0 to 2.
            budget: largest cost as a share of what reading at full resolution would cost, such as 0.6. The guarantee: for
                weights stored by `dld calibrate` with a table, the mean over the calibration images is at most this. For
                others it holds for every image by itself: the selector picks among the scales that cost no more, and
                weights without a selector read at the largest of them. Both count MODEL.SELECTOR.EXPECTED_WORDS words an
                image; `result.cost` counts every box that was read. Where even the smallest scale costs more, a table refuses;
                without one that scale is used, with a warning.
            channel_order: "BGR" or "RGB", of arrays.
            rotation: degrees by which the pages are turned clockwise: 0, 90, 180 or 270; or "auto", found for each from how
                surely its words are read at a small scale in each turn. What that costs is counted in `gflops` and `cost`.
            tile: "auto": long and huge pictures are read in overlapping tiles, too (see :mod:`dld.data.tiles`); "off"; or the
                side of the tiles in pixels of the picture.

        Returns:
            results with coordinates in pixels of the picture as viewers show it (EXIF orientation applied), however it was
            turned or cut to be read.

        Raises:
            FileNotFoundError, ValueError: a picture that cannot be read, naming the file or its place in the list; or an
                option that makes no sense.
        """
        fixed = check_scale(scale)
        if budget is not None:
            if fixed is not None:
                raise ValueError("give scale or budget, not both")
            budget = check_budget(budget)
        turn, tile = check_rotation(rotation), check_tile(tile)
        if turn == "auto" and fixed is None and budget is None and not self.counts_cost:
            fixed = 1.0  # the same words, and their cost is counted
        tiles = partial(tiles_of, tile=tile, short_side=self.input_sides[0], longest_side=self.input_sides[1])
        glance = self._read_as_it_lies(min(GLANCE, fixed or 1.0), None) if turn == "auto" else None
        reader = ViewReader(self._read_as_it_lies(fixed, budget), tiles, turn, glance, self.views_at_once)
        return read_in_batches(images, batch_size, partial(_read_sources, reader, channel_order))

    def _read_as_it_lies(self, scale: float | None, budget: float | None) -> ReadPixels:
        read = self._reading(scale, budget, "BGR")
        return lambda pictures: read(pictures, None, False)

    @property
    def views_at_once(self) -> int:
        """Tiles and turns of a picture that are read at once."""
        return 1

    @property
    @abstractmethod
    def input_sides(self) -> tuple[int, int]:
        """Pixels of the short side at full resolution, and the most that the long side may have."""

    @property
    @abstractmethod
    def counts_cost(self) -> bool:
        """Whether results have a cost also where neither scale nor budget is given."""

    @abstractmethod
    def _reading(self, scale: float | None, budget: float | None, channel_order: str) -> ReadBatch:
        """Check scale and budget, of which at most one is given, and return what reads a batch at them."""
