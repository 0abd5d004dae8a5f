"""Draws the sample pictures again: `python -m dld.data.samples.render [FOLDER]`.

They are synthwords from a random stream that neither training nor validation uses, on photos in the public domain, with
words of our own list. Only the fonts in them are the work of others.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from dld.data.annotation import ImageAnnotation, TextAnnotation, write_annotations
from dld.data.samples import ANNOTATIONS, NAME
from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.scene import render_synthwords
from dld.data.synthesis.vocabulary import load_vocabulary
from dld.utils.atomic_write import atomic_write_text

__all__ = ["PHOTOS", "SCENES", "Scene", "credits_text", "font_licences", "render_samples"]

SEED = 2  # training and validation have seed 0 unless a configuration says otherwise
JPEG_QUALITY = 88


class Scene(NamedTuple):
    """One picture: its name, its place in the random stream, and the options that differ from the default."""

    name: str
    index: int
    options: dict[str, Any]


_LARGE = {"size": (480, 640), "min_height": 40, "max_height": 110, "max_words": 6}
_PLATES = {"size": (480, 640), "min_height": 16, "max_height": 60, "plate_rate": 1.0, "density": 0.9, "max_words": 10}
_ARCS = {"min_height": 22, "max_height": 60, "curved_rate": 1.0, "plate_rate": 0.3, "density": 0.8, "max_words": 8}
_MIXED = {"min_height": 10, "max_height": 90, "density": 0.9, "max_words": 16, "spread": 4.0}
_SMALL = {"min_height": 9, "max_height": 18, "density": 1.0, "spread": 1.5}
_DARK = {
    "size": (480, 640),
    "min_height": 16,
    "max_height": 60,
    "effects": 1.6,
    "density": 0.9,
    "max_words": 8,
    "plate_rate": 0.2,
}

SCENES = (
    Scene("restaurant", 10, _LARGE),
    Scene("slow_down", 8, _LARGE),
    Scene("coffee", 2, _PLATES),
    Scene("hostel", 6, _PLATES),
    Scene("catering", 5, _ARCS),
    Scene("church", 3, _ARCS),
    Scene("brick_wall", 1, _MIXED),
    Scene("launch", 10, _MIXED),
    Scene("photographer", 9, _SMALL),
    Scene("fire_exit", 5, _DARK),
)

PHOTOS = {
    "brick.png": "CC0, cc0textures.com (Bricks25)",
    "camera.png": "CC0, Lav Varshney",
    "chelsea.png": "CC0, Stefan van der Walt",
    "coffee.png": "CC0, Rachel Michetti, courtesy of Pikolo Espresso Bar",
    "grass.png": "CC0, linolafett (deviantart.com)",
    "gravel.png": "CC0, cc0textures.com (Gravel04)",
    "rocket.jpg": "public domain, SpaceX",
}
"""Photos of scikit-image that the pictures may show -> their terms, as the documentation of its `data` module has them."""


def _copy_photos(folder: Path) -> None:
    spec = importlib.util.find_spec("skimage")
    if spec is None:
        raise ModuleNotFoundError("the backgrounds are photographs of scikit-image: pip install scikit-image")
    data = Path(spec.submodule_search_locations[0]) / "data"
    for name in PHOTOS:
        shutil.copy(data / name, folder)


def render_samples(folder: Path, names: frozenset[str] | None = None) -> list[ImageAnnotation]:
    """Write `images/NAME.jpg` of every scene (or of those in `names`) and `annotations.json`; return the annotations.

    Raises:
        ModuleNotFoundError, FileNotFoundError: the photos are not installed.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images = []
    with tempfile.TemporaryDirectory() as temporary:
        photos, words = Path(temporary) / "photos", Path(temporary) / "words.txt"
        photos.mkdir()
        _copy_photos(photos)
        words.write_text("\n".join(dict.fromkeys(load_vocabulary().scene)), encoding="utf-8")
        common = {"seed": SEED, "empty_rate": 0.0, "backgrounds_dir": str(photos), "words_file": str(words)}
        for scene in SCENES:
            if names is not None and scene.name not in names:
                continue
            drawn = render_synthwords(scene.index, split="val", config=SynthWordsConfig(**common, **scene.options))
            path = folder / "images" / f"{scene.name}.jpg"
            if not cv2.imwrite(str(path), drawn.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
                raise OSError(f"cannot write {path}")
            annotated = [TextAnnotation(np.round(p.astype(np.float64), 1), text, ignore) for p, text, ignore, _ in drawn.words]
            height, width = drawn.image.shape[:2]
            images.append(ImageAnnotation(path.name, scene.name, width, height, annotated))
    write_annotations(folder / "annotations.json", images, NAME)
    return images


def font_licences() -> dict[str, list[str]]:
    """Return licence -> names of the installed font families that words may be set in, both sorted."""
    families: dict[str, list[str]] = {}
    for entry in importlib.metadata.entry_points(group="fontpkg.family"):
        about = entry.dist.metadata
        family = about["Summary"].split(" font family")[0]
        families.setdefault(about["License-Expression"], []).append(family)
    return {licence: sorted(names) for licence, names in sorted(families.items())}


def credits_text() -> str:
    """Return CREDITS.md: what the pictures are made of, and on what terms they may be passed on."""
    lines = [
        "# Credits of the sample pictures",
        "",
        "Drawn by this project (`python -m dld.data.samples.render`) and, as the rest of it, under the Apache License 2.0:",
        "copy, change and pass them on. The words are from this project's own list (`dld/data/synthesis/words.txt`).",
        "",
        "Backgrounds are procedural, or pieces of these photographs, which scikit-image (BSD-3-Clause) carries:",
        "",
        "| photograph | terms |",
        "|---|---|",
        *(f"| `{name}` | {terms} |" for name, terms in PHOTOS.items()),
        "",
        "Words are set in unmodified fonts of Google Fonts. Their licences are about the font files, of which none is here.",
        "",
    ]
    for licence, names in font_licences().items():
        lines.append(f"- {licence}: {', '.join(names)}.")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    folder = Path(arguments[0]) if arguments else ANNOTATIONS.parent
    images = render_samples(folder)
    atomic_write_text(folder / "CREDITS.md", credits_text())
    words = sum(not word.ignore for image in images for word in image.words)
    size = sum(path.stat().st_size for path in (folder / "images").glob("*.jpg"))
    print(f"{folder}: {len(images)} pictures, {size / 1e6:.2f} MB, {words} readable words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
