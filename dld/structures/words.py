"""What a spotter returns: words of one image, and the results file of many images.

All coordinates are pixels of the image that was given to the spotter (x to the right, y down), whatever resolution the
network worked at. The results file is json::

    {"schema": "dld-results/1", "dataset": "icdar2015_test" or null,
     "images": [{"image_id": "img_1", "file_name": "img_1.jpg", "width": 1280, "height": 720, "scale": 0.5,
                 "cost": 0.31, "gflops": 40.2,
                 "words": [{"text": "EXIT", "polygon": [[10.0, 5.0], ...], "score": 0.98, "char_scores": [0.9, ...]}],
                 "lines": [[0], ...]}]}

"lines" are the places of the words in "words", line by line in the order of reading. "rotation" stands in images that hold a
turned page, "unread" where outlines could not be read.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dld.structures.text_lines import TextLine, text_lines
from dld.structures.word import Word, exact_number
from dld.structures.word_table import COLUMNS, word_rows

if TYPE_CHECKING:
    import pandas

__all__ = ["RESULTS_SCHEMA", "SpottingResult", "Word", "read_results", "result_from_instances", "write_results"]

RESULTS_SCHEMA = "dld-results/1"


@dataclass
class SpottingResult:
    """The words of one image.

    Args:
        image_id: identifier in the data set, or None for a picture that belongs to none.
        file_name: where the image was read from, or None.
        width, height: size of the given image in pixels.
        words: in the order in which they are scored (the first of two detections of one word gets it).
        scale: the scale that was chosen, relative to the teacher's resolution, or None where nothing chooses.
        cost: fraction of the teacher's total FLOPs, or None where it is not known.
        gflops: 1e9 FLOPs (2 for each multiply-accumulate) that were spent on the image, or None.
        unread: outlines that were found and could not be read at all: they have no area, or lie outside the image.
        pixels: gives the image that was read, uint8 BGR (H, W, 3), for `draw`; None where it was not kept. No part of the
            json.
        rotation: degrees by which the page in the image is turned clockwise: 0, 90, 180 or 270. It was turned back to be
            read; polygons are in pixels of the image as it was given.
    """

    image_id: str | None
    file_name: str | None
    width: int
    height: int
    words: list[Word]
    scale: float | None = None
    cost: float | None = None
    gflops: float | None = None
    unread: int = 0
    pixels: Callable[[], np.ndarray] | None = field(default=None, repr=False, compare=False)
    rotation: int = 0

    @property
    def lines(self) -> list[TextLine]:
        """The words as lines, in the order of reading. They are found anew each time from `words` and `rotation`."""
        return text_lines(self.words, self.rotation)

    @property
    def text(self) -> str:
        """All lines, each on a line of its own, in the order of reading."""
        return "\n".join(line.text for line in self.lines)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return one row a word in the order of reading: file, page, block, line, word, text, score, box and polygon in pixels.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_dataframe() needs pandas: pip install pandas") from None
        return pandas.DataFrame(word_rows(self.lines, self.file_name), columns=list(COLUMNS))

    def draw(self, image: np.ndarray | None = None, font_path: str | os.PathLike | None = None, **options) -> Image.Image:
        """Draw the image with its words, scale and cost, as an RGB picture of PIL: `result.draw().save("out.jpg")`.

        Args:
            image: uint8 BGR (H, W, 3); by default the one that was read, from its file or from the array that was given.
            font_path: a font with the script of the words.
            options: of :meth:`dld.drawing.visualizer.TextVisualizer.draw_spotting`: wrong, dont_care, caption, show_scores.

        Raises:
            ValueError: the image is neither given nor kept (results of an iterator keep none), or is of another size.
            FileNotFoundError: it was read from a file that is gone.
        """
        # imported here: drawing needs detectron2 and matplotlib, scoring a results file does not
        from dld.drawing.visualizer import TextVisualizer

        if image is None:
            if self.pixels is None:
                raise ValueError("this result does not keep its image: give the pixels, draw(image)")
            image = self.pixels()
        visualizer = TextVisualizer(image[:, :, ::-1], font_path=font_path)
        return Image.fromarray(visualizer.draw_spotting(self, **options).get_image())

    def to_dict(self) -> dict[str, Any]:
        """Return plain json types."""
        return {
            "image_id": self.image_id,
            "file_name": self.file_name,
            "width": int(self.width),
            "height": int(self.height),
            "scale": exact_number(self.scale),
            "cost": exact_number(self.cost),
            "gflops": exact_number(self.gflops),
            **({"unread": self.unread} if self.unread else {}),
            **({"rotation": self.rotation} if self.rotation else {}),
            "words": [word.to_dict() for word in self.words],
            "lines": [line.indices for line in self.lines],
        }

    def to_json(self, indent: int | None = None) -> str:
        """Write one line of json, or more with `indent`; a file name that is no UTF-8 is escaped, and read back as it was."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SpottingResult":
        """Invert `to_dict`. Raises ValueError naming the field (and the index of the word) that is wrong."""
        if not isinstance(values, Mapping):
            raise ValueError(f"expected an object for an image, got {type(values).__name__}")
        image_id, file_name = values.get("image_id"), values.get("file_name")
        words = values.get("words")
        if not isinstance(words, list):
            raise ValueError(f"'words' must be a list, got {words!r}")
        parsed = []
        for index, word in enumerate(words):
            try:
                parsed.append(Word.from_dict(word))
            except ValueError as error:
                raise ValueError(f"word {index}: {error}") from None
        try:
            width, height = int(values.get("width") or 0), int(values.get("height") or 0)
            unread, rotation = int(values.get("unread") or 0), int(values.get("rotation") or 0)
            scale, cost, gflops = (
                None if values.get(key) is None else float(values[key]) for key in ("scale", "cost", "gflops")
            )
        except (TypeError, ValueError):
            raise ValueError("'width', 'height', 'scale', 'cost', 'gflops' and 'unread' must be numbers") from None
        if rotation not in (0, 90, 180, 270):
            raise ValueError(f"'rotation' must be 0, 90, 180 or 270, got {rotation}")
        name = None if image_id is None else str(image_id)
        return cls(name, file_name, width, height, parsed, scale, cost, gflops, unread, rotation=rotation)


