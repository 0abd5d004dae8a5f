"""What the readers of label files share: values that know their place in the file, images as a file describes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dld.data.annotation import TextAnnotation
from dld.structures.polygon import LARGEST_PIXEL, MOST_POINTS

__all__ = ["DONT_CARE", "Entry", "LabelledImage", "Labels", "box_outline", "is_dont_care_class", "word_of", "written_text"]

DONT_CARE = "###"
"""Stands for a transcription that nobody can give, as in the files of the Robust Reading Competition."""

_DONT_CARE_CLASSES = frozenset({"ignore", "ignored", "dontcare", "illegible", "unreadable", DONT_CARE})
_KINDS = {dict: "an object", list: "a list", str: "a string", int: "an integer", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Entry:
    """A value in a label file, and where it stands: for one-line errors that name file and entry."""

    file: Path
    place: str
    value: Any

    def error(self, message: str) -> ValueError:
        """Return the error to raise about this value."""
        return ValueError(f"{self.file}: {self.place}: {message}" if self.place else f"{self.file}: {message}")

    def _expected(self, what: str) -> ValueError:
        shown = f"{self.value!r:.60}"
        return self.error(f"expected {what}, got {shown}")

    def has(self, key: str) -> bool:
        """Tell whether this is an object with the key and something else than null behind it."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def at(self, key: str | int) -> Entry:
        """Return the entry behind a key of this object or at an index of this list.

        Raises:
            ValueError: this is no object, or it lacks the key.
        """
        if isinstance(key, int):
            return Entry(self.file, f"{self.place}[{key}]", self.value[key])
        if not isinstance(self.value, dict):
            raise self._expected("an object")
        if key not in self.value:
            raise self.error(f"{key!r} is missing")
        return Entry(self.file, f"{self.place}.{key}" if self.place else key, self.value[key])

    def items(self, key: str | None = None) -> list[Entry]:
        """Return the entries of this list, or of the list behind `key`.

        Raises:
            ValueError: no list.
        """
        entry = self if key is None else self.at(key)
        entry.of_kind(list)
        return [entry.at(i) for i in range(len(entry.value))]

    def of_kind(self, kind: type) -> Any:
        """Return the value, which must be of this kind of json: dict, list, str, int, float (any number) or bool.

        Raises:
            ValueError: of another kind.
        """
        value = self.value
        fits = isinstance(value, int | float if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise self._expected(_KINDS[kind])
        return value

    def flag(self, key: str) -> bool:
        """Return a switch of this object, absent being off; 0 and 1 serve as false and true."""
        if not self.has(key):
            return False
        entry = self.at(key)
        if entry.value not in (0, 1):
            raise entry._expected("true or false")
        return bool(entry.value)

    def size(self, width: str, height: str) -> tuple[int, int] | None:
        """Return width and height in pixels behind these keys; None where the file does not say them.

        Raises:
            ValueError: not two positive integers.
        """
        if not (self.has(width) and self.has(height)):
            return None
        found = []
        for entry in (self.at(width), self.at(height)):
            if not 1 <= entry.of_kind(float) <= LARGEST_PIXEL or entry.value != int(entry.value):
                raise entry._expected("pixels as an integer >= 1")
            found.append(int(entry.value))
        return found[0], found[1]

    def outline(self) -> np.ndarray:
        """Return the points of this list, [[x, y], ...] or [x, y, x, y, ...], as float64 (P, 2).

        Raises:
            ValueError: fewer than 3, more than MOST_POINTS, or no finite numbers of pixels.
        """
        return self.points(3)

    def points(self, least: int) -> np.ndarray:
        """Return the points of this list as :meth:`outline` does, with another least number of points."""
        values = self.of_kind(list)
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)] if values and not isinstance(values[0], list) else values
        for pair in pairs:
            if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_pixel, pair))):
                raise self._expected("points of two numbers within 1,000,000")
        if not least <= len(pairs) <= MOST_POINTS:
            raise self.error(f"expected {least} to {MOST_POINTS} points, got {len(pairs)}")
        return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def _is_pixel(value: Any) -> bool:
    # NaN compares as False
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST_PIXEL <= value <= LARGEST_PIXEL


@dataclass
class LabelledImage:
    """An image as a label file describes it.

    Attributes:
        name: of the picture, as the file has it: a path or address of whatever machine.
        entry: where it stands.
        size: width and height in pixels as the file has them, None where it does not say.
        words: outlines in the pixels of that size.
    """

    name: str
    entry: Entry
    size: tuple[int, int] | None = None
    words: list[TextAnnotation] = field(default_factory=list)


@dataclass
class Labels:
    """All that was read from label files: images, and how often something was met that the user should know of."""

    images: list[LabelledImage] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def note(self, message: str, count: int = 1) -> None:
        """Count something for the report: `message` goes on after its number."""
        self.notes[message] += count

    def add(self, others: Iterable[Labels]) -> None:
        """Take over images and notes of others."""
        for other in others:
            self.images += other.images
            self.notes += other.notes


def word_of(polygon: np.ndarray, text: str | None, ignore: bool = False) -> TextAnnotation:
    """Make a word; without a transcription, or with `###`, it is don't-care.

    Args:
        polygon: (P, 2) in pixels.
        text: None where the file has none.
        ignore: the file says that it is don't-care.
    """
    text = (text or "").strip()
    return TextAnnotation(polygon, text, ignore or text in ("", DONT_CARE))


def written_text(word: TextAnnotation) -> str:
    """Return the text of a word for tools that demand one: `###` where it has none."""
    return word.text if word.text.strip() else DONT_CARE


def is_dont_care_class(name: str) -> bool:
    """Tell whether the name of a class of shapes means don't-care: "ignore", "don't care", "illegible", ... in any case."""
    return "".join(c for c in name.lower() if c.isalpha() or c == "#") in _DONT_CARE_CLASSES


def box_outline(
    x: float, y: float, width: float, height: float, degrees: float = 0.0, about_corner: bool = False
) -> np.ndarray:
    """Return the four corners, float64 (4, 2), clockwise from the top left, of a box turned clockwise (y down).

    Args:
        x, y: its top left corner before it is turned, in pixels.
        width, height: in pixels.
        degrees: by which it is turned, about its middle, or with `about_corner` about that corner.
    """
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=np.float64)
    if not degrees:
        return corners
    centre = corners[0] if about_corner else corners.mean(0)
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return (corners - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
