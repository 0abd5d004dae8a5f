"""The one annotation that all data sets are turned into: images, and on each the words with outline, text, ignore flag.

A json file, schema "dld-text/1"::

    {"schema": "dld-text/1", "name": "my_signs", "images": [
      {"file_name": "img_1.jpg", "id": "img_1", "width": 1280, "height": 720, "words": [
        {"polygon": [[377, 117], [463, 117], [465, 130], [378, 130]], "text": "Theatre", "ignore": false}]}]}

- `file_name`: relative to the folder of images, "/" between folders, no "..".
- `id`: a unique string; left out, it is `file_name` without its extension.
- `width`, `height`: pixels of the image as `detectron2.data.detection_utils.read_image` gives it, that is after the
  EXIF orientation was applied; polygons are in the pixels of that image.
- `polygon`: three to 1000 points [x, y] in pixels, either direction; they may lie outside the image.
- `text`: the transcription. `ignore` (default false): nobody can read this word; it is neither trained on nor counted.
- `language`, `kind`: optional strings of a word, kept and not used.
- `characters`: optional; for each character of `text` four points [x, y], clockwise from its top left as it is read.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from dld.structures.polygon import LARGEST_PIXEL, MOST_POINTS, polygon_box
from dld.utils.atomic_write import atomic_write_text

__all__ = [
    "SCHEMA",
    "ImageAnnotation",
    "SchemaProblem",
    "TextAnnotation",
    "find_schema_problems",
    "image_ids",
    "read_annotations",
    "to_dataset_dict",
    "write_annotations",
]

SCHEMA = "dld-text/1"


@dataclass(eq=False)
class TextAnnotation:
    """One word: outline float64 (P, 2) in pixels, transcription, and whether it is don't-care.

    `characters` (m, 4, 2) in pixels are the corners of the text's m characters, each clockwise from its top left as it is read;
    None where nobody knows them.
    """

    polygon: np.ndarray
    text: str
    ignore: bool = False
    language: str | None = None
    kind: str | None = None
    characters: np.ndarray | None = None


@dataclass(eq=False)
class ImageAnnotation:
    """One image with its words; `file_name` is relative to the folder of images, sizes are in pixels."""

    file_name: str
    image_id: str
    width: int
    height: int
    words: list[TextAnnotation] = field(default_factory=list)


@dataclass(frozen=True)
class SchemaProblem:
    """What is wrong in an annotation file, and at which image, word and field (None: of the whole above it)."""

    image: int | None
    word: int | None
    field: str | None
    message: str

    def __str__(self) -> str:
        where = "" if self.image is None else f"images[{self.image}]"
        where += "" if self.word is None else f".words[{self.word}]"
        if self.field is not None:
            where += f".{self.field}" if where else self.field
        return f"{where}: {self.message}" if where else self.message


def _is_pixel(value: Any) -> bool:
    # NaN compares as False
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST_PIXEL <= value <= LARGEST_PIXEL


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        text = "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."


def _word_problems(word: Any) -> Iterator[tuple[str | None, str]]:
    if not isinstance(word, dict):
        yield None, f"expected an object with polygon, text and ignore, got {_shown(word)}"
        return
    polygon, text, ignore = word.get("polygon"), word.get("text"), word.get("ignore", False)
    if not isinstance(polygon, list) or len(polygon) < 3:
        yield "polygon", f"expected a list of at least 3 points [x, y], got {_shown(polygon)}"
    elif len(polygon) > MOST_POINTS:
        yield "polygon", f"has {len(polygon)} points, more than {MOST_POINTS}"
    else:
        for point in polygon:
            if not (isinstance(point, list) and len(point) == 2 and all(map(_is_pixel, point))):
                yield "polygon", f"expected points [x, y] of two numbers within 1,000,000, got {_shown(point)}"
                break
    if not isinstance(ignore, bool):
        yield "ignore", f"expected true or false, got {_shown(ignore)}"
    if not isinstance(text, str):
        yield "text", f"expected a string, got {_shown(text)}"
    elif not text.strip() and ignore is False:
        yield "text", "is empty: give the transcription, or set ignore to true for a word nobody can read"
    for key in ("language", "kind"):
        if not isinstance(word.get(key), str | None):
            yield key, f"expected a string, got {_shown(word[key])}"
    if word.get("characters") is not None and isinstance(text, str):
        yield from _character_problems(word["characters"], text)


def _character_problems(characters: Any, text: str) -> Iterator[tuple[str, str]]:
    if not isinstance(characters, list) or len(characters) != len(text):
        found = f"{len(characters)} of them" if isinstance(characters, list) else _shown(characters)
        yield "characters", f"expected four points for each of the {len(text)} characters of the text, got {found}"
        return
    for corners in characters:
        points = corners if isinstance(corners, list) and len(corners) == 4 else [corners]
        for point in points:
            if not (isinstance(point, list) and len(point) == 2 and all(map(_is_pixel, point))):
                yield "characters", f"expected four points [x, y] of numbers within 1,000,000, got {_shown(corners)}"
                return


def is_plain_relative(name: str) -> bool:
    """Tell whether a file name stays inside the folder it is relative to, on every system."""
    path = PurePosixPath(name)
    return "\\" not in name and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def _image_problems(image: dict) -> Iterator[tuple[str, str]]:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        yield "file_name", f"expected a path relative to the folder of images, got {_shown(name)}"
    elif not is_plain_relative(name):
        yield "file_name", f"must be relative to the folder of images, with / and without '..', got {name!r}"
    if "id" in image and (not isinstance(image["id"], str) or not image["id"]):
        yield "id", f"expected a non-empty string, got {_shown(image['id'])}"
    for key in ("width", "height"):
        if not isinstance(image.get(key), int) or isinstance(image[key], bool) or not 1 <= image[key] <= LARGEST_PIXEL:
            yield key, f"expected pixels as an integer >= 1 and at most 1,000,000, got {_shown(image.get(key))}"
    if not isinstance(image.get("words"), list):
        yield "words", f"expected a list (empty where the image has no text), got {_shown(image.get('words'))}"


def image_ids(names: Sequence[str]) -> list[str]:
    """Return an id for each file name: the name without its ending, or with it where two would be the same."""
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    taken = Counter(stems)
    return [stem if taken[stem] == 1 else name for name, stem in zip(names, stems, strict=True)]


def _image_id(image: dict) -> str:
    return image.get("id", str(PurePosixPath(image["file_name"]).with_suffix("")))


def find_schema_problems(document: Any) -> Iterator[SchemaProblem]:
    """Yield every reason why a parsed json is not a "dld-text/1" annotation; yield nothing if it is one."""
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        found = f"keys {sorted(document)[:8]}" if isinstance(document, dict) else f"a {type(document).__name__}"
        yield SchemaProblem(None, None, None, f'expected an object with "schema": "{SCHEMA}" and "images", got {found}')
        return
    if document.get("schema") != SCHEMA:
        yield SchemaProblem(None, None, "schema", f'expected "{SCHEMA}", got {_shown(document.get("schema"))}')
    first_with: dict[str, int] = {}
    for i, image in enumerate(document["images"]):
        if not isinstance(image, dict):
            yield SchemaProblem(i, None, None, f"expected an object with file_name and words, got {_shown(image)}")
            continue
        problems = list(_image_problems(image))
        yield from (SchemaProblem(i, None, key, message) for key, message in problems)
        if not {"file_name", "id"} & {key for key, _ in problems}:
            earlier = first_with.setdefault(_image_id(image), i)
            if earlier != i:
                yield SchemaProblem(i, None, "id", f"{_image_id(image)!r} is already the id of images[{earlier}]")
        words = image.get("words")
        for j, word in enumerate(words if isinstance(words, list) else ()):
            yield from (SchemaProblem(i, j, key, message) for key, message in _word_problems(word))


def read_document(path: str | Path) -> tuple[str, Any]:
    """Read a json file; return its text and what it holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not json in UTF-8; names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"annotation file {path} does not exist")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return text, json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid json: {error.msg} (column {error.colno})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    except (RecursionError, ValueError) as error:  # brackets in brackets without end, numbers of thousands of digits
        raise ValueError(f"{path}: not json that can be read: {error}") from error


