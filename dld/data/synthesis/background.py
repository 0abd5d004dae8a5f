"""What stands behind the signs: photos that contain no text, and procedural walls, skies and clutter.

Photos come from a folder of the user, else from the wheel of scikit-image where that is installed.
"""

import importlib.util
import logging
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from dld.data.synthesis.clutter import add_clutter
from dld.data.synthesis.colors import muted_color

__all__ = ["BackgroundBank", "load_backgrounds"]

_PACKAGE_PHOTOS = (
    *("coffee.png", "rocket.jpg", "chelsea.png", "camera.png", "ihc.png", "gravel.png", "brick.png", "grass.png"),
    "hubble_deep_field.jpg",
)
_PHOTO_SIDE = 900  # pixels; larger pictures are reduced once, when read
_MAX_PHOTOS = 400  # about 700 MB at most
_TEXTURES, _TEXTURE_SIDE = 20, 768


def _package_photos() -> list[Path]:
    # without importing scikit-image, which takes a second
    spec = importlib.util.find_spec("skimage")
    roots = (spec.submodule_search_locations or []) if spec else []
    return [p for root in roots for name in _PACKAGE_PHOTOS if (p := Path(root) / "data" / name).is_file()]


def _folder_photos(folder: str) -> list[Path]:
    endings = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")
    # "._photo.jpg" is what macOS writes beside photo.jpg
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in endings and not p.name.startswith("._"))
    if not paths:
        raise FileNotFoundError(f"no picture (.jpg, .png, .webp, .bmp) under backgrounds_dir {folder!r}")
    # Spread over the whole folder, which may be sorted by subject.
    return paths[:: max(1, -(-len(paths) // _MAX_PHOTOS))]


def _read_photo(path: Path) -> np.ndarray | None:
    # not by name: one that is no UTF-8 would end the process
    content = np.fromfile(path, np.uint8)
    photo = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if photo is None or min(photo.shape[:2]) < 64:
        logging.getLogger(__name__).warning("background %s is unreadable or smaller than 64 pixels: left out", path)
        return None
    scale = _PHOTO_SIDE / max(photo.shape[:2])
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo


def _fractal_noise(rng: np.random.Generator, side: int, roughness: float, stretch: float) -> np.ndarray:
    """Make a grey image (uint8, side x side) of octaves of smooth noise; ``stretch`` > 1 gives grain as in wood."""
    total = np.zeros((side, side), np.float32)
    cells, weight = 3, 1.0
    while cells < side:
        grid = rng.standard_normal((cells, max(2, int(cells / stretch)))).astype(np.float32)
        total += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * 2, weight * roughness
    low, high = np.percentile(total, (1, 99))
    return np.clip((total - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


class BackgroundBank:
    """Decoded photos and noise textures, and the recipes that make backgrounds of them."""

    def __init__(self, backgrounds_dir: str | None = None):
        paths = _folder_photos(backgrounds_dir) if backgrounds_dir else _package_photos()
        self.photos = [photo for path in paths if (photo := _read_photo(path)) is not None]
        rng = np.random.default_rng(20240)  # the textures are part of the generator, the same for every seed
        self.textures = [
            _fractal_noise(rng, _TEXTURE_SIDE, rng.uniform(0.4, 1.0), float(rng.choice((1, 1, 1, 4, 12))))
            for _ in range(_TEXTURES)
        ]

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """Draw a background (uint8 BGR, height x width x 3)."""
        u = rng.random()
        if self.photos and u < 0.45:
            image = self._photo(rng, height, width)
        elif u < 0.7:
            image = self._texture(rng, height, width)
        elif u < 0.8:
            image = self._gradient(rng, height, width)
        else:
            image = self._street(rng, height, width)
        if rng.random() < 0.5:
            add_clutter(rng, image)
        return image

    def _photo(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        photo = self.photos[int(rng.integers(len(self.photos)))]
        h, w = photo.shape[:2]
        side = min(h / height, w / width) * rng.uniform(0.35, 1.0)
        ch, cw = max(8, int(side * height)), max(8, int(side * width))
        y, x = int(rng.integers(h - ch + 1)), int(rng.integers(w - cw + 1))
        image = cv2.resize(photo[y : y + ch, x : x + cw], (width, height), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.5:
            image = cv2.flip(image, 1)
        if rng.random() < 0.15:
            image = cv2.flip(image, 0)
        u = rng.random()
        if u < 0.12:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
            image[..., 0] = (image[..., 0].astype(np.uint16) + int(rng.integers(180))).astype(np.uint16) % 180
            image = cv2.cvtColor(image, cv2.COLOR_HSV2BGR)
        gain, gamma = rng.uniform(0.6, 1.15) * rng.uniform(0.88, 1.1, 3), rng.uniform(0.6, 1.6)
        ramp = (np.arange(256) / 255) ** gamma * 255
        table = np.clip(ramp[:, None] * gain[None, :], 0, 255).astype(np.uint8)
        return cv2.LUT(image, table[None])

    def grey(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """Cut a piece of a noise texture (uint8, height x width)."""
        texture = self.textures[int(rng.integers(len(self.textures)))]
        side = int(rng.integers(_TEXTURE_SIDE // 6, _TEXTURE_SIDE))
        y, x = (int(rng.integers(_TEXTURE_SIDE - side + 1)) for _ in range(2))
        crop = texture[y : y + side, x : x + side]
        return cv2.resize(crop.T if rng.random() < 0.5 else crop, (width, height), interpolation=cv2.INTER_LINEAR)

    def _texture(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        first, spread = np.array(muted_color(rng)), rng.uniform(4, 70)
        # Surfaces vary mainly in brightness, a little in hue.
        steps = rng.standard_normal((4, 1)) + 0.25 * rng.standard_normal((4, 3))
        stops = np.clip(first + spread * np.cumsum(steps * 0.6, axis=0), 0, 255)
        table = np.stack([np.interp(np.arange(256), (0, 85, 170, 255), stops[:, c]) for c in range(3)], 1).astype(np.uint8)
        return cv2.LUT(cv2.merge([self.grey(rng, height, width)] * 3), table[None])

    def _gradient(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        first = np.array(muted_color(rng))
        shade = rng.uniform(-70, 70, (2, 2, 1)) + rng.uniform(-15, 15, (2, 2, 3))
        corners = np.clip(first + shade, 0, 255).astype(np.float32)
        return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)

    def _street(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """Draw upright fields of different surfaces: shop fronts, walls, sky."""
        image = self._texture(rng, height, width)
        x = 0
        while x < width:
            w = int(rng.uniform(0.15, 0.7) * width)
            y0 = int(rng.uniform(-0.2, 0.4) * height)
            y1 = int(rng.uniform(0.6, 1.2) * height)
            region = image[max(0, y0) : y1, x : x + w]
            if min(region.shape[:2]) > 8:
                u = rng.random()
                make = self._texture if u < 0.5 else self._gradient if u < 0.75 or not self.photos else self._photo
                region[:] = make(rng, *region.shape[:2])
            x += max(w, 8)
        return image


@lru_cache(maxsize=2)
def load_backgrounds(backgrounds_dir: str | None = None) -> BackgroundBank:
    """Load the bank for a folder (None: the packages' photos), once per process.

    Raises:
        FileNotFoundError: a folder is given and holds no picture.
    """
    return BackgroundBank(backgrounds_dir)
