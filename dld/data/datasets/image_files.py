"""Image files on disk: which they are, how large they are as the models see them, how they get into our layout."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from dld.data.extra_formats import open_image, why_unknown

__all__ = ["IMAGE_EXTENSIONS", "image_size", "link_or_copy", "list_images", "orient_points"]

IMAGE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .jp2 .png .bmp .dib .gif .tif .tiff .webp .avif .heic .heif .hif .ppm .pgm .pbm .pnm".split()
)
IMAGE_WIDTH, IMAGE_LENGTH, EXIF_ORIENTATION = 256, 257, 0x0112


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises all sorts of errors in PIL; read_picture then does not turn the image either
        return 1
    return value if value in range(1, 9) else 1


def image_size(path: str | Path, decode: bool = False) -> tuple[int, int, int]:
    """Return width and height in pixels after the EXIF orientation was applied, and that orientation (1: none).

    This is the size of what :func:`dld.data.picture.read_picture` returns, which turns images upright.

    Args:
        path: image file.
        decode: read all pixels, not only the header.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, or a damaged one; names the file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"image {path} does not exist")
    try:
        with open_image(path) as image:
            # PIL gives the size of a TIFF as it will be upright, and forgets the orientation when it has loaded it
            tags = getattr(image, "tag_v2", None)
            width, height = (tags[IMAGE_WIDTH], tags[IMAGE_LENGTH]) if tags else image.size
            orientation = _orientation(image) if tags else None
            if decode:
                image.load()  # before EXIF is asked for: PIL may decode for it, and its error would be lost
            orientation = orientation or _orientation(image)
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"cannot read image {path}: {why_unknown(path)}") from error
    except (OSError, KeyError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read image {path}: {error}") from error
    return (height, width, orientation) if orientation >= 5 else (width, height, orientation)


def orient_points(points: np.ndarray, orientation: int, width: float, height: float) -> np.ndarray:
    """Map points of the stored pixels into the image turned upright.

    Args:
        points: (P, 2) in pixels of the image as stored.
        orientation: EXIF value 1 to 8.
        width, height: of the image turned upright, as `image_size` gives them.

    Returns:
        (P, 2) in pixels of the image turned upright.
    """
    x, y = points.T
    if orientation >= 5:  # rows and columns change places
        x, y = y, x
    if orientation in (2, 3, 6, 7):
        x = width - x
    if orientation in (3, 4, 7, 8):
        y = height - y
    return np.stack([x, y], axis=1)


def _natural(path: Path) -> list:
    """Return the key that sorts img_2 before img_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def list_images(folders: Iterable[Path]) -> list[Path]:
    """Return the image files directly in these folders, ordered as people count."""
    found = (p for folder in folders for p in folder.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS)
    # archives made on a Mac hold a "._name.jpg" beside each image
    return sorted((p for p in found if not p.name.startswith(".") and p.is_file()), key=_natural)


def link_or_copy(source: Path, target: Path) -> None:
    """Put `source` at `target` as a hard link, which costs no disk; as a copy where links are impossible."""
    source = source.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