def images_from_document(document: dict) -> list[ImageAnnotation]:
    """Return the images of a document without schema problems."""
    return [
        ImageAnnotation(
            file_name=image["file_name"],
            image_id=_image_id(image),
            width=image["width"],
            height=image["height"],
            words=[
                TextAnnotation(
                    polygon=np.asarray(word["polygon"], dtype=np.float64),
                    text=word["text"],
                    ignore=word.get("ignore", False),
                    language=word.get("language"),
                    kind=word.get("kind"),
                    characters=_read_characters(word.get("characters")),
                )
                for word in image["words"]
            ],
        )
        for image in document["images"]
    ]


def _read_characters(characters: list | None) -> np.ndarray | None:
    return None if characters is None else np.asarray(characters, dtype=np.float64).reshape(-1, 4, 2)


def read_annotations(path: str | Path) -> list[ImageAnnotation]:
    """Read and validate an annotation file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not json, or not of the schema; names the file, the image and word by index, and the field.
    """
    _, document = read_document(path)
    problem = next(find_schema_problems(document), None)
    if problem is not None:
        raise ValueError(f"{path}: {problem}")
    return images_from_document(document)


def word_to_json(word: TextAnnotation) -> dict:
    """Return one word as the schema has it."""
    record: dict[str, Any] = {"polygon": _points_to_json(word.polygon), "text": word.text, "ignore": word.ignore}
    record.update({key: v for key, v in (("language", word.language), ("kind", word.kind)) if v is not None})
    if word.characters is not None:
        record["characters"] = [_points_to_json(corners) for corners in word.characters]
    return record


