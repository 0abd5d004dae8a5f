"""A word counts as readable while its strokes can be told from what is behind them."""

import cv2
import numpy as np
import pytest

from dld.data.synthesis.legibility import is_legible, visible_detail

BOX = np.array([[2, 2], [118, 2], [118, 38], [2, 38]], float)


def word(ink: int, ground: int) -> np.ndarray:
    image = np.full((40, 120, 3), ground, np.uint8)
    cv2.putText(image, "NORTH", (4, 31), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (ink,) * 3, 3, cv2.LINE_AA)
    return image


def test_black_on_white_is_readable_and_grey_on_the_same_grey_is_not():
    assert is_legible(word(0, 255), word(0, 255), BOX, 24)
    assert not is_legible(word(120, 122), word(120, 122), BOX, 24)


def test_tiny_letters_are_not_readable():
    assert not is_legible(word(0, 255), word(0, 255), BOX, 4)


def test_blur_takes_the_strokes_away():
    sharp = word(0, 255)
    assert is_legible(cv2.GaussianBlur(sharp, (0, 0), 1.5), sharp, BOX, 24)
    assert not is_legible(cv2.GaussianBlur(sharp, (0, 0), 12), sharp, BOX, 24)


def test_a_busy_ground_drowns_a_faint_word():
    noise = cv2.resize(np.random.default_rng(0).integers(0, 255, (10, 30, 3), dtype=np.uint8), (120, 40))
    faint = cv2.addWeighted(noise, 0.9, word(0, 255), 0.1, 0)
    assert not is_legible(faint, word(0, 255), BOX, 24)


def test_the_drawing_itself_correlates_fully_and_halving_contrast_halves_the_amplitude():
    full, correlation = visible_detail(word(55, 255), word(55, 255), BOX, 20)
    half, _ = visible_detail(word(155, 255), word(55, 255), BOX, 20)
    assert correlation == pytest.approx(1)
    assert half / full == pytest.approx(0.5, abs=0.01)
