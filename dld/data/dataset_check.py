"""Everything suspicious in a data set, each with its place, and the statistics one wants to see before training.

Severity "error": training or scoring would fail or be wrong (schema, images, words without an area or outside their
image, most outlines crossing themselves). "warning": the loader or the mapper copes, and says so only as a count (crossing
outlines are repaired, words
with unknown characters or too long become don't-care).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from tqdm import tqdm

from dld.data.annotation import (
    ImageAnnotation,
    TextAnnotation,
    find_schema_problems,
    images_from_document,
    read_document,
)
from dld.data.datasets.image_files import image_size
from dld.structures.polygon import clip_polygon, is_simple, polygon_box, repair_polygon, ring_of_four
from dld.structures.sides import word_sides

__all__ = ["Finding", "check_annotations", "dataset_statistics", "word_heights"]

# pixels a point may lie beyond the border before it is mentioned: annotators click on borders
BORDER_TOLERANCE = 2.0


@dataclass(frozen=True)
class Finding:
    """One suspicious thing: how bad, what kind, where, and in words."""

    severity: str
    kind: str
    message: str
    line: int | None = None
    image_id: str | None = None
    image: int | None = None
    word: int | None = None

    def where(self) -> str:
        """Return image and word, by index and id."""
        place = "" if self.image is None else f"images[{self.image}]"
        place += "" if self.word is None else f".words[{self.word}]"
        return place + (f" ({self.image_id})" if self.image_id else "")


class _Lines:
    """Line numbers of images and words in the text of an annotation file.

    Inside a json string quotes are escaped, so `"polygon":` can only be a key; keys stand in the order of the images
    and words. Where counts differ (a key is missing, or another object has it, too) the lines are unknown.
    """

    def __init__(self, text: str, images: list) -> None:
        starts = np.array([0, *(m.end() for m in re.finditer("\n", text))])

        def lines_of(key: str, expected: int) -> list[int | None]:
            found = [m.start() for m in re.finditer(rf'"{key}"\s*:', text)]
            if len(found) != expected:
                return [None] * expected
            return np.searchsorted(starts, found, side="right").tolist()

        words = [image.get("words") if isinstance(image, dict) else None for image in images]
        counts = [len(w) if isinstance(w, list) else 0 for w in words]
        self._first = np.cumsum([0, *counts])
        self._images = lines_of("file_name", len(images))
        self._words = lines_of("polygon", int(self._first[-1]))

    def at(self, image: int | None, word: int | None) -> int | None:
        if image is None:
            return None
        return self._images[image] if word is None else self._words[self._first[image] + word]


def _word_findings(
    image: ImageAnnotation, word: TextAnnotation, covers: Callable[[str], bool], max_length: int
) -> Iterator[tuple[str, str, str]]:
    """Yield severity, kind and message of what is wrong with one word."""
    x0, y0, x1, y1 = polygon_box(word.polygon)
    severe = "warning" if word.ignore else "error"
    if not is_simple(word.polygon):
        if repair_polygon(word.polygon) is None:
            yield severe, "polygon_without_area", f"the polygon encloses no area: {word.polygon.tolist()}"
            return
        if ring_of_four(word.polygon) is not None:
            message = "the four corners are not in the order around the word, which they will be put in"
            yield "warning", "corners_out_of_order", message
        else:
            yield "warning", "polygon_not_simple", "the polygon crosses or touches itself; its largest part will be used"
    if clip_polygon(word.polygon, image.width, image.height) is None:
        box = f"{x0:g},{y0:g} - {x1:g},{y1:g}"
        yield severe, "word_outside_image", f"the word ({box}) lies outside the image of {image.width} x {image.height}"
    elif min(x0, y0) < -BORDER_TOLERANCE or max(x1 - image.width, y1 - image.height) > BORDER_TOLERANCE:
        beyond = max(-x0, -y0, x1 - image.width, y1 - image.height)
        yield "warning", "word_over_border", f"the polygon reaches {beyond:g} pixels beyond the image"
    if word.ignore:
        return
    if word.characters is not None and not _holds_its_characters(word):
        yield "warning", "characters_elsewhere", f"most characters of {word.text!r} lie outside of the word's outline"
    unknown = sorted({c for c in word.text if not covers(c)})
    if unknown:
        yield "warning", "unknown_character", f"{word.text!r} has characters outside the charset: {''.join(unknown)!r}"
    if len(word.text) > max_length:
        yield "warning", "text_too_long", f"{word.text!r} has {len(word.text)} characters, more than {max_length}"


def _holds_its_characters(word: TextAnnotation) -> bool:
    """Tell whether the middles of at least half of a word's characters lie in the box around it."""
    x0, y0, x1, y1 = polygon_box(word.polygon)
    middles = word.characters.mean(1)
    return bool(((middles >= (x0, y0)) & (middles <= (x1, y1))).all(1).mean() >= 0.5)


