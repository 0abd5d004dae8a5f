"""Words set as lines and lines arranged on a flat sign: coverage masks and exact word outlines, no colour yet."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dld.data.synthesis.fonts import FontFace
from dld.data.synthesis.geometry import Arc, Wave, box_outline
from dld.data.synthesis.glyph_cache import CachedFace

__all__ = ["Lettering", "Line", "arrange_arc", "arrange_badge", "arrange_lines", "arrange_wave", "padded_box", "set_line"]

_RADIANS_PER_EDGE = math.radians(14)


@dataclass
class Line:
    """Words on a straight baseline; the frame's origin is the pen's start on the baseline.

    Attributes:
        mask: coverage, uint8.  left, top: position of the mask's first pixel in the frame (integers).
        boxes: (x0, y0, x1, y1) around each word's ink.  texts: labels, one per box.
        characters: of each word (m, 4), boxes of its characters; (0, 4) where the face does not know them.
    """

    mask: np.ndarray
    left: int
    top: int
    boxes: list[tuple[float, float, float, float]]
    texts: list[str]
    characters: list[np.ndarray]

    @property
    def width(self) -> int:
        return self.mask.shape[1]

    @property
    def height(self) -> int:
        return self.mask.shape[0]


@dataclass
class Lettering:
    """Everything written on one sign, in the frame of the sign's plane.

    Attributes:
        ink: coverage, uint8, plane height x plane width.
        words: (outline (P, 2) clockwise from the start of the word's top edge, label).
        characters: of each word (m, 4, 2), corners of its characters clockwise from the top left.
        disc: centre x, y and radius of the round sign these lines were arranged for, else None.
    """

    ink: np.ndarray
    words: list[tuple[np.ndarray, str]]
    characters: list[np.ndarray]
    disc: tuple[float, float, float] | None = None


def _margin(height: float) -> float:
    return max(1.0, 0.04 * height)


def set_line(
    face: FontFace | CachedFace, words: list[str], capital_px: float, tracking: float, gap: float, max_width: float
) -> tuple[Line | None, int]:
    """Set as many of ``words`` as fit into ``max_width`` pixels (at least the first, if that fits).

    Args:
        capital_px: height of capitals in pixels.  tracking, gap: letter and word space in capital heights.

    Returns:
        the line (None when not even the first word fits) and the number of words used up, skipped ones included.
    """
    placed: list[tuple[np.ndarray, int, int, str]] = []
    characters = []
    pen, used = 0.0, 0
    for word in words:
        if not face.can_draw(word):
            used += 1
            continue
        ink, dx, dy = face.mask(word, capital_px, tracking)
        if not ink.size:
            used += 1
            continue
        x = pen - dx if not placed else pen
        if x + dx + ink.shape[1] > max_width:
            break
        placed.append((ink, round(x + dx), round(dy), face.label(word)))
        shift = round(x + dx) - dx, round(dy) - dy
        characters.append(_character_boxes(face, word, capital_px, tracking) + (*shift, *shift))
        pen = x + dx + ink.shape[1] + gap * capital_px
        used += 1
    if not placed:
        return None, max(used, 1)
    left = min(x for _, x, _, _ in placed)
    top = min(y for _, _, y, _ in placed)
    right = max(x + ink.shape[1] for ink, x, _, _ in placed)
    bottom = max(y + ink.shape[0] for ink, _, y, _ in placed)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    boxes = []
    for ink, x, y, _ in placed:
        region = mask[y - top : y - top + ink.shape[0], x - left : x - left + ink.shape[1]]
        np.maximum(region, ink, out=region)
        boxes.append((x, y, x + ink.shape[1], y + ink.shape[0]))
    return Line(mask, left, top, boxes, [text for *_, text in placed], characters), used


def _character_boxes(face: FontFace | CachedFace, word: str, capital_px: float, tracking: float) -> np.ndarray:
    return face.character_boxes(word, capital_px, tracking) if isinstance(face, FontFace) else np.zeros((0, 4))


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners (m, 4, 2) of boxes (m, 4), clockwise from the top left."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def padded_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return the box (x0, y0, x1, y1) that is annotated for a word with this box around its ink."""
    x0, y0, x1, y1 = box
    m = _margin(y1 - y0)
    return x0 - m, y0 - m, x1 + m, y1 + m


def arrange_lines(lines: list[Line], align: str, spacing: float, pad: tuple[int, int]) -> Lettering:
    """Stack straight lines, "left", "center" or "right" aligned.

    Args:
        spacing: free pixels between the ink of neighbouring lines.  pad: free pixels left and right, above and below.
    """
    width = max(line.width for line in lines) + 2 * pad[0]
    height = sum(line.height for line in lines) + round(spacing) * (len(lines) - 1) + 2 * pad[1]
    ink = np.zeros((height, width), np.uint8)
    words, characters = [], []
    y = pad[1]
    for line in lines:
        free = width - 2 * pad[0] - line.width
        x = pad[0] + {"left": 0, "center": free // 2, "right": free}[align]
        ink[y : y + line.height, x : x + line.width] = line.mask
        shift = (x - line.left, y - line.top)
        for box, text in zip(line.boxes, line.texts, strict=True):
            words.append((box_outline(padded_box(box)) + shift, text))
        characters += [_corners(boxes) + shift for boxes in line.characters]
        y += line.height + round(spacing)
    return Lettering(ink, words, characters)


def _bend_onto(lettering: Lettering, line: Line, bend: Arc | Wave) -> None:
    ink = lettering.ink
    height, width = ink.shape
    map_x, map_y = bend.inverse_map(width, height)
    bent = cv2.remap(line.mask, map_x - line.left, map_y - line.top, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    np.maximum(ink, bent, out=ink)
    for box, text in zip(line.boxes, line.texts, strict=True):
        edges = math.ceil(bend.turn(box[2] - box[0]) / _RADIANS_PER_EDGE)
        lettering.words.append((bend.forward(box_outline(padded_box(box), min(max(edges + 1, 3), 8))), text))
    for boxes in line.characters:
        lettering.characters.append(bend.forward(_corners(boxes).reshape(-1, 2)).reshape(-1, 4, 2))


def arrange_arc(line: Line, turn: float, over: bool, pad: tuple[int, int]) -> Lettering:
    """Set one line on an arc that turns through ``turn`` radians, or less where the inner edge would fold."""
    middle = line.left + line.width / 2
    inner = (line.top + line.height if over else -line.top) + 1.0
    radius = max(line.width / max(turn, 1e-3), 2.0 * inner, 1.2 * line.height)
    half = min(0.5 * line.width / radius, math.pi)
    outer = radius - line.top if over else radius + line.top + line.height
    reach = outer if half > math.pi / 2 else outer * math.sin(half)
    rise = outer - (radius - inner) * math.cos(half)
    width, height = math.ceil(2 * reach) + 2 * pad[0], math.ceil(rise) + 2 * pad[1]
    center = (width / 2, pad[1] + outer if over else height - pad[1] - outer)
    lettering = Lettering(np.zeros((height, width), np.uint8), [], [])
    _bend_onto(lettering, line, Arc(center, radius, middle, over))
    return lettering


def arrange_wave(line: Line, amplitude: float, period: float, phase: float, pad: tuple[int, int]) -> Lettering:
    """Set one line on a sine of ``amplitude`` and ``period`` pixels and ``phase`` radians."""
    width = line.width + 2 * pad[0]
    height = math.ceil(line.height + 2 * amplitude) + 2 * pad[1]
    lettering = Lettering(np.zeros((height, width), np.uint8), [], [])
    _bend_onto(lettering, line, Wave((pad[0] - line.left, pad[1] + amplitude - line.top), amplitude, period, phase))
    return lettering


def arrange_badge(top: Line, bottom: Line | None, middle: list[Line], margin: float) -> Lettering:
    """Make a round sign: ``top`` along the upper rim, ``bottom`` along the lower one, ``middle`` straight inside."""
    rim = max(top.height, bottom.height if bottom else 0)
    widest = max([top.width, bottom.width if bottom else 0])
    inside_w = max((line.width for line in middle), default=0)
    inside_h = sum(line.height for line in middle) + 0.4 * rim * max(len(middle) - 1, 0)
    radius = max(widest / 2.4, 1.6 * rim, 0.5 * math.hypot(inside_w, inside_h) + 0.5 * margin)
    outer = radius + rim + margin
    side = math.ceil(2 * outer)
    center = (side / 2, side / 2)
    lettering = Lettering(np.zeros((side, side), np.uint8), [], [], (center[0], center[1], outer))
    # The feet of the upper line and the heads of the lower one both stand on the inner circle.
    _bend_onto(lettering, top, Arc(center, radius + top.top + top.height, top.left + top.width / 2, True))
    if bottom is not None:
        _bend_onto(lettering, bottom, Arc(center, radius - bottom.top, bottom.left + bottom.width / 2, False))
    if middle:
        block = arrange_lines(middle, "center", 0.4 * rim, (0, 0))
        h, w = block.ink.shape
        x, y = (side - w) // 2, (side - h) // 2
        region = lettering.ink[y : y + h, x : x + w]
        np.maximum(region, block.ink, out=region)
        lettering.words += [(outline + (x, y), text) for outline, text in block.words]
        lettering.characters += [corners + (x, y) for corners in block.characters]
    return lettering
