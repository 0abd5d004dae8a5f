"""Readings as labels: what is sure enough, what is doubtful, and in which pixels."""

import math

import numpy as np
import pytest
from PIL import Image

from dld.data.annotation import image_ids, read_annotations, write_annotations
from dld.inference.labels import confidence, count_labels, label_image, relative_name
from dld.structures.words import SpottingResult, Word

BOX = [[10, 10], [50, 10], [50, 30], [10, 30]]


def label(*words, min_score=0.9):
    return label_image(SpottingResult(None, None, 100, 80, list(words)), "a/b.jpg", "a/b", min_score)


def test_confidence_is_the_probability_that_box_and_every_letter_are_right():
    assert confidence(Word("AB", BOX, 0.8, [0.5, 0.25])) == pytest.approx(0.1)
    assert confidence(Word("A", BOX, 0.8)) == 0.8  # nothing is known of the letters
    assert confidence(Word("A", BOX, math.nan, [1.0])) == confidence(Word("A", BOX, 1.0, [math.nan])) == 0.0


def test_sure_words_are_words_and_doubtful_ones_are_ignored_but_kept():
    image = label(
        Word("EXIT", BOX, 0.99, [0.99] * 4),  # 0.951
        Word("EX1T", BOX, 0.99, [0.99, 0.99, 0.6, 0.99]),  # one doubtful letter
        Word("EXIT", BOX, 0.5, [1.0] * 4),  # a doubtful box
        Word(" ", BOX, 1.0, [1.0]),  # nothing read
        Word("edge", BOX, 0.9),
    )
    assert [(word.text, word.ignore) for word in image.words] == [
        ("EXIT", False),
        ("EX1T", True),
        ("EXIT", True),
        (" ", True),
        ("edge", False),
    ]
    assert (image.file_name, image.image_id, image.width, image.height) == ("a/b.jpg", "a/b", 100, 80)


def test_outlines_are_rounded_and_useless_ones_never_trained_on(tmp_path):
    image = label(
        Word("fine", np.array(BOX) + 1 / 3),
        Word("point", [[5, 5], [6, 6]]),
        Word("nowhere", [[5, 5], [6, math.nan], [7, 7]]),
        Word("line", [[5, 5], [20, 5], [35, 5]]),
        Word("outside", np.array(BOX) + 500),
    )
    assert [(word.text, word.ignore) for word in image.words] == [("fine", False), ("line", True), ("outside", True)]
    assert image.words[0].polygon[0].tolist() == [10.33, 10.33]
    write_annotations(tmp_path / "labels.json", [image], "labels")
    assert [word.text for word in read_annotations(tmp_path / "labels.json")[0].words] == ["fine", "line", "outside"]


def test_counts():
    images = [label(Word("a", BOX, 1.0), Word("b", BOX, 0.1)), label(Word("c", BOX, 0.95))]
    counts = count_labels(images, 3)
    assert (counts.images, counts.words, counts.doubtful, counts.unsure_images) == (2, 2, 1, 3)


def test_names_are_relative_and_ids_differ(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    assert relative_name(tmp_path / "a.png", tmp_path, (30, 20)) == "a.png"
    assert image_ids(["a.png", "a.jpg", "d/a.jpg"]) == ["a.png", "a.jpg", "d/a"]
    with pytest.raises(ValueError, match="a.png: read at 20 x 30, but training would see 30 x 20"):
        relative_name(tmp_path / "a.png", tmp_path, (20, 30))
    Image.new("RGB", (30, 20)).save(tmp_path / "a\\b.png")
    with pytest.raises(ValueError, match="rename the file"):
        relative_name(tmp_path / "a\\b.png", tmp_path, (30, 20))
