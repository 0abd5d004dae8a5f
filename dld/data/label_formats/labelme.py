"""labelme: one json beside each picture, shapes with the text as their label.

::

    {"version": "5.5.0", "flags": {}, "imagePath": "a.jpg", "imageData": null, "imageWidth": 640, "imageHeight": 480,
     "shapes": [{"label": "Slow", "points": [[137, 142], ...], "shape_type": "polygon", "flags": {"ignore": false}}]}

Where a shape has a description, that is the text, and the label is a class ("ignore": don't-care). The flag `ignore` of a
shape means don't-care; labelme offers it with `--labelflags '{".*": ["ignore"]}'`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dld.data.annotation import ImageAnnotation, word_to_json
from dld.data.label_formats.entry import (
    DONT_CARE,
    Entry,
    LabelledImage,
    Labels,
    box_outline,
    is_dont_care_class,
    word_of,
    written_text,
)
from dld.data.label_formats.label_format import LabelFormat, write_json

__all__ = ["LABELME"]

VERSION = "5.5.0"  # of labelme, whose files these are like
OUTLINES = ("polygon", "linestrip", "oriented_rectangle", "quad")


def fits(content: Any) -> bool:
    """Tell whether this is one picture's json."""
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def read(file: Entry) -> Labels:
    """Read one picture, with its words.

    Raises:
        ValueError: names file and shape.
    """
    labels = Labels()
    image = LabelledImage(file.at("imagePath").of_kind(str), file, file.size("imageWidth", "imageHeight"))
    for shape in file.items("shapes"):
        kind = shape.at("shape_type").of_kind(str) if shape.has("shape_type") else "polygon"
        if kind == "rectangle":
            (x0, y0), (x1, y1) = shape.at("points").points(2)[[0, -1]]
            polygon = box_outline(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))
        elif kind in OUTLINES:
            polygon = shape.at("points").outline()
        else:
            labels.note(f"shapes of type {kind} passed over: no outlines of words")
            continue
        label = shape.at("label").of_kind(str)
        described = shape.at("description").of_kind(str) if shape.has("description") else ""
        ignore = shape.has("flags") and shape.at("flags").flag("ignore")
        if described.strip():
            image.words.append(word_of(polygon, described, ignore or is_dont_care_class(label)))
        else:
            image.words.append(word_of(polygon, "" if label == DONT_CARE else label, ignore))
    labels.images.append(image)
    return labels


def _shape(word: Any) -> dict:
    # a label "###" alone would be read as a word without text
    return {
        "label": written_text(word),
        "points": word_to_json(word)["polygon"],
        "group_id": None,
        "description": word.text if word.text == DONT_CARE else "",
        "shape_type": "polygon",
        "flags": {"ignore": word.ignore},
        "mask": None,
    }


def write(folder: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write `folder/NAME.json` for each picture, in the same sub-folders.

    Raises:
        ValueError: two pictures differ in their ending only, so that labelme knows one json for both.
    """
    LABELME.check_names([image.file_name for image in images])
    for image in images:
        path = folder / PurePosixPath(image.file_name).with_suffix(".json")
        try:
            picture = os.path.relpath((pictures / image.file_name).resolve(), path.parent.resolve())
        except ValueError:  # on another drive of Windows
            picture = str((pictures / image.file_name).resolve())
        document = {
            "version": VERSION,
            "flags": {},
            "shapes": [_shape(word) for word in image.words],
            "imagePath": Path(picture).as_posix(),
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        write_json(path, document)


LABELME = LabelFormat("labelme", ".json", fits, read, write, per_image=True)
