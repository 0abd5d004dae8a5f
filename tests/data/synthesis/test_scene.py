"""Whole images: reproducible anywhere, honestly labelled, and as varied as promised."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.fonts import PRINTABLE
from dld.data.synthesis.scene import render_synthwords

SMALL = SynthWordsConfig(size=(256, 320), max_words=8, max_height=60.0)


def digest(index: int, **overrides) -> str:
    picture = render_synthwords(index, config=SMALL, **overrides)
    labels = [(word.polygon.tobytes(), word.text, word.ignore) for word in picture.words]
    return hashlib.sha256(picture.image.tobytes() + repr(labels).encode()).hexdigest()


@pytest.fixture(scope="module")
def pictures():
    return [render_synthwords(index, config=SMALL) for index in range(40)]


def test_an_image_depends_on_seed_split_and_index_alone():
    first = [digest(index) for index in (0, 1, 2)]
    assert [digest(index) for index in (2, 1, 0)] == first[::-1]
    assert len({*first, digest(0, seed=1), digest(0, split="val")}) == 5


def test_another_process_draws_the_same():
    code = "import sys; sys.path.insert(0, sys.argv[1]); from test_scene import digest; print(digest(4))"
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    printed = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == digest(4)


def test_size_and_type(pictures):
    for picture in pictures:
        assert picture.image.shape == (256, 320, 3) and picture.image.dtype == np.uint8
        assert len(picture.words) <= SMALL.max_words


def test_polygons_are_valid_and_inside(pictures):
    for picture in pictures:
        for polygon in (word.polygon for word in picture.words):
            assert polygon.dtype == np.float32 and polygon.shape[0] >= 3
            assert shapely.Polygon(polygon).is_valid and shapely.Polygon(polygon).area > 4
            assert polygon.min() >= 0 and polygon[:, 0].max() <= 320 and polygon[:, 1].max() <= 256


def test_words_do_not_cover_each_other(pictures):
    for picture in pictures:
        shapes = [shapely.Polygon(word.polygon) for word in picture.words]
        for i, a in enumerate(shapes):
            for b in shapes[:i]:
                assert a.intersection(b).area <= 0.12 * min(a.area, b.area)


def test_labels_are_visible_ascii(pictures):
    words = [word for picture in pictures for word in picture.words]
    assert words and all(word.text and set(word.text) <= set(PRINTABLE) for word in words)


def test_some_words_are_ignored_and_most_are_not(pictures):
    ignored = [word.ignore for picture in pictures for word in picture.words]
    assert 0 < np.mean(ignored) < 0.35


def test_words_are_where_the_labels_say():
    """Without effects and plates an image differs from the same image without words at its words only."""
    config = SynthWordsConfig(size=(320, 320), max_words=10, density=1.0, effects=0.0, plate_rate=0.0, cut_rate=0.0)
    for index in (*range(7), 8):  # 7 has a ring of words, which stands on a disc whatever the rate of plates
        picture = render_synthwords(index, config=config)
        empty = render_synthwords(index, config=config, max_words=0)
        assert not empty.words
        difference = np.abs(picture.image.astype(int) - empty.image).max(2)
        changed = difference > 60
        near = np.zeros(changed.shape, np.uint8)
        for word in picture.words:
            mask = np.zeros_like(near)
            cv2.fillPoly(mask, [np.round(word.polygon).astype(np.int32)], 1)
            if not word.ignore:
                assert ((difference > 12) & (mask > 0)).sum() > 0.05 * mask.sum()
            near |= mask
        # Shadows, outlines and glows reach a little beyond the letters, which the outlines enclose.
        reach = cv2.dilate(near, np.ones((13, 13), np.uint8)) > 0
        assert (changed & reach).sum() >= 0.98 * changed.sum()


def test_images_differ_in_the_size_of_their_words():
    config = SynthWordsConfig(density=0.8, max_words=10, effects=0.0, curved_rate=0.0)
    medians, spreads = [], []
    for index in range(30):
        words = render_synthwords(index, config=config).words
        sides = [np.linalg.norm(word.polygon[0] - word.polygon[-1]) for word in words if len(word.polygon) == 4]
        if len(sides) >= 3:
            medians.append(np.median(sides))
            spreads.append(np.log(max(sides) / min(sides)))
    assert np.percentile(medians, 90) > 2.5 * np.percentile(medians, 10)
    # Within an image sizes stay closer together than over all images.
    assert np.median(spreads) < np.log(max(medians) / min(medians))


def test_empty_images_occur_at_the_given_rate():
    counts = [len(render_synthwords(i, config=SMALL, size=(96, 96)).words) for i in range(80)]
    assert 0 < np.mean([count == 0 for count in counts]) < 0.4
    always = SynthWordsConfig(size=(96, 96), empty_rate=1.0)
    assert all(not render_synthwords(index, config=always).words for index in range(5))


def test_curved_words_have_more_than_four_points(pictures):
    lengths = [len(word.polygon) for picture in pictures for word in picture.words]
    assert 0.05 < np.mean([n > 5 for n in lengths]) < 0.5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"size": (10, 640)}, "size"),
        ({"density": 0.0}, "density"),
        ({"min_height": 50.0, "max_height": 20.0}, "min_height"),
        ({"curved_rate": 1.5}, "curved_rate"),
        ({"max_words": -1}, "max_words"),
    ],
)
def test_a_bad_option_is_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        SynthWordsConfig(**wrong)


def test_a_bad_split_or_index_is_named():
    with pytest.raises(ValueError, match="'dev'"):
        render_synthwords(0, split="dev")
    with pytest.raises(ValueError, match="-1"):
        render_synthwords(-1)
