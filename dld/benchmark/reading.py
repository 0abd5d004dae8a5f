"""Times what reading ten words from strips adds to finding them, at every height of strips."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from dld.benchmark.setting import Setting, spotter_of
from dld.benchmark.timing import alternate
from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.scene import render_synthwords
from dld.modeling.meta_arch.strip_words import side_by_side_on
from dld.strips.heights import FORMS, STRIP_ROWS
from dld.strips.reading import StripReading, read_words
from dld.strips.rules import ReadingRules

__all__ = ["PageOfWords", "measure_reading", "page_of_words"]

SIZE = (720, 1280)
LOWER = tuple(rows for rows in FORMS if rows != STRIP_ROWS)
LEAST_HEIGHT = 24.0  # pixels; lower words would be read from strips of fewer rows than they are told


class PageOfWords(NamedTuple):
    """A generated photo, uint8 BGR (H, W, 3), and the outlines, (P, 2) in its pixels, of some of its words."""

    photo: np.ndarray
    outlines: list[np.ndarray]


def page_of_words(count: int) -> PageOfWords:
    """Return the first generated page of 720 x 1280 with so many straight readable words, and the outlines of these.

    Raises:
        ValueError: none of the first hundred has so many.
    """
    config = SynthWordsConfig(size=SIZE, max_words=4 * count, density=1.0, curved_rate=0.0, empty_rate=0.0)
    for index in range(100):
        page = render_synthwords(index, split="val", config=config)
        words = [word.polygon for word in page.words if not word.ignore and _height(word.polygon) >= LEAST_HEIGHT]
        if len(words) >= count:
            return PageOfWords(page.image, words[:count])
    raise ValueError(f"none of the first 100 generated pages has {count} readable words of {LEAST_HEIGHT:g} pixels")


def _height(polygon: np.ndarray) -> float:
    return float(np.linalg.norm(polygon[0] - polygon[-1]))


def measure_reading(setting: Setting) -> dict:
    """Measure the part "reading": ten words of one photo from their outlines; a: strips of 48 rows, b: of fewer.

    Cutting, batching, the network, joining, splitting and scoring are in it; finding the outlines is not.

    Raises:
        RuntimeError: the weights read no strips.
    """
    _, model = spotter_of(setting, setting.weights)
    reader = model.student.reader
    if reader is None:
        raise RuntimeError(f"{setting.weights} reads no strips of the photo: MODEL.RECOGNITION.READER is empty")
    count = setting.either(10, 2)
    photo, outlines = page_of_words(count)
    setting.say(f"reading: {count} words at {len(FORMS)} heights")

    def words_at(rows: int) -> StripReading:
        rules = ReadingRules(rows=(rows,))
        known = (reader.read, reader.charset.characters, rules)
        return read_words([photo], [outlines], [np.ones(count)], *known, side_by_side=side_by_side_on(model.device))[0]

    ratios = {}
    with torch.inference_mode():
        for rows in LOWER:
            times = alternate(
                lambda _: words_at(STRIP_ROWS),
                lambda _, rows=rows: words_at(rows),
                setting.either(40, 2),
                device=setting.device,
                seconds=setting.seconds / len(LOWER),
                warm_up=3,
            )
            read = words_at(rows)
            width = np.median([size.width for size in read.sizes])
            ratios[f"reading_{rows}_rows"] = times.entry(
                f"{count} words of {SIZE[0]} x {SIZE[1]}, {STRIP_ROWS} against {rows} rows, {width:g} columns in the median",
                setting.threads,
                words=len(read.texts),
            )
    return {"ratios": ratios}
