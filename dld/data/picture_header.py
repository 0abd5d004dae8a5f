"""What the head of a picture's file tells before memory is taken for its pixels."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image

from dld.data.extra_formats import open_image, pdfium_of
from dld.data.pdf_pages import rendered_size
from dld.data.pixel_values import tiff_size

__all__ = ["PictureHeader", "picture_header"]


class PictureHeader(NamedTuple):
    """Kind of a file ("JPEG", "PNG", ... as Pillow calls them, or "PDF"), width and height of its first picture in pixels."""

    kind: str
    width: int
    height: int


def picture_header(content: bytes) -> PictureHeader | None:
    """Look at the head of a file; None where it tells of no picture, :func:`~dld.data.picture.read_picture` says why.

    Raises:
        PIL.Image.DecompressionBombError: more pixels than anything here reads.
    """
    file = io.BytesIO(content)
    try:
        with open_image(file) as image:
            return PictureHeader(image.format or "", *image.size)
    except Image.DecompressionBombError:
        raise
    except Image.UnidentifiedImageError:
        pass
    except Exception:  # what plugins raise about damaged files is of many kinds
        return None
    size = tiff_size(io.BytesIO(content))
    if size is not None:
        return PictureHeader("TIFF", *size)
    try:
        document = pdfium_of(file)
        if document is not None:
            with document:
                return PictureHeader("PDF", *rendered_size(document, 0))
    except ValueError:
        pass
    return None
