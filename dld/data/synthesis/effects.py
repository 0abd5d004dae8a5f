"""What a camera does to the whole image: uneven light, blur, a coarse sensor, noise and JPEG."""

from functools import lru_cache

import cv2
import numpy as np

__all__ = ["photograph"]

_NOISE_SIDE = 1024


@lru_cache(maxsize=1)
def _noise_tile() -> np.ndarray:
    """Make one large tile of normal noise times 32 (int8): cutting it at random places costs far less than fresh numbers."""
    rng = np.random.default_rng(20241)
    fine = rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3), dtype=np.float32)
    return np.clip(fine * 32, -127, 127).astype(np.int8)


def _shade(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add light that varies smoothly over the image, in brightness and a little in colour."""
    h, w = image.shape[:2]
    n = int(rng.integers(2, 5))
    field = rng.uniform(rng.uniform(0.35, 0.9), 1.15, (n, n, 1)) * rng.uniform(0.94, 1.0, (1, 1, 3))
    field = cv2.resize(np.clip(field * 200, 0, 255).astype(np.uint8), (w, h), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, field, scale=1 / 200)


def _motion_kernel(length: float, angle: float) -> np.ndarray:
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    c, d = side // 2, length / 2
    ends = [(c + s * d * np.cos(angle), c + s * d * np.sin(angle)) for s in (-1, 1)]
    cv2.line(kernel, *[tuple(int(round(v * 16)) for v in end) for end in ends], 1.0, 1, cv2.LINE_AA, 4)
    total = kernel.sum()
    if total <= 0:
        kernel[c, c] = total = 1.0
    return kernel / total


def _blur(rng: np.random.Generator, image: np.ndarray, scale: float) -> np.ndarray:
    u = rng.random()
    if u < 0.45:
        return cv2.GaussianBlur(image, (0, 0), 0.4 + scale * rng.exponential(0.7))
    if u < 0.6:
        return cv2.filter2D(image, -1, _motion_kernel(1.5 + scale * rng.exponential(2.2), rng.uniform(0, np.pi)))
    if u < 0.7:
        factor = rng.uniform(0.45, 0.85)
        h, w = image.shape[:2]
        small = cv2.resize(image, (max(8, int(w * factor)), max(8, int(h * factor))), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC)
    if u < 0.78:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        amount = rng.uniform(0.3, 1.2)
        return cv2.addWeighted(image, 1 + amount, soft, -amount, 0)  # the halo of in-camera sharpening
    return image


def _noise(rng: np.random.Generator, image: np.ndarray, sigma: float) -> np.ndarray:
    h, w = image.shape[:2]
    y, x = (int(rng.integers(max(1, _NOISE_SIDE - s + 1))) for s in (h, w))
    tile = _noise_tile()[y : y + h, x : x + w]
    if tile.shape[:2] != (h, w):
        tile = np.pad(tile, ((0, h - tile.shape[0]), (0, w - tile.shape[1]), (0, 0)), mode="wrap")
    return cv2.add(image, cv2.multiply(tile, np.ones(1), scale=sigma / 32, dtype=cv2.CV_16S), dtype=cv2.CV_8U)


def _tone(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    gain, offset, gamma = rng.uniform(0.65, 1.15), rng.uniform(-20, 25), rng.uniform(0.75, 1.4)
    ramp = (np.arange(256) / 255) ** gamma * 255 * gain + offset
    tint = ramp[:, None] * rng.uniform(0.92, 1.05, 3)[None, :]
    return cv2.LUT(image, np.clip(tint, 0, 255).astype(np.uint8)[None])


def photograph(rng: np.random.Generator, image: np.ndarray, letter_px: float, strength: float = 1.0) -> np.ndarray:
    """Return the image (uint8 BGR, H x W x 3) as a camera would give it; geometry is unchanged.

    Args:
        letter_px: typical letter height in pixels. Blur grows with it: what is blurred beyond reading teaches nothing.
        strength: 0 leaves the image as it is, 1 is the default.
    """
    if strength <= 0:
        return image
    if rng.random() < 0.6 * strength:
        image = _shade(rng, image)
    if rng.random() < 0.7 * strength:
        image = _tone(rng, image)
    image = _blur(rng, image, strength * min(max(letter_px / 24, 0.4), 2.0))
    if rng.random() < 0.75 * strength:
        image = _noise(rng, image, strength * rng.exponential(4.0) + 0.5)
    if rng.random() < 0.5 * strength:
        quality = int(rng.integers(25, 95))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image