def _image_finding(image: ImageAnnotation, image_root: Path) -> tuple[str, str] | None:
    try:
        width, height, _ = image_size(image_root / image.file_name, decode=True)
    except FileNotFoundError as error:
        return "image_missing", str(error)
    except ValueError as error:
        return "image_unreadable", str(error)
    if (width, height) != (image.width, image.height):
        stated = f"the annotation says {image.width} x {image.height}"
        return "image_size", f"{image.file_name} is {width} x {height} (after EXIF rotation), {stated}"
    return None


def check_annotations(
    json_file: str | Path,
    image_root: str | Path,
    covers: Callable[[str], bool],
    max_length: int = 32,
    decode_images: bool = True,
) -> tuple[list[Finding], list[ImageAnnotation]]:
    """Check an annotation file and its images.

    Args:
        json_file: the annotation file; `image_root`: the folder its file names are relative to.
        covers: whether the charset has a character.
        max_length: characters a word may have.
        decode_images: open and decode every image; otherwise images are not touched.

    Returns:
        the findings in the order of the file, and the images whose annotation has the right shape.

    Raises:
        FileNotFoundError, ValueError: no such file, or not json at all.
    """
    text, document = read_document(json_file)
    findings: list[Finding] = []
    raw: Any = document.get("images") if isinstance(document, dict) else None
    raw = raw if isinstance(raw, list) else []
    lines = _Lines(text, raw)
    broken = set()
    for problem in find_schema_problems(document):
        broken.add(problem.image)
        line = lines.at(problem.image, problem.word)
        message = f"{problem.field}: {problem.message}" if problem.field else problem.message
        findings.append(Finding("error", "schema", message, line, None, problem.image, problem.word))
    sound = [i for i in range(len(raw)) if i not in broken]
    images = images_from_document({"images": [raw[i] for i in sound]})
    root = Path(image_root)
    for i, image in tqdm(list(zip(sound, images, strict=True)), desc="checking", unit="image", disable=None):
        bad = _image_finding(image, root) if decode_images else None
        if bad is not None:
            findings.append(Finding("error", *bad, lines.at(i, None), image.image_id, i))
        for j, word in enumerate(image.words):
            for severity, kind, message in _word_findings(image, word, covers, max_length):
                findings.append(Finding(severity, kind, message, lines.at(i, j), image.image_id, i, j))
    crossing = sum(f.kind == "polygon_not_simple" for f in findings)
    words = sum(len(image.words) for image in images)
    if 2 * crossing > words:
        message = f"{crossing} of {words} outlines cross or touch themselves: points must go around the word, not row by row"
        findings.append(Finding("error", "most_outlines_cross", message))
    return sorted(findings, key=lambda f: (f.image is not None, f.image or 0, -1 if f.word is None else f.word)), images


def word_heights(polygons: list[np.ndarray]) -> np.ndarray:
    """Compute heights of words in pixels, float64 (R,): of the rectangle with the area and the perimeter of each polygon.

    Unlike a box's, this height does not grow when a word is slanted or bent. With area a and perimeter p it is the
    smaller root of h^2 - h p / 2 + a = 0.
    """
    shapes = [shapely.Polygon(p) for p in polygons]
    half, area = shapely.length(shapes) / 2, shapely.area(shapes)
    return (half - np.sqrt(np.maximum(half**2 - 4 * area, 0))) / 2


def dataset_statistics(images: list[ImageAnnotation]) -> dict[str, Any]:
    """Count what a data set holds, with quantiles of the height of readable words; return plain numbers for a json.

    `without_sides` are readable words that no strip can be cut from where strips are trained: their outlines have no upper and
    lower side (:func:`~dld.structures.sides.word_sides`). `with_characters` are readable words whose characters have corners.
    """
    per_image = [len(image.words) for image in images]
    words = [word for image in images for word in image.words]
    readable = [word for word in words if not word.ignore]
    heights = word_heights([word.polygon for word in readable])
    without = sum(word_sides(word.polygon, 2, len(word.text)) is None for word in readable)
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    return {
        "images": len(images),
        "images_without_words": per_image.count(0),
        "words": len(words),
        "ignored": len(words) - len(readable),
        "ignored_share": (len(words) - len(readable)) / max(len(words), 1),
        "words_per_image_mean": len(words) / max(len(images), 1),
        "words_per_image_max": max(per_image, default=0),
        "height_quantiles": {f"{q:g}": float(np.quantile(heights, q)) for q in quantiles} if len(heights) else {},
        "without_sides": without,
        "with_characters": sum(word.characters is not None for word in readable),
        "longest_text": max((len(word.text) for word in readable), default=0),
        "characters": len({c for word in readable for c in word.text}),
    }
