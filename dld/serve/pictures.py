"""Pictures from strangers: refused by their size before they are decoded, and by their kind."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dld.data.extra_formats import why_unknown
from dld.data.picture import read_picture
from dld.data.picture_header import picture_header
from dld.serve.settings import Refusal

__all__ = ["KINDS", "decode_picture"]

KINDS = frozenset("AVIF BMP DIB GIF HEIF JPEG JPEG2000 MPO PCX PDF PNG PPM SGI TGA TIFF WEBP".split())
"""Kinds of files that are read. Others of Pillow's start programs (EPS) or hide the size of what is in them (ICO)."""
# how files of kinds begin that everybody sends
HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")


def decode_picture(content: bytes, max_pixels: int, name: str = "") -> np.ndarray:
    """Decode a file into uint8 BGR (H, W, 3), upright.

    Args:
        max_pixels: more are refused, before memory is taken for them.
        name: of the picture, where a request has several; stands in the messages.

    Raises:
        Refusal: 400 nothing there or damaged, 413 too many pixels, 415 no picture, or of a kind that is not read.
    """
    picture = f"picture {name}" if name else "the picture"
    if not content:
        raise Refusal(400, f"{picture} is empty: send the bytes of a file")
    try:
        header = picture_header(content)
    except Image.DecompressionBombError:
        raise Refusal(413, f"{picture} has more than the {max_pixels:,} pixels that are read here") from None
    if header is not None:
        if header.kind not in KINDS:
            raise Refusal(415, f"{picture} is of the kind {header.kind}, which is not read here; JPEG and PNG are")
        _check_pixels(header.width, header.height, max_pixels, picture)
    try:
        pixels = read_picture(content)
    except (OSError, ValueError) as error:
        unknown = isinstance(error.__cause__, Image.UnidentifiedImageError) and not _is_damaged(content)
        reason = str(error).removeprefix("cannot read image picture: ")
        raise Refusal(415 if unknown else 400, f"{picture} cannot be read: {reason}") from None
    _check_pixels(pixels.shape[1], pixels.shape[0], max_pixels, picture)
    return pixels


def _check_pixels(width: int, height: int, max_pixels: int, picture: str) -> None:
    if width * height > max_pixels:
        raise Refusal(
            413, f"{picture} has {width} x {height} pixels, more than the {max_pixels:,} that are read here: reduce it"
        )


def _is_damaged(content: bytes) -> bool:
    """Tell whether the file is of a kind that is known, although it cannot be opened."""
    return content.startswith(HEADS) or why_unknown(io.BytesIO(content)).startswith("a damaged")
