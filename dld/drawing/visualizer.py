"""Draws words on pictures: polygons outlined, their text in filled boxes beside them.

detectron2's `Visualizer` draws through matplotlib, which is slow for many labels and places none. Here its interface stays
(`TextVisualizer(image).draw_...(...)`, then `get_image` or `save`), and OpenCV and PIL paint the words.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import cv2
import numpy as np
from detectron2.structures import BoxMode, Instances
from detectron2.utils.visualizer import VisImage, Visualizer
from PIL import Image, ImageDraw

from dld.drawing.glyphs import LabelFont

__all__ = ["Spotting", "TextVisualizer"]

WORD_COLORS = ((0, 200, 83), (41, 121, 255), (255, 145, 0), (170, 0, 255), (0, 184, 212), (255, 214, 0), (121, 85, 72))
WRONG_COLOR = (221, 16, 32)
DONT_CARE_COLOR = (140, 140, 140)
CAPTION_COLOR = (20, 20, 20)
MIN_TEXT, PADDING, GAP = 10, 2, 3  # pixels of the drawn picture


class Spotting(Protocol):
    """What is drawn of a :class:`~dld.structures.words.SpottingResult`, which has more."""

    width: int
    height: int
    words: Sequence  # with text, polygon (P, 2) and score
    scale: float | None
    cost: float | None
    gflops: float | None


@dataclass
class _Mark:
    polygon: np.ndarray  # (P, 2) pixels of the drawn picture
    text: str
    color: tuple[int, int, int]

    @property
    def box(self) -> np.ndarray:
        return np.concatenate([self.polygon.min(axis=0), self.polygon.max(axis=0)])


class _Picture(VisImage):
    """The drawn picture: our marks on top of anything that was drawn through matplotlib."""

    def __init__(self, image: np.ndarray, scale: float, font: LabelFont) -> None:
        super().__init__(image, scale)
        self.font = font
        self.marks: list[_Mark] = []
        self.caption = ""

    def get_image(self) -> np.ndarray:
        """Return the picture, uint8 RGB (H * scale, W * scale, 3)."""
        axes = self.ax
        if axes.patches or axes.lines or axes.texts or axes.collections or len(axes.images) != 1:
            image = super().get_image().copy()
        else:
            size = (max(int(self.width * self.scale + 1e-2), 1), max(int(self.height * self.scale + 1e-2), 1))
            image = cv2.resize(self.img, size, interpolation=cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR)
        return _paint(image, self.marks, self.caption, self.font)

    def save(self, filepath: str | Path) -> None:
        """Write the picture in the format of its file ending; create a missing folder."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.get_image()).save(filepath, **({"quality": 92} if str(filepath).endswith("jpg") else {}))


