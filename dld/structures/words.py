"""What a spotter returns: words of one image, and the results file of many images.

All coordinates are pixels of the image that was given to the spotter (x to the right, y down), whatever resolution the
network worked at. The results file is json::

    {"schema": "dld-results/1", "dataset": "icdar2015_test" or null,
     "images": [{"image_id": "img_1", "file_name": "img_1.jpg", "width": 1280, "height": 720, "scale": 0.5,
                 "cost": 0.31, "gflops": 40.2,
                 "words": [{"text": "EXIT", "polygon": [[10.0, 5.0], ...], "score": 0.98, "char_scores": [0.9, ...]}]}]}
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["RESULTS_SCHEMA", "SpottingResult", "Word", "read_results", "result_from_instances", "write_results"]

RESULTS_SCHEMA = "dld-results/1"


@dataclass
class Word:
    """One word: what was read, where, and how surely.

    Args:
        text: the transcription.
        polygon: (P, 2) float array, pixels of the given image. Floating point arrays are kept as they are, anything
            else becomes float32.
        score: how sure the word is, in [0, 1]: of its detection and its reading together where strips are read
            (`dld.strips.scoring.word_score`), of its detection alone where masked crops are.
        char_scores: one probability for each character of `text`, or an empty list where none are known.
        rows: height in pixels of the strip that it was read from, or None where it was not read from a strip.
    """

    text: str
    polygon: np.ndarray
    score: float = 1.0
    char_scores: list[float] = field(default_factory=list)
    rows: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.polygon, np.ndarray) and np.issubdtype(self.polygon.dtype, np.floating)):
            self.polygon = np.asarray(self.polygon, dtype=np.float32)
        if self.polygon.size == 0:
            self.polygon = self.polygon.reshape(0, 2)
        if self.polygon.ndim != 2 or self.polygon.shape[1] != 2:
            raise ValueError(f"polygon of word {self.text!r} has shape {self.polygon.shape}, expected (P, 2)")

    def to_dict(self) -> dict[str, Any]:
        """Return plain json types; a coordinate that is not finite becomes null."""
        return {
            "text": self.text,
            "polygon": _exact_decimals(self.polygon),
            "score": _number(self.score),
            "char_scores": [_number(score) for score in self.char_scores],
            **({} if self.rows is None else {"rows": int(self.rows)}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Word":
        """Invert `to_dict`. Raises ValueError naming the field that is missing or of the wrong kind."""
        if not isinstance(values, Mapping):
            raise ValueError(f"expected an object for a word, got {type(values).__name__}")
        text = values.get("text")
        if not isinstance(text, str):
            raise ValueError(f"'text' must be a string, got {text!r}")
        try:
            polygon = np.array(values["polygon"], dtype=np.float32)
        except KeyError:
            raise ValueError(f"'polygon' is missing (word {text!r})") from None
        except (TypeError, ValueError):
            raise ValueError(f"'polygon' must be a list of [x, y] pairs, got {values['polygon']!r}") from None
        try:
            score, *char_scores = (
                math.nan if value is None else float(value)
                for value in (values.get("score", 1.0), *(values.get("char_scores") or ()))
            )
        except (TypeError, ValueError):
            raise ValueError(f"'score' and 'char_scores' of word {text!r} must be numbers") from None
        rows = values.get("rows")
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int)):
            raise ValueError(f"'rows' of word {text!r} must be a whole number, got {rows!r}")
        return cls(text, polygon, score, char_scores, rows)


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
            "scale": _number(self.scale),
            "cost": _number(self.cost),
            "gflops": _number(self.gflops),
            **({"unread": self.unread} if self.unread else {}),
            "words": [word.to_dict() for word in self.words],
        }

    def to_json(self, indent: int | None = None) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

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
            unread = int(values.get("unread") or 0)
            scale, cost, gflops = (
                None if values.get(key) is None else float(values[key]) for key in ("scale", "cost", "gflops")
            )
        except (TypeError, ValueError):
            raise ValueError("'width', 'height', 'scale', 'cost', 'gflops' and 'unread' must be numbers") from None
        name = None if image_id is None else str(image_id)
        return cls(name, file_name, width, height, parsed, scale, cost, gflops, unread)


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


def _exact_decimals(polygon: np.ndarray) -> list[list[float | None]]:
    # The shortest decimals that read back as the same float32: 10.3, not 10.300000190734863. Nothing is rounded, so
    # that a file is scored exactly as the predictions in memory were.
    values = polygon.astype("U32").astype(np.float64) if polygon.dtype == np.float32 else polygon
    if np.isfinite(values).all():
        return values.tolist()
    return [[_number(value) for value in point] for point in values.tolist()]


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
