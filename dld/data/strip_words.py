"""Words for the reader of strips, at several heights: cut from pages and photos along annotated sides, or drawn as strips."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from dld.data.dataset_mapper import read_dict_image
from dld.data.synthesis.strip_scene import SyntheticStrip
from dld.strips.cutting import PhotoPyramid, cut_strips, strip_widths, word_heights
from dld.strips.grouping import padded_widths
from dld.strips.heights import FORMS, STRIP_ROWS, checked_rows
from dld.structures.polygon import polygon_area
from dld.structures.sides import MOST_JITTER, jittered, word_sides
from dld.text.charset import Charset

__all__ = ["StripMapper", "StripWord", "distort"]

logger = logging.getLogger(__name__)

# shares of the strips that are distorted in each way
CONTRAST, INVERTED, NOISY, COARSE = 0.5, 0.1, 0.3, 0.25


class StripWord(NamedTuple):
    """An annotated word as strips of several heights."""

    text: str
    strips: dict[int, np.ndarray]  # rows -> uint8 BGR (rows, columns, 3)
    width: int  # padded columns at 48 rows
    height: float  # of the word in the photo, in pixels
    fill: float  # share of its box that its outline fills: turned and curved words fill little


class StripMapper:
    """Turns a dataset dict into the strips of its words: {"words": list of StripWord}, at test with "skipped", a Counter.

    A dict with "strips" (:class:`~dld.data.synthesis.synthstrips.SynthStripsDataset`) holds its words as strips of 48 rows,
    from which the lower ones are made.

    In training the sides are moved a little, the strips of the student are distorted, and at most `most_words` words of an
    image are taken; the strip of 48 rows is what the teacher sees, and stays clean. At test nothing is drawn at random. Words
    that are don't care, too long, outside the charset or without sides are left out; at test they are counted.

    Args:
        is_train: see above.
        charset, max_length: words outside of these are left out.
        rows: heights to cut, of :data:`~dld.strips.heights.FORMS`; 48 comes with them in training.
        jitter: each end of each side moves by up to this share of the word's height across the word, and both ends of a word
            by up to three times of it along.
        most_words: of an image in training.
    """

    def __init__(
        self,
        is_train: bool,
        charset: Charset,
        max_length: int,
        rows: Sequence[int],
        jitter: float = 0.0,
        most_words: int = 32,
    ) -> None:
        if not 0 <= jitter <= MOST_JITTER:
            raise ValueError(f"MODEL.STRIPS.TRAINING.SIDE_JITTER must be in [0, {MOST_JITTER}], got {jitter}")
        if most_words < 1:
            raise ValueError(f"INPUT.MAX_READ_WORDS must be at least 1, got {most_words}")
        self.is_train, self.charset, self.max_length = is_train, charset, max_length
        key = f"MODEL.STRIPS.TRAINING.{'ROWS' if is_train else 'TEST_ROWS'}"
        self.rows = checked_rows([*rows, STRIP_ROWS] if is_train else rows, key)
        self.jitter, self.most_words = jitter, most_words

    @classmethod
    def from_config(cls, cfg, charset: Charset, is_train: bool = True) -> StripMapper:
        """Build it from MODEL.STRIPS.TRAINING for a reader of these characters."""
        node = cfg.MODEL.STRIPS.TRAINING
        return cls(
            is_train,
            charset,
            cfg.MODEL.RECOGNITION.MAX_LENGTH,
            node.ROWS if is_train else node.TEST_ROWS,
            node.SIDE_JITTER if is_train else 0.0,
            cfg.INPUT.MAX_READ_WORDS,
        )

    def __call__(self, dataset_dict: dict, rng: np.random.Generator | None = None) -> dict:
        """Map one dict (not modified). `rng` drives what is drawn; without one it is drawn from the system.

        Raises:
            ValueError: the image cannot be read; the message names it.
        """
        rng = np.random.default_rng() if rng is None else rng
        if "strips" in dataset_dict:
            words, skipped = self._take_strips(dataset_dict["strips"], rng)
            return {"words": words} if self.is_train else {"words": words, "skipped": skipped}
        skipped: Counter = Counter()
        chosen = []
        for annotation in dataset_dict.get("annotations", ()):
            reason, sides = self._look_at(annotation)
            skipped[reason] += 1
            if sides is not None:
                chosen.append((annotation, sides))
        chosen = self._at_most(chosen, rng)
        out: dict = {"words": self._cut(read_dict_image(dataset_dict), chosen, rng) if chosen else []}
        if not self.is_train:
            del skipped["taken"]
            out["skipped"] = skipped
        return out

    def _at_most(self, words: list, rng: np.random.Generator) -> list:
        """Draw the words of an image that are taken in training; in their order."""
        if not self.is_train or len(words) <= self.most_words:
            return words
        return [words[i] for i in np.sort(rng.permutation(len(words))[: self.most_words])]

    def _why_not(self, text: str, ignore: bool) -> str:
        """Return why a word is left out, empty for one that is taken."""
        if ignore or not text:
            return "don't care"
        if len(text) > self.max_length:
            return "too long"
        return "" if self.charset.covers(text) else "outside the charset"

    def _look_at(self, annotation: dict) -> tuple[str, np.ndarray | None]:
        """Return the sides of a word (2, n, 2), or why there are none."""
        reason = self._why_not(annotation["text"], annotation["ignore"])
        if reason:
            return reason, None
        sides = word_sides(annotation["polygon"], characters=len(annotation["text"]))
        return ("without sides", None) if sides is None else ("taken", sides)

    def _take_strips(self, drawn: list[SyntheticStrip], rng: np.random.Generator) -> tuple[list[StripWord], Counter]:
        """Return the words that were drawn as strips, and how many were left out why."""
        reasons = [self._why_not(strip.text, strip.ignore) for strip in drawn]
        taken = self._at_most([strip for strip, reason in zip(drawn, reasons, strict=True) if not reason], rng)
        words = []
        for strip in taken:
            width = strip.pixels.shape[1]
            own = {rows: _lowered(strip.pixels, rows) for rows in self.rows}
            if self.is_train:
                own = {rows: pixels if rows == STRIP_ROWS else distort(pixels, rng) for rows, pixels in own.items()}
            words.append(StripWord(strip.text, own, int(padded_widths([width])[0]), strip.height, 1.0))
        return words, Counter(filter(None, reasons))

    def _cut(self, photo: np.ndarray, words: list[tuple[dict, np.ndarray]], rng: np.random.Generator) -> list[StripWord]:
        sides = np.stack([points for _, points in words])
        if self.jitter:
            sides = jittered(sides, self.jitter, rng)
        pyramid, heights = PhotoPyramid(photo), word_heights(sides)
        widths = padded_widths(strip_widths(sides, heights)).tolist()
        strips = {rows: cut_strips(pyramid, sides, np.full(len(sides), rows)) for rows in self.rows}
        found = []
        for i, (annotation, _) in enumerate(words):
            own = {rows: strips[rows][i] for rows in self.rows}
            if self.is_train:
                own = {rows: strip if rows == STRIP_ROWS else distort(strip, rng) for rows, strip in own.items()}
            polygon = np.asarray(annotation["polygon"], dtype=np.float64)
            box = np.prod(np.maximum(np.ptp(polygon, axis=0), 1e-6))
            found.append(StripWord(annotation["text"], own, widths[i], float(heights[i]), float(polygon_area(polygon) / box)))
        return found


def _lowered(strip: np.ndarray, rows: int) -> np.ndarray:
    """Reduce a strip uint8 (48, W, 3) to another height of :data:`~dld.strips.heights.FORMS`."""
    if rows == STRIP_ROWS:
        return strip
    columns = int(FORMS[rows].columns(strip.shape[1]))
    return cv2.resize(strip, (columns, rows), interpolation=cv2.INTER_AREA)


def distort(strip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change contrast, brightness, polarity, noise and sharpness of a strip uint8 (H, W, 3), each in some cases."""
    pixels = strip.astype(np.float32)
    contrasted, inverted, noisy, coarse = rng.random(4) < (CONTRAST, INVERTED, NOISY, COARSE)
    if coarse:
        height, width = strip.shape[:2]
        share = rng.uniform(0.5, 0.9)
        size = max(round(width * share), 1), max(round(height * share), 1)
        pixels = cv2.resize(
            cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        )
    if contrasted:
        mean = pixels.mean()
        pixels = (pixels - mean) * rng.uniform(0.6, 1.3) + mean + rng.normal(0, 18)
    if inverted:
        pixels = 255 - pixels
    if noisy:
        pixels = pixels + rng.normal(0, rng.uniform(2, 20), pixels.shape).astype(np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)