class TextVisualizer(Visualizer):
    """Draws what was read, or what should have been, on one image.

    Args:
        img_rgb: (H, W, 3) image in RGB, 0 to 255, as everywhere in detectron2's Visualizer.
        metadata: of the data set; not needed for words.
        scale: the picture is drawn this much larger than the image; labels stay readable on small images with 2 or 3.
        font_path: a font for the labels (one with the script of your words). Characters that neither it nor any
            installed font has are written as escapes.

    Raises:
        ValueError: the image is not (H, W, 3), or `font_path` is no font.
        FileNotFoundError: there is no file `font_path`.
    """

    def __init__(
        self, img_rgb: np.ndarray, metadata=None, scale: float = 1.0, font_path: str | os.PathLike | None = None, **kwargs
    ) -> None:
        if np.ndim(img_rgb) != 3 or np.shape(img_rgb)[2] != 3:
            raise ValueError(f"expected an RGB image of shape (H, W, 3), got {np.shape(img_rgb)}")
        super().__init__(img_rgb, metadata, scale, **kwargs)
        self.output = _Picture(self.img, scale, LabelFont(font_path))

    def draw_spotting(
        self,
        predictions: Spotting | Instances,
        *,
        wrong: Sequence[bool] | None = None,
        dont_care: Sequence[bool] | None = None,
        caption: str | None = None,
        show_scores: bool = False,
    ) -> VisImage:
        """Draw predicted words.

        Args:
            predictions: of this image: a `SpottingResult`, or a model's instances in pixels of this image.
            wrong: for each word, whether to draw it in red.
            dont_care: for each word, whether to draw it in grey.
            caption: a line for a corner; by default the chosen scale and its cost, where the result has them.
            show_scores: add the score to each label.

        Raises:
            ValueError: the result is of an image of another size, or a flag list of another length.
        """
        if isinstance(predictions, Instances):
            predictions = _spotting_of(predictions)
        found, here = (predictions.width, predictions.height), (self.output.width, self.output.height)
        if all(found) and found != here:
            raise ValueError(f"the words are of an image of {found[0]} x {found[1]}, this one is {here[0]} x {here[1]}")
        words = predictions.words
        for name, flags in (("wrong", wrong), ("dont_care", dont_care)):
            if flags is not None and len(flags) != len(words):
                raise ValueError(f"{name} has {len(flags)} flags for {len(words)} words")
        for index, word in enumerate(words):
            color = WORD_COLORS[index % len(WORD_COLORS)]
            if dont_care is not None and dont_care[index]:
                color = DONT_CARE_COLOR
            elif wrong is not None and wrong[index]:
                color = WRONG_COLOR
            self._add(word.polygon, f"{word.text} {word.score:.2f}" if show_scores else word.text, color)
        self.output.caption = _describe_cost(predictions) if caption is None else caption
        return self.output

    def draw_dataset_dict(self, dic: Mapping) -> VisImage:
        """Draw the ground truth of a dataset dict; words that do not count are grey, without the `###` of the files."""
        colors = 0
        for annotation in dic.get("annotations") or []:
            text = annotation.get("text", "")
            if annotation.get("ignore") or annotation.get("iscrowd"):
                self._add(_outline(annotation), text if text.strip("#") else "", DONT_CARE_COLOR)
            else:
                self._add(_outline(annotation), text, WORD_COLORS[colors % len(WORD_COLORS)])
                colors += 1
        return self.output

    def draw_instance_predictions(self, predictions: Instances, jittering: bool = True) -> VisImage:
        """Draw instances with text as `draw_spotting` does; anything else as detectron2 does."""
        if predictions.has("pred_texts"):
            return self.draw_spotting(predictions)
        return super().draw_instance_predictions(predictions, jittering)

    def _add(self, polygon: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
        polygon = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        if len(polygon) and np.isfinite(polygon).all():
            # Far outside the picture nothing can be seen, and OpenCV's integers would overflow.
            polygon = np.clip(polygon * self.output.scale, -1e6, 1e6)
            self.output.marks.append(_Mark(polygon, text, color))


def _spotting_of(instances: Instances) -> Spotting:
    """Return the words of a model's instances."""
    height, width = instances.image_size
    fields, count = instances.get_fields(), len(instances)
    if "pred_polygons" in fields:
        polygons = [np.asarray(polygon) for polygon in fields["pred_polygons"]]
    else:
        boxes = fields["pred_boxes"].tensor.detach().cpu().numpy()
        polygons = list(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(count, 4, 2))
    texts = fields.get("pred_texts", [""] * count)
    scores = fields["scores"].tolist() if "scores" in fields else [1.0] * count
    words = [SimpleNamespace(text=t, polygon=p, score=s) for t, p, s in zip(texts, polygons, scores, strict=True)]
    return SimpleNamespace(width=width, height=height, words=words, scale=None, cost=None, gflops=None)


def _outline(annotation: Mapping) -> np.ndarray:
    if annotation.get("polygon") is not None:
        return np.asarray(annotation["polygon"])
    if isinstance(annotation.get("segmentation"), list) and annotation["segmentation"]:
        return np.asarray(annotation["segmentation"][0]).reshape(-1, 2)
    x0, y0, x1, y1 = BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _describe_cost(result: Spotting) -> str:
    parts = []
    if result.scale is not None:
        parts.append(f"scale {result.scale:.3g}")
    if result.cost is not None:
        parts.append(f"cost {result.cost:.0%}")
    if result.gflops is not None:
        parts.append(f"{result.gflops:.1f} GFLOPs")
    return ", ".join(parts)


def _contrast(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever reads better on `color` (luma of ITU-R BT.601)."""
    return (0, 0, 0) if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 115 else (255, 255, 255)


def _paint(image: np.ndarray, marks: list[_Mark], caption: str, font: LabelFont) -> np.ndarray:
    height, width = image.shape[:2]
    side = math.sqrt(height * width)
    line = int(np.clip(round(side / 500), 2, 4))  # a line of one pixel between two pixels has no full colour
    fixed = [np.round((mark.polygon - 0.5) * 8).astype(np.int32) for mark in marks]  # 3 bits behind the point
    for mark, points in zip(marks, fixed, strict=True):
        cv2.polylines(image, [points], True, _contrast(mark.color), line + 2, cv2.LINE_AA, shift=3)
    for mark, points in zip(marks, fixed, strict=True):
        cv2.polylines(image, [points], True, mark.color, line, cv2.LINE_AA, shift=3)

    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    words = np.array([mark.box for mark in marks]).reshape(-1, 4)
    labels: list[np.ndarray] = []
    if caption:
        text, size, extent = _fit(caption, max(12, round(side / 45)), (width, height), font)
        corners = _corners(extent, (width, height))
        labels.append(corners[np.argmin(_overlap(corners, words).sum(axis=1))])
        _draw_label(draw, labels[-1], text, size, CAPTION_COLOR, font)
    for index in np.lexsort((words[:, 0], words[:, 1])):
        mark = marks[index]
        if not mark.text:
            continue
        # The label follows the height of the word: large enough to read, small enough to leave the picture visible.
        word_height = min(cv2.minAreaRect(mark.polygon.astype(np.float32))[1])
        size = round(float(np.clip(0.7 * word_height, max(MIN_TEXT, side / 80), max(1.4 * MIN_TEXT, side / 32))))
        text, size, extent = _fit(mark.text, size, (width, height), font)
        labels.append(_place(index, extent, words, np.array(labels).reshape(-1, 4), (width, height)))
        _draw_label(draw, labels[-1], text, size, mark.color, font)
    return np.asarray(picture).copy()


def _fit(text: str, size: int, picture: tuple[int, int], font: LabelFont) -> tuple[str, int, tuple[int, int]]:
    """Fit text, font size and box (w, h) to the picture: first shrink the font, then cut the end of the text."""
    text = font.visible(text)
    while True:
        w, h = font.measure(text, size)
        extent = (w + 2 * PADDING + 2, h + 2 * PADDING)
        if extent[0] <= picture[0] or len(text) <= 2:
            return text, size, extent
        if size > MIN_TEXT:
            size = max(MIN_TEXT, min(size - 1, int(size * picture[0] / extent[0])))
        else:
            keep = max(1, min(len(text) - 2, int(len(text) * picture[0] / extent[0]) - 1))
            text = text[:keep] + "…"


def _corners(extent: tuple[int, int], picture: tuple[int, int]) -> np.ndarray:
    right, bottom = max(picture[0] - extent[0], 0), max(picture[1] - extent[1], 0)
    origins = np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]])
    return np.concatenate([origins, origins + extent], axis=1)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the intersection areas (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def _place(index: int, extent: tuple[int, int], words: np.ndarray, labels: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """Place the box of a label above its word where there is room, else below, beside or further off, hiding least."""
    (w, h), (x0, y0, x1, y1) = extent, words[index]
    middle = (y0 + y1 - h) / 2
    rows = [y0 - GAP - h, y1 + GAP, y0 - 2 * (GAP + h), y1 + 2 * GAP + h]
    origins = [(x, row) for row in rows for x in (x0, x1 - w, (x0 + x1 - w) / 2)]
    origins += [(x1 + GAP, middle), (x0 - GAP - w, middle)]
    limit = np.maximum(np.array(picture) - extent, 0)
    origins = np.round(np.clip(np.array(origins), 0, limit))
    boxes = np.concatenate([origins, origins + extent], axis=1)
    # Hiding another label costs more than hiding a word; places further down the list cost a little more.
    cost = 3 * _overlap(boxes, labels).sum(axis=1) + 2 * _overlap(boxes, words).sum(axis=1)
    cost += np.arange(len(boxes)) * 0.02 * w * h
    return boxes[np.argmin(cost)]


def _draw_label(
    draw: ImageDraw.ImageDraw, box: np.ndarray, text: str, size: int, color: tuple[int, int, int], font: LabelFont
) -> None:
    x0, y0, x1, y1 = (int(value) for value in box)
    ink = _contrast(color)
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=color, outline=ink)
    font.draw(draw, (x0 + PADDING + 1, y0 + PADDING), text, size, ink)
