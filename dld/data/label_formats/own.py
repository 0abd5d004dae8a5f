"""Our own schema, `dld-text/1` (see `dld.data.annotation`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dld.data.annotation import SCHEMA, ImageAnnotation, find_schema_problems, images_from_document, write_annotations
from dld.data.label_formats.entry import Entry, LabelledImage, Labels
from dld.data.label_formats.label_format import LabelFormat

__all__ = ["OWN"]


def fits(content: Any) -> bool:
    """Tell whether a json says that it is of the schema."""
    return isinstance(content, dict) and content.get("schema") == SCHEMA


def read(file: Entry) -> Labels:
    """Read the images of a file, with their words.

    Raises:
        ValueError: names file, image, word and field.
    """
    problem = next(find_schema_problems(file.value), None)
    if problem is not None:
        raise file.error(str(problem))
    images = images_from_document(file.value)
    entries = file.items("images")
    return Labels([LabelledImage(i.file_name, e, (i.width, i.height), i.words) for i, e in zip(images, entries, strict=True)])


def write(path: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write the json."""
    write_annotations(path, list(images), path.stem)


OWN = LabelFormat("dld", ".json", fits, read, write)
