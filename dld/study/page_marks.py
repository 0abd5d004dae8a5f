"""Words of one image and what became of them, as vector drawings over its picture.

The picture is stored once in the page and every panel draws its own marks over it. Outlines differ in their dashes too,
not in colour alone.
"""

import base64
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from dld.evaluation.ground_truth import GroundTruthWord
from dld.evaluation.matching import match_image
from dld.evaluation.protocol import Protocol
from dld.evaluation.transcription import handed_in
from dld.structures.words import SpottingResult

__all__ = ["Mark", "Picture", "as_html", "encode_picture", "judge", "overlay", "plain"]

VIEW = 640  # units of the longer side of every drawing, so that labels have one size on all of them
FONT, ROW = 13, 17  # units of a label's letters and its height
LETTER = 0.6 * FONT  # width of a letter of a typewriter font
SIGNS = {"missed": "\u2212 ", "false": "+ "}  # before the label, so that the dashes need not be told apart
LAYERS = {"dont_care": 0, "right": 1}  # mistakes lie on top


@dataclass(frozen=True)
class Mark:
    """A word read, or one that was missed.

    Attributes:
        polygon: (P, 2) pixels of the original image.
        text: read, or annotated where the word was missed or is don't care.
        verdict: "right", "misread", "false", "missed" or "dont_care".
        truth: the annotated text of a misread word.
    """

    polygon: np.ndarray
    text: str
    verdict: str
    truth: str = ""

    @property
    def label(self) -> str:
        """Return the label beside it; `≠` stands between the text read and the true text."""
        return plain(f"{self.text} ≠ {self.truth}" if self.verdict == "misread" else self.text)


@dataclass(frozen=True)
class Picture:
    """A picture of the page: data URI, size of the drawing that it fills, and units of that in a pixel of the original."""

    uri: str
    width: int
    height: int
    zoom: float


def plain(text: str) -> str:
    """Replace characters that no page may hold (controls, halves of surrogate pairs) by `�`."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def as_html(text: str) -> str:
    """Escape a text for elements and quoted attributes."""
    return escape(plain(text))


def encode_picture(image: np.ndarray, quality: int = 80) -> Picture:
    """Encode uint8 BGR (H, W, 3) as a JPEG whose longer side has at most `VIEW` pixels."""
    height, width = image.shape[:2]
    zoom = VIEW / max(height, width)
    size = (max(round(width * zoom), 1), max(round(height * zoom), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if zoom < 1 else image
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(small), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "JPEG takes every uint8 picture of this size"
    return Picture("data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode(), *size, zoom)


def judge(truth: Sequence[GroundTruthWord], result: SpottingResult, protocol: Protocol) -> list[Mark]:
    """Mark one reading by the end-to-end rules: annotated don't-care words first, then detections, then missed words."""
    match = match_image(truth, handed_in(result.words, protocol), protocol, "e2e")
    annotated = {pair.detection: truth[pair.truth].text for pair in match.pairs if not pair.correct}
    marks = [Mark(w.polygon, "", "dont_care") for w, v in zip(truth, match.verdicts.words, strict=True) if v == "dont_care"]
    for index, (word, verdict) in enumerate(zip(result.words, match.verdicts.detections, strict=True)):
        marks.append(Mark(word.polygon, word.text, verdict, annotated.get(index, "")))
    missed = zip(truth, match.verdicts.words, strict=True)
    return marks + [Mark(w.polygon, w.text, "missed") for w, verdict in missed if verdict == "missed"]


def overlay(marks: Sequence[Mark], picture: Picture) -> str:
    """Draw outlines and labels as SVG in units of the drawing; leave out polygons with points that are not finite."""
    shapes, labels, placed = [], [], []
    for mark in sorted(marks, key=lambda mark: LAYERS.get(mark.verdict, 2)):
        points = np.asarray(mark.polygon, dtype=np.float64).reshape(-1, 2) * picture.zoom
        if len(points) < 3 or not np.isfinite(points).all():
            continue
        points = np.clip(points, -picture.width, 2 * picture.width + picture.height)
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shapes.append(f'<polygon class="{mark.verdict}" points="{outline}"/>')
        if mark.label:
            labels.append(_label(mark, points, picture, placed))
    return "".join(shapes) + "".join(labels)


def _label(mark: Mark, points: np.ndarray, picture: Picture, placed: list[np.ndarray]) -> str:
    text = SIGNS.get(mark.verdict, "") + mark.label
    letters = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    width = min(letters * LETTER + 6, picture.width)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    rows = (top - ROW - 2, bottom + 2, top - 2 * ROW - 3, bottom + ROW + 3)
    places = [np.array([x, y, x + width, y + ROW]) for y in rows for x in (left, right - width)]
    shift = np.array([picture.width - width, picture.height - ROW]).clip(0)
    boxes = []
    for place in places:
        origin = place[:2].clip(0, shift)
        boxes.append(np.concatenate([origin, origin + [width, ROW]]))
    box = min(boxes, key=lambda b: sum(_common(b, other) for other in placed))  # the first of those least hidden
    placed.append(box)
    x, y = box[:2]
    return (
        f'<g class="label {mark.verdict}"><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROW}"/>'
        f'<text x="{x + 3:.1f}" y="{y + ROW - 4.5:.1f}" textLength="{width - 6:.1f}" lengthAdjust="spacingAndGlyphs">'
        f"{as_html(text)}</text></g>"
    )


def _common(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())
