"""Finds words of a finished image that nobody could read: they are marked ignore, as annotators of ICDAR data do.

A word is compared with its own clean drawing on an even ground. Only detail of the size of strokes counts: blur takes
it away, low contrast never shows it, and a busy ground hides it.
"""

import cv2
import numpy as np

__all__ = ["MIN_AMPLITUDE", "MIN_CAPITAL_PX", "MIN_CORRELATION", "is_legible", "visible_detail"]

# Chosen on contact sheets of words sorted by each measure, at the place where one begins to guess.
MIN_CAPITAL_PX = 6.0
MIN_AMPLITUDE = 5.0
MIN_CORRELATION = 0.6
_COMPARED_AT = 20.0  # capital height, pixels: larger words are reduced, so that noise averages out as it does to the eye


def visible_detail(image: np.ndarray, drawing: np.ndarray, outline: np.ndarray, capital_px: float) -> tuple[float, float]:
    """Measure how much of a word's strokes is left in the image.

    Args:
        image: uint8 BGR crop (h, w, 3) around the word, after all effects.
        drawing: the same crop of the clean sign, uint8 BGR (h, w, 3).
        outline: the word's polygon (P, 2) in pixels of the crop.  capital_px: height of its capitals.

    Returns:
        amplitude: root mean square, in grey levels, of the part of the image's detail that follows the drawing; and
        the correlation, -1 to 1, of the two.
    """
    scale = min(1.0, _COMPARED_AT / capital_px)
    if scale < 1:
        size = (max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale)))
        image, drawing = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (image, drawing))
    inside = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(outline * scale).astype(np.int32)], 1)
    side = max(3, round(0.8 * capital_px * scale))
    seen, drawn = (
        (part - cv2.blur(part, (side, side)))[inside > 0] for part in (image.astype(np.float32), drawing.astype(np.float32))
    )
    power, common = float((drawn * drawn).sum()), float((seen * drawn).sum())
    if power < 1e-3:
        return 0.0, 0.0
    amplitude = common / (power * drawn.size) ** 0.5
    return amplitude, common / (power * max(float((seen * seen).sum()), 1e-3)) ** 0.5


def is_legible(image: np.ndarray, drawing: np.ndarray, outline: np.ndarray, capital_px: float) -> bool:
    """Tell whether a word can be read (arguments of :func:`visible_detail`)."""
    if capital_px < MIN_CAPITAL_PX:
        return False
    amplitude, correlation = visible_detail(image, drawing, outline, capital_px)
    return amplitude >= MIN_AMPLITUDE and correlation >= MIN_CORRELATION
