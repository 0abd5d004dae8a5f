"""The shipped weights read turned pages and long pictures made of the sample pictures."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from dld import TextSpotter
from dld.data.picture import read_picture
from dld.data.samples import sample_files


@pytest.fixture(scope="module")
def spotter():
    return TextSpotter.from_pretrained("dld_tiny", device="cpu")


@pytest.fixture(scope="module")
def upright():
    return read_picture(next(path for path in sample_files() if path.stem == "slow_down"))


@pytest.fixture(scope="module")
def expected(spotter, upright):
    return spotter(upright)


@pytest.fixture(scope="module")
def samples():
    return [np.array(Image.open(path).convert("RGB").resize((640, 480)))[:, :, ::-1].copy() for path in sample_files()]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_gives_the_words_of_the_upright_one(spotter, upright, expected, turn):
    page = np.ascontiguousarray(np.rot90(upright, -turn // 90))
    result = spotter(page, rotation="auto")
    assert result.rotation == turn and result.text == expected.text and (result.height, result.width) == page.shape[:2]
    assert result.gflops > expected.gflops and result.cost > expected.cost
    assert spotter(page, rotation=turn).to_dict() == {**result.to_dict(), "gflops": expected.gflops, "cost": expected.cost}
    middle = {w.text: w.polygon.mean(0) for w in expected.words}
    H, W = upright.shape[:2]
    for word in result.words:
        x, y = middle[word.text]
        there = {0: (x, y), 90: (H - y, x), 180: (W - x, H - y), 270: (y, W - x)}[turn]
        assert word.polygon.mean(0) == pytest.approx(there, abs=0.01)


def test_all_samples_are_turned_upright(spotter, samples):
    for k, upright in enumerate(samples):
        turn = 90 * (k % 4)
        page = np.ascontiguousarray(np.rot90(upright, -turn // 90))
        assert spotter(page, rotation="auto").rotation == turn, f"sample {k}"


def test_a_strip_of_ten_reads_what_the_ten_read_alone(spotter, samples):
    alone = Counter(word.text for result in spotter(samples) for word in result.words)
    strip = np.concatenate(samples)
    assert strip.shape == (4800, 640, 3)
    found = Counter(word.text for word in spotter(strip).words)
    missing = sum((alone - found).values())
    assert missing <= 0.05 * alone.total() and found.total() <= 1.1 * alone.total()
    whole = Counter(word.text for word in spotter(strip, tile="off").words)
    assert sum((alone - whole).values()) > 0.2 * alone.total(), "the strip is no test where it is read as a whole"


def test_a_spotter_that_chooses_no_scale_counts_what_finding_the_turn_costs(samples):
    teacher = TextSpotter.from_pretrained("teacher_tiny", device="cpu")
    found, told = teacher(samples[9], rotation="auto"), teacher(samples[9], rotation=0)
    assert told.gflops is None and found.gflops > 0 and found.cost > 1.3 and found.text == told.text
