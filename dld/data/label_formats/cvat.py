"""CVAT for images 1.1: one xml, shapes with the text as an attribute.

::

    <annotations><version>1.1</version><meta>...</meta>
      <image id="0" name="a.jpg" width="640" height="480">
        <polygon label="word" occluded="0" points="137.00,142.00;239.00,139.00;..." z_order="0">
          <attribute name="text">Slow</attribute></polygon></image></annotations>

Polygons, polylines and boxes are words; the attribute of the text is called `text`, `transcription`, `utf8_string` or `value`.
The label `ignore`, or an attribute `ignore` that is true, means don't-care. CVAT takes the file back into a task that has
these labels and attributes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dld.data.annotation import ImageAnnotation
from dld.data.label_formats.entry import Entry, LabelledImage, Labels, box_outline, is_dont_care_class, word_of
from dld.data.label_formats.label_format import LabelFormat
from dld.utils.atomic_write import atomic_write_text

__all__ = ["CVAT"]

TEXT = ("text", "transcription", "utf8_string", "value")
WORD, IGNORE = "word", "ignore"
NOT_SHAPES = ("tag",)
# what XML 1.0 cannot hold, not even escaped
FORBIDDEN = frozenset(map(chr, {*range(32), 0xFFFE, 0xFFFF} - {9, 10, 13}))


def fits(content: Any) -> bool:
    """Tell whether the root of an xml is CVAT's."""
    return isinstance(content, ElementTree.Element) and content.tag == "annotations"


def _numbers(entry: Entry, *keys: str) -> list[float]:
    """Return attributes of an element as numbers, checked as pixels by `Entry.points`."""
    try:
        return [float(entry.value.attrib[key]) for key in keys]
    except KeyError as error:
        raise entry.error(f"{error.args[0]!r} is missing") from None
    except ValueError as error:
        raise entry.error(str(error)) from None


def _polygon(entry: Entry) -> np.ndarray:
    shape = entry.value
    if shape.tag == "box":
        corners = Entry(entry.file, entry.place, _numbers(entry, "xtl", "ytl", "xbr", "ybr"))
        (x0, y0), (x1, y1) = corners.points(2)
        degrees = _numbers(entry, "rotation")[0] if "rotation" in shape.attrib else 0.0
        return box_outline(x0, y0, x1 - x0, y1 - y0, degrees)
    written = shape.get("points", "")
    try:
        points = [[float(x), float(y)] for x, y in (pair.split(",") for pair in written.split(";"))]
    except ValueError:
        raise entry.error(f"expected points as x,y;x,y;..., got {written!r:.60}") from None
    return Entry(entry.file, entry.place, points).outline()


def _image(entry: Entry, labels: Labels) -> LabelledImage:
    element = entry.value
    size = None
    if {"width", "height"} <= element.attrib.keys():
        values = dict(zip(("width", "height"), _numbers(entry, "width", "height"), strict=True))
        size = Entry(entry.file, entry.place, values).size("width", "height")
    image = LabelledImage(element.attrib["name"], entry, size)
    shapes = [shape for shape in element if shape.tag not in NOT_SHAPES]
    for i, shape in enumerate(shapes):
        if shape.tag not in ("polygon", "polyline", "box"):
            labels.note(f"shapes of type {shape.tag} passed over: no outlines of words")
            continue
        place = Entry(entry.file, f"{entry.place}: shape {i + 1} ({shape.tag})", shape)
        attributes = {a.get("name", "").lower(): a.text or "" for a in shape.iter("attribute")}
        text = next((attributes[key] for key in TEXT if attributes.get(key, "").strip()), None)
        ignore = is_dont_care_class(shape.get("label", "")) or attributes.get(IGNORE, "").strip().lower() == "true"
        image.words.append(word_of(_polygon(place), text, ignore))
    return image


def read(file: Entry) -> Labels:
    """Read the pictures of a file, with their words.

    Raises:
        ValueError: names file, picture and shape; a video's annotations.
    """
    root, labels = file.value, Labels()
    if root.find("track") is not None:
        raise file.error("holds tracks of a video: export the task as 'CVAT for images 1.1'")
    for i, element in enumerate(root.iter("image")):
        if "name" not in element.attrib:
            raise file.error(f"image {i + 1}: 'name' is missing")
        labels.images.append(_image(Entry(file.file, f"image {element.attrib['name']!r}", element), labels))
    return labels


def _add(parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text
    return child


def _meta(root: ElementTree.Element, name: str, count: int) -> None:
    """Add the task's labels, as CVAT itself writes them."""
    task = _add(_add(root, "meta"), "task")
    _add(task, "name", name)
    _add(task, "size", str(count))
    labels = _add(task, "labels")
    for name in (WORD, IGNORE):
        label = _add(labels, "label")
        _add(label, "name", name)
        _add(label, "type", "any")
        attribute = _add(_add(label, "attributes"), "attribute")
        for tag, value in (
            ("name", TEXT[0]),
            ("mutable", "False"),
            ("input_type", "text"),
            ("default_value", ""),
            ("values", ""),
        ):
            _add(attribute, tag, value)


def _coordinate(value: float) -> str:
    """Format a coordinate as CVAT has it, to a hundredth, unless that would lose something."""
    return f"{value:.2f}" if round(value, 2) == value else repr(value)


def write(path: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write the xml.

    Raises:
        ValueError: a name or text with a control character, which XML cannot hold.
    """
    root = ElementTree.Element("annotations")
    _add(root, "version", "1.1")
    _meta(root, path.stem, len(images))
    for i, image in enumerate(images):
        for text in (image.file_name, *(word.text for word in image.words)):
            if FORBIDDEN & set(text):
                raise ValueError(f"{image.file_name!r}: XML cannot hold the control characters in {text!r}")
        size = {"width": str(image.width), "height": str(image.height)}
        element = _add(root, "image", id=str(i), name=image.file_name, **size)
        for word in image.words:
            points = ";".join(",".join(map(_coordinate, point)) for point in word.polygon.tolist())
            label = IGNORE if word.ignore else WORD
            shape = _add(element, "polygon", label=label, source="auto", occluded="0", points=points, z_order="0")
            _add(shape, "attribute", word.text, name=TEXT[0])
    ElementTree.indent(root)
    atomic_write_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n")


CVAT = LabelFormat("cvat", ".xml", fits, read, write)
