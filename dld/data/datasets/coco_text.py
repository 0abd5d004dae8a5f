"""Ground truth of COCO-Text (2.0, and 1.x with the same keys): one json over the photos of COCO's train2014.

`imgs`: id -> {id, file_name, width, height, set: "train" | "val" | "test"}; `anns`: id -> {image_id, mask: [x1, y1, ..]
(1.x: polygon), bbox: [x, y, width, height], utf8_string, legibility: "legible" | "illegible", language, class}. A word
without a transcription or not legible is don't-care. All sets lie in `train2014`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dld.data.annotation import ImageAnnotation, TextAnnotation, is_plain_relative, read_document
from dld.structures.polygon import LARGEST_PIXEL, MOST_POINTS

__all__ = ["read_coco_text"]


def _outline(ann: dict) -> np.ndarray:
    values = ann.get("mask") or ann.get("polygon") or []
    points = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    if len(points) < 3:
        x, y, width, height = map(float, ann["bbox"])
        points = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    if len(points) > MOST_POINTS or not (np.abs(points) <= LARGEST_PIXEL).all():
        raise ValueError(f"expected up to {MOST_POINTS} finite points in pixels")
    return points


def read_coco_text(json_file: str | Path, split: str = "train") -> list[ImageAnnotation]:
    """Read the images of one split that hold text (two thirds of the photos hold none and are left out).

    Args:
        json_file: `cocotext.v2.json`.
        split: value of an image's `set`.

    Returns:
        images in the order of their ids; sizes are those the json states.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not json, or not of COCO-Text's shape; names the file and the annotation.
    """
    _, document = read_document(json_file)
    if not isinstance(document, dict) or not {"imgs", "anns"} <= document.keys():
        raise ValueError(f"{json_file}: expected COCO-Text with the keys imgs and anns")
    if not all(isinstance(document[part], dict) for part in ("imgs", "anns")):
        raise ValueError(f"{json_file}: imgs and anns must be objects")
    images: dict[int, ImageAnnotation] = {}
    for key, image in document["imgs"].items():
        try:
            if image["set"] == split:
                name = image["file_name"]
                if not is_plain_relative(name):
                    raise TypeError(f"file_name {name!r} points outside of the folder")
                images[image["id"]] = ImageAnnotation(name, Path(name).stem, image["width"], image["height"])
        except (KeyError, TypeError) as error:
            expected = "id, file_name, width, height, set"
            raise ValueError(f"{json_file}: imgs[{key!r}]: expected {expected} ({error!r})") from None
    for key, ann in document["anns"].items():
        try:
            image = images.get(ann["image_id"])
            if image is None:
                continue
            text = (ann.get("utf8_string") or "").strip()
            ignore = not text or ann.get("legibility", "legible") != "legible"
            image.words.append(TextAnnotation(_outline(ann), text, ignore, ann.get("language"), ann.get("class")))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            expected = "image_id, mask or polygon, bbox, utf8_string, legibility"
            raise ValueError(f"{json_file}: anns[{key!r}]: expected {expected} ({error!r})") from None
    return [images[i] for i in sorted(images) if images[i].words]
