"""Strips sampled from the photo between the sides of a word."""

import time

import cv2
import numpy as np
import pytest

from dld.strips.cutting import MOST_HEIGHTS, PhotoPyramid, cut_strips, strip_widths, word_heights
from dld.strips.heights import FORMS, MARGIN

WIDEST = MOST_HEIGHTS * 40 + 2 * MARGIN


def photo_of(height=200, width=400, seed=0):
    """A photo with smooth structure."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def level_sides(x0, y0, x1, y1, count=17):
    x = np.linspace(x0, x1, count)
    return np.stack([np.stack([x, np.full(count, float(y))], 1) for y in (y0, y1)])


def written(text="straight", height=48):
    picture = np.full((height, 24 * len(text), 3), 255, np.uint8)
    cv2.putText(picture, text, (6, height - 16), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (0, 0, 0), 3, cv2.LINE_AA)
    return picture


def correlation(a, b):
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]


def test_a_straight_word_of_40_rows_is_a_plain_crop():
    photo = photo_of()
    (strip,) = cut_strips(PhotoPyramid(photo), level_sides(100, 60, 220, 100)[None])
    assert strip.shape == (48, 128, 3) and strip.dtype == np.uint8
    crop = photo[60 - 4 : 100 + 4, 100 - 4 : 220 + 4]
    assert np.abs(strip.astype(int) - crop).max() <= 2


def test_a_word_four_times_as_large_is_shrunk_like_by_area():
    photo = photo_of(400, 1000)
    (strip,) = cut_strips(PhotoPyramid(photo), level_sides(160, 80, 640, 240)[None])
    crop = photo[80 - 16 : 240 + 16, 160 - 16 : 640 + 16]
    expected = cv2.resize(crop, (128, 48), interpolation=cv2.INTER_AREA)
    assert strip.shape == expected.shape
    assert np.abs(strip.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("rows", sorted(FORMS))
def test_a_lower_strip_shows_the_same_with_fewer_pixels(rows):
    form = FORMS[rows]
    whole = cv2.resize(photo_of(48, 120), (1200, 480), interpolation=cv2.INTER_CUBIC)
    sides = level_sides(40, 40, 1160, 440)
    (strip,) = cut_strips(PhotoPyramid(whole), sides[None], np.array([rows]))
    (tall,) = cut_strips(PhotoPyramid(whole), sides[None])
    assert strip.shape == (rows, int(form.columns(tall.shape[1])), 3)
    expected = cv2.resize(whole, (strip.shape[1], rows), interpolation=cv2.INTER_AREA)
    assert correlation(strip, expected) > 0.98


def test_heights_are_mixed_in_one_call():
    pyramid, sides = PhotoPyramid(photo_of()), np.stack([level_sides(10 + 40 * i, 60, 130 + 40 * i, 100) for i in range(4)])
    rows = np.array([24, 48, 16, 32])
    mixed = cut_strips(pyramid, sides, rows)
    for strip, side, height in zip(mixed, sides, rows, strict=True):
        (alone,) = cut_strips(pyramid, side[None], np.array([height]))
        np.testing.assert_array_equal(strip, alone)
    assert [s.shape[0] for s in mixed] == rows.tolist()


def test_a_word_upside_down_is_the_crop_turned_by_half():
    photo, sides = photo_of(), level_sides(100, 60, 220, 100)
    straight, turned = cut_strips(PhotoPyramid(photo), np.stack([sides, sides[::-1, ::-1]]))
    assert np.abs(turned.astype(int) - straight[::-1, ::-1]).max() <= 1


def test_beyond_the_border_the_last_pixel_goes_on():
    photo = np.zeros((40, 100, 3), np.uint8)
    photo[:, 0], photo[:, -1] = 90, 200
    (strip,) = cut_strips(PhotoPyramid(photo), level_sides(-50, 0, 150, 40)[None])
    assert (strip[:, :40] == 90).all() and (strip[:, -40:] == 200).all()


def test_text_on_an_arc_comes_out_straight():
    text, radius, centre = written(), 220.0, (300.0, 320.0)
    length = text.shape[1]
    # the text lies along the upper half of a circle: inverse map of every pixel of the photo
    y, x = np.mgrid[0:400, 0:600] + 0.5
    angle, distance = np.arctan2(x - centre[0], centre[1] - y), np.hypot(x - centre[0], y - centre[1])
    u, v = angle * radius + length / 2, radius + 24 - distance
    photo = cv2.remap(
        text,
        (u - 0.5).astype(np.float32),
        (v - 0.5).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255, 255, 255),
    )
    # rows 4 to 44 of the text lie between the sides
    a = np.linspace(-length / 2 + 4, length / 2 - 4, 33) / radius
    direction = np.stack([np.sin(a), -np.cos(a)], 1)
    sides = np.stack([direction * (radius + r) + centre for r in (20, -20)])
    (strip,) = cut_strips(PhotoPyramid(photo), sides[None])
    assert abs(strip.shape[1] - length) <= 3
    strip = cv2.resize(strip, (length, 48), interpolation=cv2.INTER_AREA)
    assert correlation(strip, text) > 0.95
    # and a crop of the bent text is far from it
    assert correlation(photo[76:124, 300 - length // 2 : 300 - length // 2 + length], text) < 0.7


def test_widths_by_hand():
    # 120 long, 40 high: 120 columns; twice as high: 60; 5 long: at least 20; 10,000 long: at most 800; and 8 of margin
    sides = np.stack(
        [
            level_sides(0, 0, 120, 40),
            level_sides(0, 0, 120, 80),
            level_sides(0, 0, 5, 40),
            level_sides(0, 0, 10_000, 40),
            level_sides(0, 7, 50, 7),
        ]
    )
    heights = word_heights(sides)
    assert heights.tolist() == [40, 80, 40, 40, 1]
    assert strip_widths(sides, heights).tolist() == [128, 68, 28, WIDEST, WIDEST]


@pytest.mark.parametrize(
    "box",
    [
        (1000, 1000, 1200, 1040),  # outside
        (-900, -900, -700, -860),
        (0, 10, 5000, 30),
        (10, 20, 80, 20),  # without height
        (20, 20, 20, 20),
        (-1e9, -1e9, 1e9, 1e9),
        (1e12, 1e12, 2e12, 1.1e12),
        (0, -1e7, 1, 1e7),
    ],
)
@pytest.mark.parametrize("size", [(200, 400), (1, 1), (1, 300), (300, 1)])
def test_odd_words_and_photos(box, size):
    photo = np.full((*size, 3), 77, np.uint8)
    (strip,) = cut_strips(PhotoPyramid(photo), level_sides(*box)[None])
    assert strip.shape[0] == 48 and 28 <= strip.shape[1] <= WIDEST
    assert (strip == 77).all()


def test_five_hundred_words_are_cut_quickly_and_each_as_alone():
    photo, rng = photo_of(1000, 1500), np.random.default_rng(1)
    boxes = [(x, y, x + w, y + h) for x, y, w, h in rng.uniform((0, 0, 10, 4), (1500, 1000, 900, 200), (500, 4))]
    sides, pyramid = np.stack([level_sides(*box) for box in boxes]), PhotoPyramid(photo)
    cut_strips(pyramid, sides[:50])
    start = time.perf_counter()
    strips = cut_strips(pyramid, sides)
    assert time.perf_counter() - start < 5
    assert len(strips) == 500 and max(s.shape[1] for s in strips) <= WIDEST
    for i in range(0, 500, 41):
        np.testing.assert_array_equal(strips[i], cut_strips(PhotoPyramid(photo), sides[i : i + 1])[0])


def test_no_word():
    assert cut_strips(PhotoPyramid(photo_of()), np.zeros((0, 2, 17, 2))) == []


def test_levels_of_the_pyramid_are_means():
    photo = photo_of(64, 96)
    pyramid = PhotoPyramid(photo)
    assert pyramid.first == 0 and pyramid.deepest == 6
    for level in (1, 2, 3):
        step = 2**level
        means = photo.reshape(64 // step, step, 96 // step, step, 3).mean((1, 3))
        assert pyramid[level].shape == means.shape
        assert np.abs(pyramid[level] - means).max() <= 0.5 * level + 0.01
    assert pyramid[pyramid.deepest].shape == (1, 1, 3)
    np.testing.assert_array_equal(PhotoPyramid(photo)[0], photo)


def test_a_photo_wider_than_opencv_samples():
    photo = np.zeros((8, 40_000, 3), np.uint8)
    photo[:, 39_000:] = 200
    pyramid = PhotoPyramid(photo)
    assert pyramid.first == 1
    strips = cut_strips(pyramid, np.stack([level_sides(39_500, 0, 39_540, 8), level_sides(10_000, 0, 10_040, 8)]))
    assert (strips[0] == 200).all() and (strips[1] == 0).all()
