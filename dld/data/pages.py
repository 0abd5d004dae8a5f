"""All pages of a file: TIFF, PDF, HEIC, and the frames of animated GIF, WebP, AVIF and PNG."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from dld.data.extra_formats import open_image, pdfium_of
from dld.data.pdf_pages import render_page
from dld.data.picture import read_picture

__all__ = ["PAGED_ENDINGS", "count_pages", "not_read", "read_pages"]

# of files that may have pages; all others are not opened a second time to count them
PAGED_ENDINGS = frozenset(".tif .tiff .gif .webp .avif .png .heic .heif .hif .pdf".split())
_PAGED_FORMATS = frozenset("TIFF GIF WEBP AVIF PNG HEIF".split())
# a reduced copy of another page says so in the lowest bit of this tag
_SUBFILE_TYPE = 254


def count_pages(source: str | os.PathLike | bytes) -> int:
    """Count the pages of a file; 1 where that cannot be told, for :func:`read_pages` says why."""
    try:
        return _count(source)
    except Exception:  # what plugins raise about damaged files is of many kinds
        return 1


def _count(source: str | os.PathLike | bytes) -> int:
    document = pdfium_of(_file(source))
    if document is not None:
        with document:
            return len(document)
    with open_image(_file(source)) as image:
        return len(_frames(image))


def read_pages(source: str | os.PathLike | bytes) -> Iterator[np.ndarray]:
    """Yield the pixels of each page, uint8 BGR (H, W, 3); one page is held at a time.

    Reduced copies that a TIFF file holds of its pages, and the previews in JPEG files of phones, are no pages.

    Args:
        source: a path, or the bytes of a file.

    Raises:
        FileNotFoundError, ValueError: see :func:`~dld.data.picture.read_picture`; names the file and the page.

    Example::

        for result in spotter(read_pages("scan.pdf")):
            print(result.text)
    """
    yield read_picture(source)  # says what is wrong with the file, if anything is
    name = "picture" if isinstance(source, bytes) else os.fspath(source)
    try:
        count = _count(source)
    except Image.UnidentifiedImageError:
        return  # deep pixels that OpenCV reads: they have one page
    except Exception as error:
        raise ValueError(f"cannot read the pages of {name} after the first: {error}") from error
    if count == 1:
        return
    document = pdfium_of(_file(source))
    if document is not None:
        with document:
            for index in range(1, count):
                yield _named(name, index, render_page, document, index)
        return
    with open_image(_file(source)) as image:
        for number, frame in enumerate(_frames(image)[1:], 1):
            yield _named(name, number, _frame, image, frame)


def not_read(source: str | os.PathLike) -> int:
    """Count the pages of a file that :func:`~dld.data.picture.read_picture` leaves out."""
    ending = os.path.splitext(os.fspath(source))[1].lower()
    return count_pages(source) - 1 if ending in PAGED_ENDINGS and os.path.isfile(source) else 0


def _file(source: str | os.PathLike | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _frames(image: Image.Image) -> list[int]:
    """Return the numbers of the frames that are pages."""
    count = getattr(image, "n_frames", 1) if image.format in _PAGED_FORMATS else 1
    if image.format != "TIFF" or count == 1:
        return list(range(count))
    pages = []
    for frame in range(count):
        image.seek(frame)
        if not int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & 1:  # type: ignore[attr-defined]
            pages.append(frame)
    return pages or [0]


def _frame(image: Image.Image, number: int) -> np.ndarray:
    image.seek(number)
    return read_picture(image)


def _named(name: str, index: int, read, *arguments) -> np.ndarray:
    try:
        return read(*arguments)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ValueError(f"cannot read page {index + 1} of {name}: {error}") from error
