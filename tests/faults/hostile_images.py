"""Images that nobody should have to fear, alone and in training."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_corpus import FRIENDLY, encoded, entry, mapper, png_claiming

from dld.data.build import MixtureDataset
from dld.data.dataset_mapper import read_dict_image

IMAGES = {
    "truncated JPEG": ("a.jpg", lambda: encoded("JPEG")[:-700]),
    "JPEG cut in its header": ("a.jpg", lambda: encoded("JPEG")[:40]),
    "truncated PNG": ("a.png", lambda: encoded("PNG")[:-3000]),
    "PNG whose pixels are no zlib stream": ("a.png", lambda: png_claiming(60, 40).replace(zlib.compress(b""), b"12345678")),
    "zero bytes": ("a.jpg", lambda: b""),
    "one byte": ("a.png", lambda: b"\xff"),
    "text called .jpg": ("a.jpg", lambda: b"this is not a picture\n" * 100),
    "HTML error page called .png": ("a.png", lambda: b"<!doctype html><title>404</title>"),
    "zip called .jpg": ("a.jpg", lambda: b"PK\x03\x04" + bytes(1000)),
    "random bytes": ("a.jpg", lambda: np.random.default_rng(0).bytes(20_000)),
    "PNG of 60,000 x 60,000": ("a.png", lambda: png_claiming(60_000, 60_000)),
    "PNG of 13,000 x 13,000 in 20 kB": ("a.png", lambda: png_claiming(13_000, 13_000, bytes(13_001 * 1000))),
    "PNG of 2^31 x 1": ("a.png", lambda: png_claiming(2**31 - 1, 1)),
    "PNG of no width": ("a.png", lambda: png_claiming(0, 10)),
    "GIF header alone": ("a.gif", lambda: b"GIF89a" + struct.pack("<HH", 60, 40)),
    "BMP with a negative height": ("a.bmp", lambda: encoded("BMP")[:22] + struct.pack("<i", -(2**31)) + encoded("BMP")[26:]),
    "TIFF that points behind its end": ("a.tif", lambda: b"II*\0" + struct.pack("<I", 2**31) + bytes(100)),
    "WebP cut short": ("a.webp", lambda: encoded("WEBP")[:60]),
}


def image_entry(name: str, file_name: str, content: Callable[[], bytes]) -> None:
    @entry(f"image: {name}", names=file_name, megabytes=300)
    def make(folder: Path):
        path = folder / file_name
        path.write_bytes(content())
        height, width = FRIENDLY
        return lambda: read_dict_image({"file_name": str(path), "height": height, "width": width}) is None or None


for _name, (_file, _content) in IMAGES.items():
    image_entry(_name, _file, _content)


@entry("image: wrong extension", "counted")
def _(folder: Path):
    path = folder / "a.jpg"
    path.write_bytes(encoded("PNG"))  # a good picture under another name is read
    return lambda: len(read_dict_image({"file_name": str(path)}))


@entry("image: another size than annotated", names="60 x 40")
def _(folder: Path):
    (folder / "a.png").write_bytes(encoded("PNG"))
    return lambda: read_dict_image({"file_name": str(folder / "a.png"), "height": 400, "width": 600})


@entry("image: a pipe that never gives anything", names="pipe.jpg")
def _(folder: Path):
    os.mkfifo(folder / "pipe.jpg")
    return lambda: read_dict_image({"file_name": str(folder / "pipe.jpg")})


@entry("image: a folder", names="a.jpg")
def _(folder: Path):
    (folder / "a.jpg").mkdir()
    return lambda: read_dict_image({"file_name": str(folder / "a.jpg")})


def skipped_in_training(records: list[dict], good: int) -> int:
    """Draw 40 samples; returns how many of the images were never among them."""
    data = MixtureDataset([records], [1], mapper(rotation=10.0), 0)
    drawn = {data[i]["file_name"] for i in range(40)}
    assert len(drawn) == good, drawn
    return len(records) - good


@entry("training: half of the images are damaged", "counted")
def _(folder: Path):
    contents = [content for _, content in list(IMAGES.values())[:5]]
    records = []
    for i, content in enumerate(contents + [lambda: encoded("PNG")] * 5):
        (folder / f"{i}.png").write_bytes(content())
        record = {"file_name": str(folder / f"{i}.png"), "image_id": str(i), "height": 40, "width": 60, "annotations": []}
        records.append(record)
    return lambda: skipped_in_training(records, 5)


@entry("training: an image of 40,000 x 8", "counted")
def _(folder: Path):
    (folder / "a.png").write_bytes(encoded("PNG", 8, 40_000))
    record = {"file_name": str(folder / "a.png"), "image_id": "a", "height": 8, "width": 40_000, "annotations": []}

    def shrink() -> int:  # unusual, but an image: it is read, no larger than asked for
        sample = MixtureDataset([[record]], [1], mapper(rotation=10.0), 0)[0]
        assert max(sample["image"].shape) <= 128
        return len(sample["image"])

    return shrink


@entry("training: every image is missing", names="gone.png")
def _(folder: Path):
    record = {"file_name": str(folder / "gone.png"), "image_id": "0", "height": 40, "width": 60, "annotations": []}
    return lambda: skipped_in_training([record], 1)