def _points_to_json(points: np.ndarray) -> list[list[float]]:
    # whole numbers are written as such; all others in full, so that what was checked is what is read again
    return [[int(v) if v == int(v) else v for v in point] for point in points.tolist()]


def _lines(images: list[ImageAnnotation], name: str) -> Iterator[str]:
    """Yield the file piece by piece: a line per image, then a line per word, for editors and `diff`."""
    yield f'{{"schema": "{SCHEMA}", "name": {json.dumps(name)}, "images": ['
    for i, image in enumerate(images):
        head = {"file_name": image.file_name, "id": image.image_id, "width": image.width, "height": image.height}
        yield f'{"," if i else ""}\n{json.dumps(head, ensure_ascii=False)[:-1]}, "words": ['
        for j, word in enumerate(image.words):
            yield f"{',' if j else ''}\n  {json.dumps(word_to_json(word), ensure_ascii=False)}"
        yield "]}"
    yield "\n]}\n"


def write_annotations(path: str | Path, images: list[ImageAnnotation], name: str) -> None:
    """Write an annotation file; a reader meets the old file or the whole new one, never a part.

    Raises:
        ValueError: the result would not be of the schema (the message names image, word and field).
    """
    text = "".join(_lines(images, name))
    problem = next(find_schema_problems(json.loads(text)), None)
    if problem is not None:
        raise ValueError(f"cannot write {path}: {problem}")
    atomic_write_text(path, text)


def to_dataset_dict(image: ImageAnnotation, image_root: str | Path) -> dict[str, Any]:
    """Return the image as a detectron2 dataset dict whose annotations also carry `polygon`, `text` and `ignore`.

    Returns:
        dict with file_name (absolute), image_id, height, width, and annotations: each with bbox (XYXY_ABS, not clipped
        to the image), category_id 0, segmentation [[x0, y0, ...]], polygon float32 (P, 2), text, ignore, and where they are
        known characters float32 (m, 4, 2).
    """
    annotations = []
    for word in image.words:
        polygon = np.asarray(word.polygon, dtype=np.float32)
        annotations.append(
            {
                "bbox": list(polygon_box(polygon)),
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "iscrowd": 0,
                "segmentation": [polygon.reshape(-1).tolist()],
                "polygon": polygon,
                "text": word.text,
                "ignore": word.ignore,
            }
        )
        if word.characters is not None:
            annotations[-1]["characters"] = np.asarray(word.characters, dtype=np.float32)
    return {
        "file_name": os.path.abspath(os.path.join(image_root, image.file_name)),
        "image_id": image.image_id,
        "height": image.height,
        "width": image.width,
        "annotations": annotations,
    }
