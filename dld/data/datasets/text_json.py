"""Annotation files as detectron2 data sets: a user's own, and every prepared one of ordinary size."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import log_first_n

from dld.data.annotation import read_annotations, to_dataset_dict
from dld.data.repair import refuse_crossed_outlines, repair_annotations

__all__ = ["PROTOCOLS", "load_text_json", "register_text_dataset", "set_text_metadata"]

PROTOCOLS = ("icdar2013", "icdar2015", "totaltext", "ctw1500", "mango")


def load_text_json(json_file: str | Path, image_root: str | Path) -> list[dict[str, Any]]:
    """Load the dataset dicts of an annotation file; repair unusable polygons or set them to ignore (logged once per file).

    Args:
        json_file: of the schema of `dld.data.annotation`.
        image_root: folder the file names are relative to; the images are not opened.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not of the schema; names the file, image, word and field. Or most outlines cross themselves.
    """
    images = read_annotations(json_file)
    counts = repair_annotations(images)
    refuse_crossed_outlines(counts, str(json_file))
    level = logging.WARNING if counts.changed else logging.INFO
    log_first_n(level, f"{json_file}: {counts}", name=__name__, key="message")
    return [to_dataset_dict(image, image_root) for image in images]


def set_text_metadata(name: str, json_file: str | Path, image_root: str | Path, protocol: str) -> None:
    """Store what an evaluator and a visualizer need to know about data set `name`; may be set again with other paths.

    Raises:
        ValueError: an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"data set {name}: unknown protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    metadata = MetadataCatalog.get(name)
    for key in ("json_file", "image_root"):  # detectron2 refuses a second value for a key it has
        if hasattr(metadata, key):
            delattr(metadata, key)
    metadata.set(
        thing_classes=["text"],
        evaluator_type="text_spotting",
        protocol=protocol,
        json_file=str(json_file),
        image_root=str(image_root),
    )


def register_text_dataset(name: str, json_file: str | Path, image_root: str | Path, protocol: str = "icdar2015") -> None:
    """Make an annotation file known as `name` for `DATASETS.TRAIN` and `DATASETS.TEST`.

    Files are read when the data set is loaded, not here. Registering the same files again does nothing.

    Args:
        name: any name not taken.
        json_file: of the schema of `dld.data.annotation`.
        image_root: folder the file names in it are relative to.
        protocol: how it is scored, one of `PROTOCOLS`.

    Raises:
        ValueError: the name belongs to other files, or an unknown protocol.
    """
    json_file, image_root = os.path.abspath(json_file), os.path.abspath(image_root)
    if name in DatasetCatalog:
        metadata = MetadataCatalog.get(name)
        known = tuple(metadata.get(key, None) for key in ("json_file", "image_root", "protocol"))
        if known != (json_file, image_root, protocol):
            raise ValueError(f"data set name {name!r} is taken: json_file, image_root, protocol = {known}")
        return
    set_text_metadata(name, json_file, image_root, protocol)
    DatasetCatalog.register(name, lambda: load_text_json(json_file, image_root))
