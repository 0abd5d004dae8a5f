"""AdelaiDet (ABCNet): COCO's json with two Bezier curves a word, and its text as numbers.

::

    {"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}], "categories": [...], "annotations": [
      {"image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [x, y, w, h], "bezier_pts": [16 numbers], "rec": [25 numbers]}]}

`rec`: printable ASCII has the numbers 0 (space) to 94 (~), 95 is any other character, 96 no more. Files of TESTR and
DeepSolo have `polys` in place of the curves. We write the outline as `segmentation` and the text as `text`, too, which
AdelaiDet does not read: so nothing is lost of bent outlines, long words and other characters. `iscrowd` is don't-care;
AdelaiDet leaves such words out, as background.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dld.data.annotation import ImageAnnotation, TextAnnotation
from dld.data.label_formats.bezier import bezier_outline, fit_bezier
from dld.data.label_formats.coco import coco_document, is_coco, read_coco
from dld.data.label_formats.entry import Entry, Labels, word_of
from dld.data.label_formats.label_format import LabelFormat, write_json

__all__ = ["ADELAIDET"]

FIRST = ord(" ")
UNKNOWN, VOID = 95, 96
LENGTH = 25
OWN_KEYS = ("bezier_pts", "polys", "rec")


def fits(content: Any) -> bool:
    """Tell whether a json is COCO's and its first annotation has the keys of AdelaiDet."""
    if not is_coco(content) or not content["annotations"] or not isinstance(content["annotations"][0], dict):
        return False
    return bool(set(OWN_KEYS) & content["annotations"][0].keys())


def _outline(annotation: Entry) -> np.ndarray:
    # the points that the curves were fitted to, where we wrote them
    parts = annotation.at("segmentation").value if annotation.has("segmentation") else None
    if isinstance(parts, list) and len(parts) == 1:
        return annotation.at("segmentation").at(0).outline()
    if annotation.has("bezier_pts"):
        control = annotation.at("bezier_pts")
        points = control.points(8)
        if len(points) != 8:
            raise control.error(f"expected 16 numbers, got {2 * len(points)}")
        return bezier_outline(points)
    return annotation.at("polys").outline()


def _text(annotation: Entry, labels: Labels) -> tuple[str, bool]:
    """Return the text of an annotation, and whether it is known."""
    if annotation.has("text"):
        return annotation.at("text").of_kind(str), True
    text, known = "", True
    for number in annotation.items("rec"):
        value = number.of_kind(int)
        if not 0 <= value <= VOID:
            raise number.error(f"expected 0 to {VOID}, AdelaiDet's 96 characters and the end, got {value}")
        if value == VOID:
            break
        known = known and value != UNKNOWN
        text += "\ufffd" if value == UNKNOWN else chr(FIRST + value)
    if not known:
        labels.note("words have characters outside of AdelaiDet's table: don't-care")
    return text, known


def _word(annotation: Entry, labels: Labels) -> TextAnnotation:
    text, known = _text(annotation, labels)
    return word_of(_outline(annotation), text, not known or annotation.flag("iscrowd"))


def read(file: Entry) -> Labels:
    """Read the pictures of a file, with their words.

    Raises:
        ValueError: names file and annotation.
    """
    return read_coco(file, _word)


def _numbers(text: str) -> list[int]:
    ids = [ord(c) - FIRST if " " <= c <= "~" else UNKNOWN for c in text[:LENGTH]]
    return ids + [VOID] * (LENGTH - len(ids))


def write(path: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write the json."""

    def own(word: TextAnnotation) -> dict:
        return {"bezier_pts": fit_bezier(word.polygon).reshape(-1).tolist(), "rec": _numbers(word.text), "text": word.text}

    write_json(path, coco_document(images, own))


ADELAIDET = LabelFormat("adelaidet", ".json", fits, read, write)
