"""Ten pictures that may be passed on, with what is written on them: to try a spotter, to score it, to show it.

They are the registered data set `dld_samples`. `render.py` made them; CREDITS.md says of what.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["ANNOTATIONS", "IMAGES", "NAME", "sample_files"]

NAME = "dld_samples"
IMAGES = Path(__file__).parent / "images"
ANNOTATIONS = Path(__file__).parent / "annotations.json"


def sample_files() -> list[Path]:
    """Return the files of the pictures, by name."""
    return sorted(IMAGES.glob("*.jpg"))
