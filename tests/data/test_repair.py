"""Unusable polygons: repaired, set to don't-care, counted."""

import numpy as np
import pytest

from dld.data.annotation import ImageAnnotation, TextAnnotation
from dld.data.repair import RepairCounts, refuse_crossed_outlines, repair_annotations
from dld.structures.polygon import is_simple, polygon_area, polygon_box

SQUARE = [[1, 1], [5, 1], [5, 5], [1, 5]]


def one(polygon, ignore=False, width=20, height=10):
    word = TextAnnotation(np.array(polygon, float), "ab", ignore)
    counts = repair_annotations([ImageAnnotation("a.jpg", "a", width, height, [word])])
    return word, counts


def test_a_sound_word_is_left_alone():
    word, counts = one(SQUARE)
    assert np.array_equal(word.polygon, SQUARE) and not word.ignore
    assert counts == RepairCounts(images=1, words=1) and counts.changed == 0


def test_a_crossing_outline_becomes_its_larger_lobe():
    word, counts = one([[0, 0], [8, 8], [8, 4], [0, 12], [0, 6]], height=20)
    assert polygon_area(word.polygon) == pytest.approx(36) and not word.ignore
    assert counts == RepairCounts(images=1, words=1, repaired=1)


def test_corners_row_by_row_become_the_whole_word():
    word, counts = one([[1, 1], [9, 2], [0, 6], [8, 7]])
    assert word.polygon.tolist() == [[1, 1], [9, 2], [8, 7], [0, 6]] and not word.ignore
    assert counts == RepairCounts(images=1, words=1, reordered=1) and counts.changed == 1
    assert "1 outlines of four corners crossed themselves and go around the word now" in str(counts)


def test_where_most_outlines_cross_the_file_is_refused_and_not_repaired():
    refuse_crossed_outlines(RepairCounts(), "signs")
    refuse_crossed_outlines(RepairCounts(images=1, words=4, repaired=2, reordered=2), "signs")
    with pytest.raises(ValueError, match="signs: the outlines of 3 of 4 words cross or touch themselves; their points"):
        refuse_crossed_outlines(RepairCounts(images=1, words=4, repaired=3), "signs")


@pytest.mark.parametrize(
    ("polygon", "box"),
    [
        ([[2, 3], [7, 5]], (2, 3, 7, 5)),
        ([[2, 3]], (2, 3, 3, 4)),
        ([[2, 3], [2, 3], [2, 3]], (2, 3, 3, 4)),
        ([[2, 3], [7, 3], [4, 3], [5, 3]], (2, 3, 7, 4)),
    ],
)
def test_without_an_area_it_becomes_its_box_and_dont_care(polygon, box):
    word, counts = one(polygon)
    assert polygon_box(word.polygon) == box and is_simple(word.polygon) and word.ignore
    assert counts == RepairCounts(images=1, words=1, ignored=1, unusable=1)


def test_outside_the_image_is_dont_care_and_over_the_border_is_not():
    word, counts = one(np.array(SQUARE) + [30, 0])
    assert word.ignore and counts == RepairCounts(images=1, words=1, ignored=1, outside=1)
    word, counts = one(np.array(SQUARE) + [17, 0])
    assert not word.ignore and counts.changed == 0
    assert polygon_box(word.polygon) == (18, 1, 22, 5)  # kept whole


def test_a_triangle_is_a_word():
    word, counts = one([[1, 1], [9, 1], [5, 6]])
    assert not word.ignore and counts.changed == 0


def test_what_was_dont_care_is_counted_once():
    assert one(np.array(SQUARE) - 40, ignore=True)[1] == RepairCounts(images=1, words=1, ignored=1)


def test_many_words_of_different_lengths_keep_their_places():
    polygons = [SQUARE, [[0, 0], [3, 3]], [[0, 0], [4, 0], [4, 4], [2, 6], [0, 4]], [[0, 0], [4, 4], [4, 0], [0, 4]]]
    words = [TextAnnotation(np.array(p, float), str(i)) for i, p in enumerate(polygons)]
    images = [ImageAnnotation("a", "a", 9, 9, words[:1]), ImageAnnotation("b", "b", 9, 9, words[1:])]
    assert repair_annotations(images) == RepairCounts(images=2, words=4, ignored=1, unusable=1, reordered=1)
    assert [w.ignore for w in words] == [False, True, False, False]
    assert polygon_area(words[3].polygon) == 16


def test_no_images_and_images_without_words():
    assert repair_annotations([]) == RepairCounts()
    assert repair_annotations([ImageAnnotation("a", "a", 9, 9)]) == RepairCounts(images=1)


def test_counts_add_up_and_read_as_a_sentence():
    total = RepairCounts(1, 5, 2, 1, 1, 0) + RepairCounts(2, 3, 1, 0, 0, 1)
    assert total == RepairCounts(3, 8, 3, 1, 1, 1) and total.changed == 3
    assert "3 images, 8 words of which 3 are don't-care" in str(total)
