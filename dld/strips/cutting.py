"""Straightened strips of words, sampled from the photo.

R words, n points of a side, W_i columns of a word's strip at 48 rows. Coordinates are pixels of the photo, whose first pixel
covers [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from dld.strips.heights import FORMS, MARGIN, STRIP_ROWS, TEXT_ROWS, StripForm

__all__ = [
    "MOST_HEIGHTS",
    "PhotoPyramid",
    "cut_strips",
    "strip_widths",
    "word_heights",
]

# a longer word is squeezed: its strip has no more columns than this many times its text's rows
MOST_HEIGHTS = 20
# OpenCV samples from and into pictures of fewer than 32,768 pixels a side
_MOST_SIDE = 32_000


class PhotoPyramid:
    """A photo and its halves, each made when it is first asked for.

    Args:
        photo: uint8 (H, W, 3).
    """

    def __init__(self, photo: np.ndarray) -> None:
        self.levels = [np.ascontiguousarray(photo)]
        self.first = 0  # the finest level that can be sampled
        while max(self[self.first].shape[:2]) > _MOST_SIDE:
            self.first += 1

    def __getitem__(self, level: int) -> np.ndarray:
        """Return the photo reduced `level` times by two, each pixel the mean of those it covers."""
        while len(self.levels) <= level:
            height, width = self.levels[-1].shape[:2]
            size = (max(width // 2, 1), max(height // 2, 1))
            self.levels.append(cv2.resize(self.levels[-1], size, interpolation=cv2.INTER_AREA))
        return self.levels[level]

    @property
    def deepest(self) -> int:
        """The level of one pixel."""
        return int(np.log2(max(self.levels[0].shape[:2]))) if self.levels[0].size else 0


def strip_widths(sides: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Compute the columns of each strip at 48 rows, margins included.

    Text is as wide to its rows as the word is long to its height.

    Args:
        sides: (R, 2, n, 2).
        heights: (R,), see :func:`word_heights`.

    Returns:
        int64 (R,), at least half and at most `MOST_HEIGHTS` times `TEXT_ROWS`, and the margins.
    """
    lengths = np.hypot(*np.moveaxis(np.diff(sides, axis=2), -1, 0)).sum(2).mean(1)
    text = np.clip(np.rint(TEXT_ROWS * lengths / heights), TEXT_ROWS // 2, TEXT_ROWS * MOST_HEIGHTS)
    return text.astype(np.int64) + 2 * MARGIN


def word_heights(sides: np.ndarray) -> np.ndarray:
    """Compute the mean distance of the two sides, at least 1 pixel: (R, 2, n, 2) -> (R,)."""
    return np.maximum(np.hypot(*np.moveaxis(sides[:, 1] - sides[:, 0], -1, 0)).mean(1), 1.0)


def cut_strips(pyramid: PhotoPyramid, sides: np.ndarray, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """Sample the words between their sides.

    Row r and column c of a strip of 48 rows lie at v = (r + 1/2 - margin) / 40 of the way from the upper side to the lower one
    and at u = (c + 1/2 - margin) / width along both: the straight blend of the two sides. A lower strip shows the same with
    fewer pixels. Beyond their ends the sides go on in the
    direction from end to end. What is smaller in the strip than in the photo is sampled from a reduced photo, bilinearly; what
    is larger bicubically; beyond the photo's border its last pixel goes on. All words are sampled in a few calls.

    Args:
        pyramid: the photo.
        sides: float64 (R, 2, n, 2), pixels of the photo.
        rows: of each strip, int (R,), keys of `FORMS`; None: 48.

    Returns:
        R strips uint8 (rows, columns, 3); see `StripForm.columns` of :func:`strip_widths`.
    """
    if not len(sides):
        return []
    heights = word_heights(sides)
    widths = strip_widths(sides, heights)
    rows = np.full(len(sides), STRIP_ROWS) if rows is None else np.asarray(rows)
    shrink = np.log2(heights / np.array([FORMS[int(r)].text_rows for r in rows]))
    level = np.clip(np.rint(shrink), pyramid.first, max(pyramid.deepest, pyramid.first)).astype(int)
    cubic = level > shrink
    strips: list[np.ndarray] = [np.empty(0)] * len(sides)
    for height, which, smooth in sorted(set(zip(rows.tolist(), level.tolist(), cubic.tolist(), strict=True))):
        alike = np.flatnonzero((rows == height) & (level == which) & (cubic == smooth))
        for part in _parts(alike, widths):
            columns = FORMS[height].columns(widths[part])
            photo, zoom = pyramid[which], _zoom(pyramid, which)
            pixels = _sample(photo, zoom, sides[part], widths[part], FORMS[height], smooth)
            for i, strip in zip(part, np.split(pixels, np.cumsum(columns)[:-1], axis=1), strict=True):
                strips[i] = strip
    return strips


def _parts(words: np.ndarray, widths: np.ndarray) -> list[np.ndarray]:
    """Split words into runs whose strips, side by side, OpenCV can still write."""
    run = np.cumsum(widths[words]) // (_MOST_SIDE // 2)
    return np.split(words, np.flatnonzero(np.diff(run)) + 1)


def _zoom(pyramid: PhotoPyramid, level: int) -> np.ndarray:
    """Return the pixels of a level to one of the photo, along x and y."""
    (h, w), (height, width) = pyramid[level].shape[:2], pyramid[0].shape[:2]
    return np.array([w / width, h / height])


def _sample(
    photo: np.ndarray, zoom: np.ndarray, sides: np.ndarray, widths: np.ndarray, form: StripForm, cubic: bool
) -> np.ndarray:
    """Sample the strips of some words side by side, uint8 (rows of the form, sum of the columns, 3)."""
    count = sides.shape[2]
    columns = form.columns(widths)
    word = np.repeat(np.arange(len(widths)), columns)  # of each column
    column = np.arange(len(word)) - np.repeat(np.cumsum(columns) - columns, columns)
    # in columns and rows of 48
    u = ((column + 0.5) * (widths / columns)[word] - MARGIN) / (widths[word] - 2 * MARGIN)
    at = np.clip(u, 0, 1) * (count - 1)
    before = np.minimum(at.astype(int), count - 2)
    share = (at - before)[:, None, None]
    beyond = (u - np.clip(u, 0, 1))[:, None, None]
    points = sides.transpose(0, 2, 1, 3)  # R, n, 2, 2: at each point both sides
    along = points[:, -1] - points[:, 0]
    pair = points[word, before] * (1 - share) + points[word, before + 1] * share + beyond * along[word]
    pair = (pair * zoom - 0.5).astype(np.float32)
    v = (((np.arange(form.rows) + 0.5) * (STRIP_ROWS / form.rows) - MARGIN) / TEXT_ROWS).astype(np.float32)[:, None]
    x = pair[:, 0, 0] * (1 - v) + pair[:, 1, 0] * v
    y = pair[:, 0, 1] * (1 - v) + pair[:, 1, 1] * v
    # far outside is outside: numbers that OpenCV's fixed point holds
    np.clip(x, -_MOST_SIDE, _MOST_SIDE, out=x)
    np.clip(y, -_MOST_SIDE, _MOST_SIDE, out=y)
    how = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    return cv2.remap(photo, x, y, how, borderMode=cv2.BORDER_REPLICATE)
