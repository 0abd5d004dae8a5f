"""Files that nobody should have to fear: one table, made on the fly, each with what must come of it.

`CORPUS` maps a name to a :class:`Hostile`: `make(folder)` writes the files and returns a function that feeds them to the
product. The outcome is "error" (ValueError or FileNotFoundError whose message names the file, or what `names` says) or
"counted" (the function returns how many items were skipped, repaired or made don't-care, which must not be 0).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dld.data.dataset_mapper import TextDatasetMapper
from dld.text.charset import Charset

__all__ = ["CORPUS", "Hostile", "encoded", "entry"]

SQUARE = [[2, 2], [30, 2], [30, 12], [2, 12]]
FRIENDLY = (40, 60)  # height, width of a good image
HALF_MEGABYTE = 500_000


@dataclass(frozen=True)
class Hostile:
    """One entry; see the module."""

    make: Callable[[Path], Callable[[], int | None]]
    outcome: str
    names: str = ""
    seconds: float = 20.0
    megabytes: float = 600.0


CORPUS: dict[str, Hostile] = {}


def entry(name: str, outcome: str = "error", names: str = "", **bounds: float):
    """Register a function of a folder under a name of the table."""

    def register(make):
        assert name not in CORPUS, name
        CORPUS[name] = Hostile(make, outcome, names, **bounds)
        return make

    return register


def encoded(image_format: str, height: int = FRIENDLY[0], width: int = FRIENDLY[1]) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header says width x height."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def mapper(**options) -> TextDatasetMapper:
    return TextDatasetMapper(is_train=True, charset=Charset.default(), max_length=32, short_sides=(64,), longest=128, **options)
