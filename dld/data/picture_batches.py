"""One picture, several, or a stream of them, read in batches: how every spotter is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, overload

import numpy as np

from dld.data.picture import Picture, is_picture, read_picture
from dld.structures.scale_options import check_budget, check_scale
from dld.structures.words import SpottingResult

__all__ = ["ReadBatch", "ReadsPictures", "open_batch", "path_of", "read_in_batches", "with_pixels"]

# (sources, place of the first of them or None, whether pixels stay within reach of the results) -> their results
ReadBatch = Callable[[Sequence[Any], int | None, bool], list[SpottingResult]]


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
    ) -> SpottingResult: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: list[Picture] | tuple[Picture, ...],
        batch_size: int = 1,
        scale: str | float = "auto",
        budget: float | None = None,
        channel_order: str = "BGR",
    ) -> list[SpottingResult]: ...

    @overload
    def __call__(
        self,
        images: Iterable[Picture],
        batch_size: int = 1,
        scale: str | float = "auto",
        budget: float | None = None,
        channel_order: str = "BGR",
    ) -> Iterator[SpottingResult]: ...

    def __call__(
        self,
        images: Any,
        batch_size: int = 1,
        scale: str | float = "auto",
        budget: float | None = None,
        channel_order: str = "BGR",
    ) -> SpottingResult | list[SpottingResult] | Iterator[SpottingResult]:
        """Read the words of one picture, or of each of several in their order.

        Args:
            images: one picture, as a path, an array of uint8 or uint16 (BGR unless `channel_order` says otherwise), a PIL
                image, bytes or an open binary file (see :func:`~dld.data.picture.read_picture`); or a list or tuple of
                pictures, which gives a list; or any other iterable of pictures, which gives an iterator that reads at most
                `batch_size` pictures ahead and keeps none.
            batch_size: pictures read at once. Those of one scale and padded size run together, so each gets the words that
                it gets alone.
            scale: "auto", what the selector chooses (1 where there is none); or a share of the full resolution, from 0 to 2.
            budget: largest cost as a share of what reading at full resolution would cost, such as 0.6. The guarantee: for
                weights stored by `dld calibrate` with a table, the mean over the calibration images is at most this. For
                others it holds for every image by itself: the selector picks among the scales that cost no more, and
                weights without a selector read at the largest of them. Both count MODEL.SELECTOR.EXPECTED_WORDS words an
                image; `result.cost` counts every box that was read. Where even the smallest scale costs more, a table refuses;
                without one that scale is used, with a warning.
            channel_order: "BGR" or "RGB", of arrays.

        Returns:
            results with coordinates in pixels of the picture as viewers show it (EXIF orientation applied).

        Raises:
            FileNotFoundError, ValueError: a picture that cannot be read, naming the file or its place in the list; or an
                option that makes no sense.
        """
        fixed = check_scale(scale)
        if budget is not None:
            if fixed is not None:
                raise ValueError("give scale or budget, not both")
            budget = check_budget(budget)
        return read_in_batches(images, batch_size, self._reading(fixed, budget, channel_order))

    @abstractmethod
    def _reading(self, scale: float | None, budget: float | None, channel_order: str) -> ReadBatch:
        """Check scale and budget, of which at most one is given, and return what reads a batch at them."""