def read_results(path: str | os.PathLike) -> list[SpottingResult]:
    """Read a results file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not json, another schema, or a wrong field; names file, image, word and field.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a json file ({error})") from None
    if not isinstance(values, dict) or values.get("schema") != RESULTS_SCHEMA:
        found = values.get("schema") if isinstance(values, dict) else type(values).__name__
        raise ValueError(f'{path}: expected an object with "schema": "{RESULTS_SCHEMA}", found {found!r}')
    if not isinstance(values.get("images"), list):
        raise ValueError(f"{path}: 'images' must be a list")
    results = []
    for index, image in enumerate(values["images"]):
        try:
            results.append(SpottingResult.from_dict(image))
        except ValueError as error:
            name = image.get("image_id") or image.get("file_name") if isinstance(image, dict) else None
            raise ValueError(f"{path}: image {index} ({name}): {error}") from None
    return results


def write_results(path: str | os.PathLike, results: Iterable[SpottingResult], dataset: str | None = None) -> None:
    """Write a results file, which appears whole or not at all. Only one of `results` is in memory at a time."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"schema": RESULTS_SCHEMA, "dataset": dataset}, ensure_ascii=False)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(unfinished, "w", encoding="utf-8") as f:
            f.write(f'{head[:-1]}, "images": [')
            for index, result in enumerate(results):
                f.write((", " if index else "") + result.to_json())
            f.write("]}\n")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def result_from_instances(
    instances: Any,
    image_id: str | None = None,
    file_name: str | None = None,
    scale: float | None = None,
    cost: float | None = None,
    gflops: float | None = None,
) -> SpottingResult:
    """Turn a model's `Instances` into a `SpottingResult`.

    Args:
        instances: detectron2 Instances of R words with `scores` (R,), `pred_boxes` (R, 4 as x0, y0, x1, y1) and, where
            the model has them, `pred_polygons` (R arrays (P, 2)), `pred_texts` (R strings), `pred_char_scores` (R
            lists), `pred_rows` (R numbers). A word without polygon gets the corners of its box, one without text the empty
            string.
    """
    height, width = instances.image_size
    count = len(instances)
    fields = instances.get_fields()
    scores = fields["scores"].tolist() if "scores" in fields else [1.0] * count
    if "pred_polygons" in fields:
        polygons = [np.asarray(polygon, dtype=np.float32) for polygon in fields["pred_polygons"]]
    else:
        boxes = fields["pred_boxes"].tensor.detach().cpu().numpy().astype(np.float32)
        polygons = [boxes[index][[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2) for index in range(count)]
    texts = fields.get("pred_texts", [""] * count)
    char_scores = fields.get("pred_char_scores", [[] for _ in range(count)])
    heights = fields.get("pred_rows", [None] * count)
    words = [
        Word(str(text), polygon, float(score), [float(value) for value in chars], rows)
        for text, polygon, score, chars, rows in zip(texts, polygons, scores, char_scores, heights, strict=True)
    ]
    return SpottingResult(
        None if image_id is None else str(image_id), file_name, int(width), int(height), words, scale, cost, gflops
    )
