"""PPOCRLabel, and PaddleOCR's detection data: `Label.txt`, one line a picture, path, tab, json.

::

    photos/a.jpg<TAB>[{"transcription": "Slow", "points": [[137, 142], ...], "difficult": false}, ...]

`difficult` is don't-care; so are `###` and what PPOCRLabel writes into a box that was not read yet. PPOCRLabel looks for
`Label.txt` in the folder of pictures, and has that folder's name before the name of each picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dld.data.annotation import ImageAnnotation, word_to_json
from dld.data.label_formats.entry import Entry, LabelledImage, Labels, word_of
from dld.data.label_formats.label_format import LabelFormat
from dld.utils.atomic_write import atomic_write_text

__all__ = ["PPOCRLABEL"]

NOT_READ = "待识别"
EXPECTED = "a path, a tab and a json list of words"


def fits(content: Any) -> bool:
    """Tell whether the first line has a json list of objects behind a tab."""
    if not isinstance(content, list) or not content or not isinstance(content[0], tuple):
        return False
    values = content[0][1].partition("\t")[2].strip()
    return values.startswith("[") and values[1:].lstrip()[:1] in ("{", "]")


def read(file: Entry) -> Labels:
    """Read the pictures of a `Label.txt`, with their words.

    Raises:
        ValueError: names file, line and word.
    """
    labels = Labels()
    for number, line in file.value:
        row = Entry(file.file, f"line {number}", line)
        name, _, values = line.partition("\t")
        try:
            words = Entry(file.file, row.place, json.loads(values))
        except (ValueError, RecursionError) as error:
            raise row.error(f"expected {EXPECTED} ({error})") from None
        image = LabelledImage(name, row)
        for word in words.items():
            text = word.at("transcription").of_kind(str)
            polygon = word.at("points").outline()
            image.words.append(word_of(polygon, "" if text == NOT_READ else text, word.flag("difficult")))
        labels.images.append(image)
    return labels


def write(path: Path, images: Sequence[ImageAnnotation], pictures: Path) -> None:
    """Write a `Label.txt`.

    Raises:
        ValueError: a file name with a tab or a line end in it.
    """
    lines = []
    for image in images:
        if set("\t\r\n") & set(image.file_name):
            raise ValueError(f"{image.file_name!r}: a line of PPOCRLabel cannot hold this name, rename the picture")
        words = [
            {"transcription": word.text, "points": word_to_json(word)["polygon"], "difficult": word.ignore}
            for word in image.words
        ]
        lines.append(f"{pictures.resolve().name}/{image.file_name}\t{json.dumps(words, ensure_ascii=False)}\n")
    atomic_write_text(path, "".join(lines))


PPOCRLABEL = LabelFormat("ppocrlabel", ".txt", fits, read, write)
