"""COCO's json of instances, the text among the attributes of each, as CVAT and others export it.

::

    {"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}], "categories": [{"id": 1, "name": "text"}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[137, 142, ...]], "area": 5700.5,
       "bbox": [133, 139, 106, 58], "iscrowd": 0, "attributes": {"transcription": "Slow"}}]}

The text is called `transcription`, `text`, `utf8_string` or `caption`, in `attributes` or beside it. `iscrowd`, and a
category `ignore`, is don't-care. Outlines are polygons or masks (run lengths, read with pycocotools); without either the
box serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from dld.data.annotation import ImageAnnotation, TextAnnotation, word_to_json
from dld.data.label_formats.entry import Entry, LabelledImage, Labels, box_outline, is_dont_care_class, word_of
from dld.data.label_formats.label_format import LabelFormat, write_json
from dld.structures.polygon import MOST_POINTS, polygon_area, polygon_box

__all__ = ["COCO", "coco_document", "is_coco", "read_coco"]

TEXT = ("transcription", "text", "utf8_string", "caption")
MOST_PIXELS = 1 << 29  # of a mask, which is unpacked to a byte a pixel


def is_coco(content: Any) -> bool:
    """Tell whether a json has images and annotations side by side."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "annotations"))


def _mask_outline(segmentation: Entry, size: tuple[int, int] | None) -> np.ndarray:
    """Return the outline of a mask of run lengths: of the squares of its pixels, the convex hull of several parts."""
    from pycocotools import mask as masks

    sides = [side.of_kind(int) for side in segmentation.items("size")]
    if len(sides) != 2:
        raise segmentation.at("size").error(f"expected height and width, got {sides}")
    height, width = sides
    if size is not None and (width, height) != size:
        raise segmentation.error(f"the mask has {width} x {height} pixels, its image {size[0]} x {size[1]}")
    if min(width, height) < 1 or width * height > MOST_PIXELS:
        raise segmentation.error(f"a mask of {width} x {height} pixels is not read")
    runs, value = segmentation.at("counts").value, segmentation.value
    try:
        if isinstance(runs, list):
            if sum(runs) != width * height or min(runs) < 0:
                raise ValueError(f"the runs do not sum up to {width} x {height} pixels")
            value = masks.frPyObjects(value, height, width)
        # damaged runs can leave other numbers than 0 and 1
        inside = masks.decode(value) > 0
        if inside.shape != (height, width):
            raise ValueError(f"the runs give a mask of {inside.shape}")
    except (TypeError, ValueError, OverflowError) as error:
        raise segmentation.error(f"not run lengths of a mask: {error}") from None
    edges = np.diff(np.pad(inside, ((1, 1), (0, 0))).astype(np.int8), axis=0).T  # a column a row
    column, top = np.nonzero(edges == 1)
    _, bottom = np.nonzero(edges == -1)
    area = shapely.union_all(shapely.box(column, top, column + 1, bottom))
    if area.is_empty:
        raise segmentation.error("the mask is empty")
    outline = area if isinstance(area, shapely.Polygon) else area.convex_hull
    points = np.array(outline.simplify(0.75).exterior.coords)[:-1]
    return points if len(points) <= MOST_POINTS else np.array(area.convex_hull.exterior.coords)[:-1]


def _outline(annotation: Entry, size: tuple[int, int] | None, labels: Labels) -> np.ndarray:
    if annotation.has("segmentation") and annotation.at("segmentation").value:
        segmentation = annotation.at("segmentation")
        if isinstance(segmentation.value, dict):
            return _mask_outline(segmentation, size)
        parts = [part.outline() for part in segmentation.items()]
        if len(parts) == 1:
            return parts[0]
        labels.note("words in several parts: the hull around them was taken")
        return np.array(shapely.MultiPoint(np.concatenate(parts)).convex_hull.exterior.coords)[:-1]
    (x, y), (width, height) = annotation.at("bbox").points(2)[:2]
    return box_outline(x, y, width, height)


def _text(annotation: Entry) -> str | None:
    places = [annotation.at("attributes")] if annotation.has("attributes") else []
    for place in (*places, annotation):
        for key in TEXT:
            if place.has(key):
                entry = place.at(key)
                # CVAT exports digits as a number
                return str(entry.value) if type(entry.value) is int else entry.of_kind(str)
    return None


def read_coco(file: Entry, word: Callable[[Entry, Labels], TextAnnotation]) -> Labels:
    """Read the pictures of a json with images and annotations, those without words included.

    Args:
        word: reads one annotation.

    Raises:
        ValueError: names file and annotation.
    """
    labels, images = Labels(), {}
    for item in file.items("images"):
        image = LabelledImage(item.at("file_name").of_kind(str), item, item.size("width", "height"))
        if str(item.at("id").value) in images:
            raise item.error(f"the id {item.value['id']!r} is taken")
        images[str(item.value["id"])] = image
    for annotation in file.items("annotations"):
        image = images.get(str(annotation.at("image_id").value))
        if image is None:
            raise annotation.error(f"no image has the id {annotation.value['image_id']!r}")
        image.words.append(word(annotation, labels))
    labels.images = list(images.values())
    return labels


def fits(content: Any) -> bool:
    """Tell whether this is COCO's json, and no file of AdelaiDet."""
    if not is_coco(content):
        return False
    first = next(iter(content["annotations"]), None)
    return not (isinstance(first, dict) and {"bezier_pts", "polys", "rec"} & first.keys())


def read(file: Entry) -> Labels:
    """Read the pictures of a file, with their words.

    Raises:
        ValueError: names file and annotation.
    """
    categories = file.items("categories") if file.has("categories") else []
    ignored = {str(c.at("id").value) for c in categories if is_dont_care_class(c.at("name").of_kind(str))}
    sizes = {str(image.at("id").value): image.size("width", "height") for image in file.items("images")}

    def word(annotation: Entry, labels: Labels) -> TextAnnotation:
        ignore = annotation.flag("iscrowd") or str(annotation.value.get("category_id")) in ignored
        size = sizes.get(str(annotation.value["image_id"]))
        return word_of(_outline(annotation, size, labels), _text(annotation), ignore)

    return read_coco(file, word)


def coco_document(images: Sequence[ImageAnnotation], own: Callable[[TextAnnotation], dict]) -> dict:
    """Build a json of instances.

    Args:
        own: what an annotation has beside COCO's keys.
    """
    annotations: list[dict] = []
    for number, image in enumerate(images, start=1):
        for word in image.words:
            x0, y0, x1, y1 = polygon_box(word.polygon)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": 1,
                "iscrowd": int(word.ignore),
                "area": polygon_area(word.polygon),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": [[value for point in word_to_json(word)["polygon"] for value in point]],
            }
            annotations.append(annotation | own(word))
    pictures = [
        {"id": i, "file_name": image.file_name, "width": image.width, "height": image.height}
        for i, image in enumerate(images, start=1)
    ]
    categories = [{"id": 1, "name": "text", "supercategory": "text"}]
    return {"info": {}, "licenses": [], "categories": categories, "images": pictures, "annotations": annotations}


def write(path: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write the json."""
    write_json(path, coco_document(images, lambda word: {"attributes": {"transcription": word.text}}))


COCO = LabelFormat("coco", ".json", fits, read, write)
