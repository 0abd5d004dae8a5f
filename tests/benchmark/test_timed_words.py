"""The words whose reading is timed, and that each height is."""

import numpy as np
import pytest
import shapely

from dld.benchmark.reading import LEAST_HEIGHT, measure_reading, page_of_words
from dld.benchmark.setting import Setting


def test_the_words_are_straight_apart_and_high_enough_for_every_height():
    photo, outlines = page_of_words(10)
    assert photo.shape == (720, 1280, 3) and photo.dtype == np.uint8 and len(outlines) == 10
    shapes = [shapely.Polygon(outline) for outline in outlines]
    for i, (outline, shape) in enumerate(zip(outlines, shapes, strict=True)):
        assert len(outline) == 4 and np.linalg.norm(outline[0] - outline[-1]) >= LEAST_HEIGHT
        assert all(shape.intersection(other).area <= 0.12 * shape.area for other in shapes[:i])
    np.testing.assert_array_equal(photo, page_of_words(10).photo)


def test_too_many_words_for_a_page_are_an_error(monkeypatch):
    monkeypatch.setattr("dld.benchmark.reading.LEAST_HEIGHT", 1000.0)
    monkeypatch.setattr("dld.benchmark.reading.SIZE", (64, 64))
    with pytest.raises(ValueError, match="none of the first 100 generated pages has 2 readable words of 1000 pixels"):
        page_of_words(2)


def test_every_height_is_timed_against_48_rows_and_reads_its_words():
    found = measure_reading(Setting(device="cpu", threads=1, quick=True))["ratios"]
    assert set(found) == {"reading_32_rows", "reading_24_rows", "reading_16_rows"}
    for entry in found.values():
        assert entry["words"] >= 1 and entry["a_median"] > 0 and entry["b_median"] > 0 and entry["pairs"] == 2


def test_weights_that_read_no_strips_are_named():
    with pytest.raises(RuntimeError, match=r"teacher_tiny reads no strips of the photo: MODEL\.RECOGNITION\.READER is empty"):
        measure_reading(Setting(device="cpu", threads=1, quick=True, opts=["MODEL.RECOGNITION.READER", ""]))
