"""Pixels of any type, range and transparency -> 8 bits as a person sees them; what had to be assumed is said as a warning."""

from __future__ import annotations

import functools
import io
import logging
import os
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

__all__ = ["MAX_PIXELS", "decode_deep", "eight_bits", "opaque_rgb", "tiff_size"]

logger = logging.getLogger(__name__)

# A small file can claim a picture that fills the memory. Beyond this Pillow refuses too (twice Image.MAX_IMAGE_PIXELS).
MAX_PIXELS = 178_956_970

# Whole numbers that use no more bits than these are taken for such, whatever they are stored in: cameras and scanners
# store 10 and 12 bits in 16, and a picture with less than a sixteenth of its range would be black.
NARROW_BITS = (8, 10, 12)
# resampling carries values a little over the ends of their range
OVERSHOOT = 0.1
# of the values of an unknown range, the shares that become black and white: a lamp or a dead pixel must not decide
DARKEST, LIGHTEST = 0.5, 99.5
# lightness, of 255, from which what is drawn on a transparent ground would not be seen on white
LIGHT = 200
LIGHT_SHARE = 0.95


@functools.lru_cache(maxsize=10_000)
def _warn(name: str, assumed: str) -> None:
    """Warn once for each picture, however often it is read."""
    logger.warning("%s: %s", name, assumed)


def eight_bits(values: np.ndarray, name: str) -> np.ndarray:
    """Convert values of any numbers to uint8 of the same shape.

    - uint8 as they are; true is white.
    - Whole numbers from 0 to 65535: the upper 8 of 16 bits; of values that use 8, 10 or 12 bits only, the upper 8 of those.
    - Fractions from 0 to 1, or from 0 to 255.
    - Any other range: stretched from its darkest to its lightest half per cent. What is no number is black.

    Args:
        name: of the picture, for the warning that says what was assumed.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    known = values if np.issubdtype(values.dtype, np.integer) else values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if np.issubdtype(values.dtype, np.integer):
        if low >= 0 and high <= 65535:
            return _of_whole_numbers(values, int(high), name)
    elif low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return _spread(values, 0, 1)
    elif low >= -OVERSHOOT * 255 and 64 <= high <= 255 * (1 + OVERSHOOT):
        _warn(name, f"fractions from {low:g} to {high:g} are read as a range of 0 to 255")
        return _spread(values, 0, 255)
    black, white = np.percentile(known.astype(np.float64), (DARKEST, LIGHTEST))
    if black == white:
        black, white = low, high
    _warn(name, f"values from {low:g} to {high:g} are of no known range: {black:g} is read as black and {white:g} as white")
    return _spread(values, black, white)


def _of_whole_numbers(values: np.ndarray, high: int, name: str) -> np.ndarray:
    bits = next((bits for bits in NARROW_BITS if high < 1 << bits), 16)
    if bits < 16 and high:
        _warn(name, f"no value is above {high}: read as {bits} bits, not as 16")
    return (values >> (bits - 8)).astype(np.uint8)


def _spread(values: np.ndarray, black: float, white: float) -> np.ndarray:
    fractions = (values.astype(np.float64) - black) / max(white - black, np.finfo(np.float64).tiny)
    return np.round(np.clip(np.nan_to_num(fractions, posinf=1, neginf=0), 0, 1) * 255).astype(np.uint8)


def opaque_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a picture of any 8-bit mode to RGB, and lay what is transparent over white.

    Light drawing on a transparent ground is laid over black, for it was made for a dark ground. Where nothing at all is
    visible, the transparency is taken for one that was never filled in, and left out.

    Args:
        name: of the picture, for the warning that says what was assumed.
    """
    if image.mode == "La":  # premultiplied; known to no conversion but this one
        image = image.convert("LA")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "LAB", "RGB"))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    alpha = np.asarray(image.getchannel("A"))
    if alpha.min() == 255:
        return image.convert("RGB")
    ground = "white"
    if not alpha.any():
        colours = image.convert("RGB")
        if any(low != high for low, high in colours.getextrema()):
            _warn(name, "all of it is transparent: read as if nothing were")
            return colours
    elif _is_light(image, alpha):
        _warn(name, "all that is not transparent is light: read on black instead of white")
        ground = "black"
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


def _is_light(image: Image.Image, alpha: np.ndarray) -> bool:
    """Tell whether what is visible, which leaves at least a share of the picture free, would vanish on white."""
    visible = alpha.astype(np.float64)
    free = 1 - visible.mean() / 255
    light = np.asarray(image.convert("RGB").convert("L")) >= LIGHT
    return free >= 1 - LIGHT_SHARE and float(visible[light].sum()) >= LIGHT_SHARE * float(visible.sum())


def decode_deep(file: str | os.PathLike | io.BytesIO, size: tuple[int, int] | None = None) -> np.ndarray | None:
    """Decode by OpenCV a TIFF or PNG whose depth Pillow cannot hold: colours of floating point or of 16 bits.

    Args:
        size: width and height, where they are known already; of a TIFF they are looked up first.

    Returns:
        BGR (H, W, 3) in the depth of the file, upright; None where this is no such file.
    """
    with io.BytesIO(file.getvalue()) if isinstance(file, io.BytesIO) else open(file, "rb") as opened:
        if size is None:
            size = tiff_size(opened)
        if size is None or size[0] * size[1] > MAX_PIXELS:
            return None
        opened.seek(0)
        content = np.frombuffer(opened.read(), np.uint8)
    try:
        found = cv2.imdecode(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return found if found is not None and found.size else None


def tiff_size(opened: BinaryIO) -> tuple[int, int] | None:
    """Return width and height as the header of a TIFF says; None where it is none."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(opened.read(8))
        opened.seek(directory.next)
        directory.load(opened)
        return int(directory[TiffImagePlugin.IMAGEWIDTH]), int(directory[TiffImagePlugin.IMAGELENGTH])
    except Exception:  # what damaged headers raise is of many kinds
        return None
