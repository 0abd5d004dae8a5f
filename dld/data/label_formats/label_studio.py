"""Label Studio, JSON export: a list of tasks; outline, class and text of a region share its id, coordinates are percent.

::

    [{"data": {"ocr": "/data/local-files/?d=photos/a.jpg"}, "annotations": [{"result": [
      {"id": "r0", "type": "polygonlabels", "from_name": "label", "to_name": "image", "original_width": 640,
       "original_height": 480, "value": {"points": [[21.4, 29.6], ...], "closed": true, "polygonlabels": ["word"]}},
      {"id": "r0", "type": "textarea", "from_name": "transcription", ..., "value": {"text": ["Slow"]}}]}]}]

We write `predictions` instead of `annotations`: Label Studio shows them for correction, and what was submitted comes back as
an annotation, which then counts. The class `ignore` means don't-care.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dld.data.annotation import ImageAnnotation
from dld.data.datasets.image_files import IMAGE_EXTENSIONS
from dld.data.label_formats.entry import Entry, LabelledImage, Labels, box_outline, is_dont_care_class, word_of
from dld.data.label_formats.label_format import LabelFormat, write_json
from dld.data.label_formats.pictures import plain_name

__all__ = ["LABEL_STUDIO"]

WORD, IGNORE = "word", "ignore"
DECIMALS = 6  # percent of the width and back changes the last bits of a coordinate


def fits(content: Any) -> bool:
    """Tell whether a json is a list of tasks, or its shorter form JSON-MIN, of which `read` says what is wrong with it."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    return "data" in content[0] or "annotation_id" in content[0]


@dataclass
class _Region:
    drawn: bool = False
    polygon: np.ndarray | None = None
    texts: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)


def _polygon(result: Entry, value: Entry, size: tuple[int, int] | None) -> np.ndarray | None:
    """Return the outline of a result in pixels; None where it has none."""
    is_polygon, is_box = value.has("points"), value.has("rotation") and value.has("width")
    if size is None:
        if is_polygon or is_box:
            raise result.error("'original_width' or 'original_height' is missing")
        return None
    if is_polygon:
        return np.round(value.at("points").outline() * size / 100, DECIMALS)
    if is_box:
        x, y, width, height, degrees = (value.at(key).of_kind(float) for key in ("x", "y", "width", "height", "rotation"))
        (w, h) = size
        box = box_outline(x * w / 100, y * h / 100, width * w / 100, height * h / 100, degrees, about_corner=True)
        return Entry(result.file, result.place, np.round(box, DECIMALS).tolist()).outline()
    return None


def _read_result(result: Entry, image: LabelledImage, regions: dict[str, _Region]) -> None:
    if not (result.has("value") and result.has("id")):
        return  # a relation between regions
    if result.has("image_rotation") and result.at("image_rotation").value != 0:
        raise result.error("the picture was turned in Label Studio: turn it back there (image_rotation 0) and export again")
    region = regions.setdefault(str(result.at("id").value), _Region())
    value, size = result.at("value"), result.size("original_width", "original_height")
    if size is not None:
        image.size, region.drawn = size, True
    polygon = _polygon(result, value, size)
    region.polygon = region.polygon if polygon is None else polygon
    if value.has("text"):
        text = value.at("text")
        region.texts = [text.value] if isinstance(text.value, str) else [t.of_kind(str) for t in text.items()]
    for key in value.of_kind(dict):
        if key.endswith("labels"):
            region.classes += [label.of_kind(str) for label in value.items(key)]


def _image_name(task: Entry) -> str:
    data = task.at("data").of_kind(dict)
    names = [value for value in data.values() if isinstance(value, str)]
    if not names:
        raise task.error("'data' names no picture")
    return next((name for name in names if Path(plain_name(name)).suffix.lower() in IMAGE_EXTENSIONS), names[0])


def _chosen(task: Entry, labels: Labels) -> Entry | None:
    """Choose the annotation of a task that counts: the last that was not skipped; a prediction where there is none."""
    annotations = task.items("annotations") if task.has("annotations") else []
    annotations = [a for a in annotations if not a.of_kind(dict).get("was_cancelled")]
    predictions = task.items("predictions") if task.has("predictions") else []
    predictions = [p for p in predictions if p.has("result")]  # some exports hold their numbers only
    if len(annotations) > 1:
        labels.note("tasks have several annotations: the one changed last counts")
    if annotations:
        annotations.reverse()  # of two that were changed at once, the later one
        return max(annotations, key=lambda a: str(a.value.get("updated_at", "")))
    if predictions:
        labels.note("tasks have predictions only, which nobody has submitted: they were taken")
        return predictions[-1]
    labels.note("tasks without annotation left out")
    return None


def read(file: Entry) -> Labels:
    """Read the pictures of an export, with their words.

    Raises:
        ValueError: names file and result; JSON-MIN, which does not say which text belongs to which outline.
    """
    labels = Labels()
    for task in file.items():
        if not task.has("data"):
            raise task.error("'data' is missing: export as JSON, not as JSON-MIN")
        annotation = _chosen(task, labels)
        if annotation is None:
            continue
        image, regions = LabelledImage(_image_name(task), task), {}
        for result in annotation.items("result"):
            _read_result(result, image, regions)
        for region in regions.values():
            if region.polygon is None:
                if region.drawn:  # else a text or class of the whole picture
                    labels.note("regions passed over that are neither polygon nor rectangle")
                continue
            if len(region.texts) > 1:
                labels.note("regions have several texts: don't-care")
            text = region.texts[0] if len(region.texts) == 1 else " ".join(region.texts)
            ignore = len(region.texts) > 1 or any(map(is_dont_care_class, region.classes))
            image.words.append(word_of(region.polygon, text, ignore))
        labels.images.append(image)
    return labels


def _results(image: ImageAnnotation) -> list[dict]:
    results = []
    for i, word in enumerate(image.words):
        points = (word.polygon * 100 / [image.width, image.height]).tolist()
        shared = {"original_width": image.width, "original_height": image.height, "image_rotation": 0, "id": f"r{i}"}
        outline = {"points": points, "closed": True}
        label = {"polygonlabels": [IGNORE if word.ignore else WORD]}
        place = {"from_name": "label", "to_name": "image", "type": "polygonlabels"}
        results.append({**shared, **place, "value": {**outline, **label}})
        if word.text:
            place = {"from_name": "transcription", "to_name": "image", "type": "textarea"}
            results.append({**shared, **place, "value": {**outline, "text": [word.text]}})
    return results


def write(path: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write tasks; pictures are files of a local storage whose root is the folder above that of the pictures."""
    tasks = []
    for image in images:
        address = f"/data/local-files/?d={quote(f'{pictures.resolve().name}/{image.file_name}')}"
        tasks.append({"data": {"ocr": address}, "predictions": [{"model_version": "dld", "result": _results(image)}]})
    write_json(path, tasks)


LABEL_STUDIO = LabelFormat("label-studio", ".json", fits, read, write)
