"""MMOCR 1.x, text spotting: one json for a data set.

::

    {"metainfo": {"dataset_type": "TextSpottingDataset", "task_name": "textspotting", ...}, "data_list": [
      {"img_path": "imgs/a.jpg", "width": 640, "height": 480, "instances": [
        {"polygon": [137, 142, ...], "bbox": [133, 139, 239, 197], "bbox_label": 0, "ignore": false, "text": "Slow"}]}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dld.data.annotation import ImageAnnotation, word_to_json
from dld.data.label_formats.entry import Entry, LabelledImage, Labels, box_outline, word_of
from dld.data.label_formats.label_format import LabelFormat, write_json
from dld.structures.polygon import polygon_box

__all__ = ["MMOCR"]


def fits(content: Any) -> bool:
    """Tell whether this is MMOCR's json."""
    return isinstance(content, dict) and {"metainfo", "data_list"} <= content.keys()


def _outline(instance: Entry) -> Any:
    if instance.has("polygon"):
        return instance.at("polygon").outline()
    (x0, y0), (x1, y1) = instance.at("bbox").points(2)[:2]
    return box_outline(x0, y0, x1 - x0, y1 - y0)


def read(file: Entry) -> Labels:
    """Read the pictures of a file, with their words.

    Raises:
        ValueError: names file and instance.
    """
    labels = Labels()
    for item in file.items("data_list"):
        image = LabelledImage(item.at("img_path").of_kind(str), item, item.size("width", "height"))
        for instance in item.items("instances"):
            text = instance.at("text").of_kind(str) if instance.has("text") else None
            image.words.append(word_of(_outline(instance), text, instance.flag("ignore")))
        labels.images.append(image)
    return labels


def write(path: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write the json; `img_path` is relative to the folder of pictures, MMOCR's `data_root`."""
    items = []
    for image in images:
        instances = [
            {
                "polygon": [value for point in word_to_json(word)["polygon"] for value in point],
                "bbox": list(polygon_box(word.polygon)),
                "bbox_label": 0,
                "ignore": word.ignore,
                "text": word.text,
            }
            for word in image.words
        ]
        items.append({"img_path": image.file_name, "height": image.height, "width": image.width, "instances": instances})
    about = {
        "dataset_type": "TextSpottingDataset",
        "task_name": "textspotting",
        "category": [{"id": 0, "name": "text"}],
    }
    write_json(path, {"metainfo": about, "data_list": items})


MMOCR = LabelFormat("mmocr", ".json", fits, read, write)
