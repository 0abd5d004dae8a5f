"""Facts about the images that a report shows: lost words first, mistakes counted once, every scale seen."""

from hypothesis import given
from hypothesis import strategies as st

from dld.evaluation.matching import Counts
from dld.study.ranking import mistakes, pick_images, rank_images
from dld.study.table import Reading


def reading(right, pairs, detections, words, scale=0.5):
    counts = {"detection": Counts(pairs, detections, words), "e2e": Counts(right, detections, words)}
    return Reading(scale, 1.0, 1.0, 1.0, (), counts)


def test_a_misread_word_is_one_mistake():
    # 5 words: 2 right, 1 misread, 2 missed; 4 detections: 1 of them where nothing is
    assert mistakes(reading(2, 3, 4, 5).counts) == (2, 1, 1)


def test_lost_words_go_before_mistakes_and_gains_make_up_for_nothing():
    teacher = [reading(3, 3, 3, 3, 1.0), reading(1, 1, 1, 9, 1.0), reading(2, 2, 2, 2, 1.0)]
    one = [reading(3, 3, 3, 3), reading(2, 2, 2, 9), reading(0, 0, 0, 2)]
    other = [reading(3, 3, 3, 3), reading(0, 0, 0, 9), reading(2, 2, 2, 2)]
    ranked = rank_images({"teacher": teacher, "one": one, "other": other})
    assert [(s.index, s.lost, s.errors) for s in ranked] == [(2, 2, 2), (1, 1, 16), (0, 0, 0)]
    alone = rank_images({"teacher": teacher})
    assert [(s.index, s.lost, s.errors) for s in alone] == [(1, 0, 8), (0, 0, 0), (2, 0, 0)]


@given(st.lists(st.sampled_from([0.3, 0.5, 0.8]), min_size=1, max_size=30), st.integers(0, 40))
def test_a_gallery_has_the_asked_number_of_images_worst_first_and_every_scale(scales, count):
    # image i loses i words
    teacher = [reading(i, i, i, i, 1.0) for i in range(len(scales))]
    student = [reading(0, 0, 0, i, s) for i, s in enumerate(scales)]
    ranked = rank_images({"teacher": teacher, "student": student})
    picked = [s.index for s in pick_images(ranked, count)]
    assert len(picked) == min(count, len(scales)) and picked == sorted(picked, reverse=True)
    worst = count - count // 4
    assert picked[:worst] == sorted(range(len(scales)), reverse=True)[:worst]
    if count // 4 >= 3:
        assert {scales[i] for i in picked} == set(scales)
