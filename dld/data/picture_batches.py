"""One picture, several, or a stream of them, read in batches: how every spotter is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dld.data.picture import is_picture, read_picture
from dld.structures.words import SpottingResult

__all__ = ["open_batch", "path_of", "read_in_batches", "with_pixels"]

# (sources, place of the first of them or None, whether pixels stay within reach of the results) -> their results
ReadBatch = Callable[[Sequence[Any], int | None, bool], list[SpottingResult]]


def read_in_batches(
    images: Any, batch_size: int, read: ReadBatch
) -> SpottingResult | list[SpottingResult] | Iterator[SpottingResult]:
    """The result of one picture, a list for a list or tuple, an iterator for any other iterable.

    Args:
        images: see `TextSpotter.__call__`.
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
    return read([images], None, True)[0]  # of what is no picture it says what is expected


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
    """Pixels of each source, uint8 BGR (H, W, 3).

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
    """The path of a source that is one."""
    return str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else None


def with_pixels(result: SpottingResult, source: Any, channel_order: str, keep: bool) -> SpottingResult:
    """The result, which can draw itself: from the file that it was read from or, with `keep`, from the source itself."""
    if keep or path_of(source) is not None:
        result.pixels = partial(read_picture, source, channel_order)
    return result
