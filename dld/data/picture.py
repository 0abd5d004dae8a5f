"""Reads a picture in whatever form it comes into uint8 BGR pixels, upright.

What is read: everything Pillow opens (JPEG, PNG, TIFF, WebP, BMP, GIF, ...), NumPy arrays, PIL images, bytes and open
binary files.

- EXIF orientation is applied, so coordinates are those of the picture as viewers show it.
- Grey, palette, black-and-white and CMYK pictures become colour pictures.
- Transparency is laid over white.
- A channel of 16 bits keeps its upper 8.
- Animations and files of several pages give their first picture.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image

__all__ = ["MAX_PIXELS", "Picture", "is_picture", "read_picture"]

# what one picture may come as
Picture: TypeAlias = str | os.PathLike | np.ndarray | Image.Image | bytes | bytearray | BinaryIO

# A small file can claim a picture that fills the memory. Beyond this Pillow refuses too (twice Image.MAX_IMAGE_PIXELS).
MAX_PIXELS = 178_956_970

_ORIENTATION = 0x0112
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
            read; or an array of uint8 or uint16: (H, W) or (H, W, 1) grey, (H, W, 3) colour, (H, W, 4) with alpha last.
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
        return _of_array(source, channel_order)
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
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise ValueError(f"cannot read image {name}: more than {MAX_PIXELS:,} pixels; cut it up or reduce it") from error
    except Exception as error:  # what plugins raise about damaged files is of many kinds
        reason = "not a picture in any known format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(f"cannot read image {name}: {reason}") from error
    with image:
        if size and sorted(size) != sorted(image.size):
            raise ValueError("cannot read image {}: it is {} x {}, expected {} x {}".format(name, *image.size, *size))
        return _decode(image, name)


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
        return _bgr(_eight_bits(_upright(image), name))
    except Exception as error:
        raise ValueError(str(error) if name in str(error) else f"cannot read image {name}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises errors of many kinds; the pixels are what matters
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise ValueError(f"cannot read image {name}: floating-point pixels have no known range; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"cannot read image {name}: 32-bit pixels have no known range; save it with 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _bgr(image: Image.Image) -> np.ndarray:
    """Convert any 8-bit mode to BGR, what is transparent over white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])


def _of_array(array: np.ndarray, channel_order: str) -> np.ndarray:
    shape = array.shape
    if array.dtype not in (np.uint8, np.uint16):
        hint = ""
        if np.issubdtype(array.dtype, np.floating):
            hint = "; if its values run from 0 to 1: (255 * array).round().astype('uint8')"
        raise ValueError(f"expected uint8 or uint16 pixels, got {array.dtype} {shape}{hint}")
    if array.ndim == 4:
        raise ValueError(f"expected one picture, got an array {shape}: several are given as list(array)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = "; its channels come first: array.transpose(1, 2, 0)" if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise ValueError(f"expected pixels (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {shape}{hint}")
    if not array.size:
        raise ValueError(f"expected pixels, got an array of none: {shape}")
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.ndim == 2 or shape[2] == 1:
        return np.repeat(array.reshape(*shape[:2], 1), 3, axis=2)
    if shape[2] == 4:
        rgba = array if channel_order == "RGB" else array[:, :, [2, 1, 0, 3]]
        return _bgr(Image.fromarray(np.ascontiguousarray(rgba)))
    return array if channel_order == "BGR" else np.ascontiguousarray(array[:, :, ::-1])
