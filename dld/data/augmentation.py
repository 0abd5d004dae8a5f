"""Augmentations for text: rotation, a crop that cuts no word, multi-scale, colour. Never a flip, which destroys text.

Geometric steps are one affine map, so that pixels are interpolated once and polygons follow exactly.
Random numbers come from the generator passed in; nothing touches global random state.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["AffineView", "TextCrop", "color_jitter", "resized_shape", "rotation_matrix"]


def resized_shape(height: int, width: int, short: int, longest: int) -> tuple[int, int]:
    """Return height and width after the short side becomes `short`, unless the long one would exceed `longest` (pixels)."""
    scale = short / min(height, width)
    if scale * max(height, width) > longest:
        scale = longest / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def rotation_matrix(degrees: float, height: int, width: int) -> np.ndarray:
    """Return the 2 x 3 map that turns the image counter-clockwise about its centre."""
    return cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)


@dataclass(frozen=True)
class TextCrop:
    """Chooses a window that cuts no readable word.

    Args:
        size: height and width of the window in pixels of the resized image; (0, 0): a random share of the image.
        min_share: smallest side of a random window as share of the image's side.
        tries: random windows of a fixed size tried before the least bad one is taken; the words that this one cuts
            become don't care, so no cut word is ever trained on as text.
    """

    size: tuple[int, int] = (0, 0)
    min_share: float = 0.5
    tries: int = 30

    def __call__(
        self, boxes: np.ndarray, readable: np.ndarray, height: int, width: int, scale: float, rng: np.random.Generator
    ) -> tuple[float, float, float, float]:
        """Draw a window; return x0, y0, x1, y1 in pixels of the unresized image.

        Args:
            boxes: words (R, 4) in the same pixels; readable: bool (R,).
            height, width: of the unresized image.
            scale: resized / unresized.
        """
        words = boxes[readable]
        if self.size[0] > 0:
            return self._fixed(words, height, width, self.size[0] / scale, self.size[1] / scale, rng)
        return self._growing(words, height, width, rng)

    def _fixed(self, words, height, width, window_h, window_w, rng):
        # where the window is larger than the image, the image lies somewhere inside it
        low_x, high_x = sorted((0.0, width - window_w))
        low_y, high_y = sorted((0.0, height - window_h))
        x0 = rng.uniform(low_x, high_x, self.tries)
        y0 = rng.uniform(low_y, high_y, self.tries)
        if not len(words):
            return x0[0], y0[0], x0[0] + window_w, y0[0] + window_h
        # all but a few windows hold a word drawn at random: background alone teaches the reader nothing
        aimed = words[rng.integers(len(words), size=self.tries)]
        share = rng.uniform(0.05, 0.95, (2, self.tries))
        aim = np.arange(self.tries) % 8 > 0
        fits = aim & (aimed[:, 2] - aimed[:, 0] < window_w) & (aimed[:, 3] - aimed[:, 1] < window_h)
        free_x, free_y = window_w - (aimed[:, 2] - aimed[:, 0]), window_h - (aimed[:, 3] - aimed[:, 1])
        x0 = np.where(fits, np.clip(aimed[:, 0] - share[0] * free_x, low_x, high_x), x0)
        y0 = np.where(fits, np.clip(aimed[:, 1] - share[1] * free_y, low_y, high_y), y0)
        windows = np.stack([x0, y0, x0 + window_w, y0 + window_h], 1)
        order = rng.permutation(self.tries)
        cuts = cut_words(words, windows[order]).sum(1)
        return tuple(windows[order[np.argmin(cuts)]])

    def _growing(self, words, height, width, rng):
        h, w = rng.uniform(self.min_share, 1.0, 2) * (height, width)
        x0, y0 = rng.uniform(0, width - w), rng.uniform(0, height - h)
        window = np.array([x0, y0, x0 + w, y0 + h])
        while len(words):
            cut = words[cut_words(words, window[None])[0]]
            if not len(cut):
                break
            grown = np.concatenate([np.minimum(window[:2], cut[:, :2].min(0)), np.maximum(window[2:], cut[:, 2:].max(0))])
            grown = np.clip(grown, 0, [width, height, width, height])
            if np.array_equal(grown, window):
                break
            window = grown
        return tuple(window)


def cut_words(words: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Find words (R, 4) that lie partly in and partly out of each window (W, 4): bool (W, R). Half a pixel is forgiven."""
    w, b = windows[:, None], words[None]
    inside = (b[..., :2] >= w[..., :2] - 0.5).all(-1) & (b[..., 2:] <= w[..., 2:] + 0.5).all(-1)
    touches = (b[..., :2] < w[..., 2:]).all(-1) & (b[..., 2:] > w[..., :2]).all(-1)
    return touches & ~inside


@dataclass(frozen=True)
class AffineView:
    """A view of an image: one affine map and the size of its result.

    Args:
        matrix: 2 x 3, source pixels to view pixels.
        height, width: of the view.
    """

    matrix: np.ndarray
    height: int
    width: int

    @classmethod
    def of_window(
        cls, rotation: np.ndarray | None, window: tuple[float, float, float, float], scale: float, size: tuple[int, int]
    ) -> AffineView:
        """Return the window x0, y0, x1, y1 of the rotated image, enlarged by `scale`, as a view of `size` (H, W)."""
        rotation = np.array([[1.0, 0, 0], [0, 1, 0]]) if rotation is None else rotation
        matrix = rotation * scale
        matrix[:, 2] -= scale * np.asarray(window[:2])
        return cls(matrix, *size)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Map points (..., 2) from source pixels to view pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def pixels(self, image: np.ndarray, fill: tuple[int, int, int]) -> np.ndarray:
        """Render the view of a uint8 image (H, W, 3), antialiased; what lies outside the image becomes `fill`."""
        shrink = float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))
        if shrink < 0.9:
            # a pixel of the view covers 1 / shrink source pixels: without a low-pass thin strokes alias away
            image = cv2.GaussianBlur(image, (0, 0), 0.5 * (1 / shrink**2 - 1) ** 0.5)
        # pixel centres lie at + 0.5: coordinates of corners and of samples differ by half a pixel at each end
        matrix = self.matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        return cv2.warpAffine(
            image,
            matrix,
            (self.width, self.height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )


def color_jitter(
    image: np.ndarray, brightness: float, contrast: float, saturation: float, rng: np.random.Generator
) -> np.ndarray:
    """Multiply brightness, contrast (about the mean) and saturation (about the grey value) by 1 +- these shares.

    The three are one 3 x 3 colour matrix and one offset, applied to a uint8 BGR image (H, W, 3) in one pass.
    """
    b, c, s = (1 + rng.uniform(-x, x) for x in (brightness, contrast, saturation))
    grey = np.array([0.114, 0.587, 0.299])
    matrix = b * c * (s * np.eye(3) + (1 - s) * np.ones((3, 1)) * grey)
    offset = b * (1 - c) * float(image.reshape(-1, 3)[::97].mean())
    full = np.concatenate([matrix, np.full((3, 1), offset)], 1)
    return cv2.transform(image, full)
