"""Reads a picture in whatever form it comes into uint8 BGR pixels, upright.

What is read: everything Pillow opens (JPEG, PNG, TIFF, WebP, BMP, GIF, ...), NumPy arrays, PIL images, bytes and open
binary files.

- EXIF orientation is applied, so coordinates are those of the picture as viewers show it.
- Grey, palette, black-and-white, CMYK and Lab pictures become colour pictures.
- Transparency is laid over white, light drawing on a transparent ground over black.
- A channel of 16 bits keeps its upper 8; of other ranges see :func:`~dld.data.pixel_values.eight_bits`. What had to be assumed
  is said as a warning.
- Animations and files of several pages give their first picture; :mod:`dld.data.pages` reads all of them.
- HEIC and pages of PDF are read with the extras `heic` and `pdf`.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from dld.data.extra_formats import open_image, pdfium_of, why_unknown
from dld.data.pdf_pages import render_page
from dld.data.pixel_values import MAX_PIXELS, decode_deep, eight_bits, opaque_rgb

__all__ = ["MAX_PIXELS", "Picture", "is_picture", "read_picture"]

# what one picture may come as
Picture: TypeAlias = str | os.PathLike | np.ndarray | Image.Image | bytes | bytearray | BinaryIO

_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106
_WHITE_IS_ZERO = 0
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CHANNEL_ORDERS = ("BGR", "RGB")


def is_picture(source: Any) -> bool:
    """Tell whether `source` is one picture; else it may be several (a list, an iterator), or nothing that can be read."""
    return isinstance(source, (str, os.PathLike, np.ndarray, Image.Image, bytes, bytearray)) or hasattr(source, "read")


def read_picture(source: Any, channel_order: str = "BGR", size: tuple[int, int] | None = None) -> np.ndarray:
    """Read the pixels of one picture.

    Args:
        source: a path; bytes or an open binary file of an encoded picture; a PIL image, of which the frame it stands at is
            read; or an array of numbers: (H, W) or (H, W, 1) grey, (H, W, 3) colour, (H, W, 4) with alpha last.
        channel_order: of arrays of three or four channels, "BGR" (OpenCV's) or "RGB".
        size: width and height that a path's picture has, upright or as it is stored; another one is refused before memory is
            taken for its pixels.

    Returns:
        uint8 (H, W, 3) in BGR. An array that has this form already is returned itself, not copied.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, a damaged or an oversized one, one of another size, or an array of another shape or
            type; names the file.
    """
    if channel_order not in _CHANNEL_ORDERS:
        raise ValueError(f"channel_order must be one of {', '.join(_CHANNEL_ORDERS)}, got {channel_order!r}")
    if isinstance(source, np.ndarray):
        return _of_array(source, channel_order, "picture")
    if isinstance(source, Image.Image):
        return _decode(source, "picture")
    if isinstance(source, (bytes, bytearray)):
        return _open(io.BytesIO(source), "picture")
    if hasattr(source, "read"):
        return _open(io.BytesIO(_all_bytes(source)), str(getattr(source, "name", "picture")))
    if isinstance(source, (str, os.PathLike)):
        if os.path.isdir(source):
            raise ValueError(f"{os.fspath(source)} is a folder: give its pictures one by one, as a list")
        if not os.path.exists(source):
            raise FileNotFoundError(f"picture {os.fspath(source)} does not exist")
        if not os.path.isfile(source):  # a pipe would be waited for, perhaps for ever
            raise ValueError(f"cannot read image {os.fspath(source)}: it is no regular file")
        return _open(source, os.fspath(source), size)
    hint = ": tensor.cpu().numpy() as uint8 (H, W, 3), say" if hasattr(source, "__array__") else ""
    kind = f"{type(source).__module__}.{type(source).__name__}".removeprefix("builtins.")
    raise ValueError(f"expected a path, a NumPy array, a PIL image, or a list of them, got {kind}{hint}")


def _all_bytes(file: Any) -> bytes:
    content = file.read()
    if not isinstance(content, bytes):
        raise ValueError("the file is open as text: open it with mode 'rb'")
    return content


def _open(file: Any, name: str, size: tuple[int, int] | None = None) -> np.ndarray:
    try:
        image = open_image(file)
    except Image.DecompressionBombError as error:
        raise ValueError(f"cannot read image {name}: more than {MAX_PIXELS:,} pixels; cut it up or reduce it") from error
    except Image.UnidentifiedImageError as error:
        deep = decode_deep(file)
        if deep is not None:
            return _of_array(deep, "BGR", name)
        try:
            document = pdfium_of(file)
            if document is not None:
                with document:
                    return render_page(document, 0)
        except ValueError as reason:
            raise ValueError(f"cannot read image {name}: {reason}") from error
        raise ValueError(f"cannot read image {name}: {why_unknown(file)}") from error
    except Exception as error:  # what plugins raise about damaged files is of many kinds
        raise ValueError(f"cannot read image {name}: {error}") from error
    with image:
        if size and sorted(size) != sorted(image.size):
            raise ValueError("cannot read image {}: it is {} x {}, expected {} x {}".format(name, *image.size, *size))
        colours_of_16_bits = image.mode != "I;16" and any(";16" in str(tile[3]) for tile in image.tile)
        pixels = _decode(image, name)
        if colours_of_16_bits and pixels.max() < 1 << 12 - 8:
            # Pillow kept the upper 8 bits, and they hold next to nothing
            deep = decode_deep(file, image.size)
            if deep is not None and deep.shape == pixels.shape:
                return _of_array(deep, "BGR", name)
        return pixels


def _decode(image: Image.Image, name: str) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"cannot read image {name}: {width} x {height} pixels are more than {MAX_PIXELS:,}; cut it up or reduce it"
        )
    if not width * height:
        raise ValueError(f"cannot read image {name}: it has no pixels ({width} x {height})")
    try:
        image.load()  # before the orientation is asked for: TIFF pictures are turned upright while they are loaded
        return _bgr(_upright(image), name)
    except Exception as error:
        raise ValueError(str(error) if name in str(error) else f"cannot read image {name}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises errors of many kinds; the pixels are what matters
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _bgr(image: Image.Image, name: str) -> np.ndarray:
    """Convert any mode to BGR."""
    if image.mode.startswith(("I", "F")):
        image = _grey(image, name)
    return np.ascontiguousarray(np.asarray(opaque_rgb(image, name))[:, :, ::-1])


def _grey(image: Image.Image, name: str) -> Image.Image:
    """Turn a picture of more than 8 bits into one of 8, with the transparency of one grey that PNG knows."""
    values = np.asarray(image)
    grey = eight_bits(values, name)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow knows of up to 8 bits
        grey = 255 - grey
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return Image.fromarray(grey)
    return Image.fromarray(np.dstack([grey, np.where(values == key, 0, 255).astype(np.uint8)]), "LA")


def _of_array(array: np.ndarray, channel_order: str, name: str) -> np.ndarray:
    shape = array.shape
    if array.dtype != bool and not np.issubdtype(array.dtype, np.integer) and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"expected pixels as whole numbers or fractions, got {array.dtype} {shape}")
    if array.ndim == 4:
        raise ValueError(f"expected one picture, got an array {shape}: several are given as list(array)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = "; its channels come first: array.transpose(1, 2, 0)" if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise ValueError(f"expected pixels (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {shape}{hint}")
    if not array.size:
        raise ValueError(f"expected pixels, got an array of none: {shape}")
    array = eight_bits(array, name)
    if array.ndim == 2 or shape[2] == 1:
        return np.repeat(array.reshape(*shape[:2], 1), 3, axis=2)
    if shape[2] == 4:
        rgba = array if channel_order == "RGB" else array[:, :, [2, 1, 0, 3]]
        return _bgr(Image.fromarray(np.ascontiguousarray(rgba)), name)
    return array if channel_order == "BGR" else np.ascontiguousarray(array[:, :, ::-1])
