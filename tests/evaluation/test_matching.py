from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dld.benchmark.scoring import random_scenes
from dld.evaluation.ground_truth import GroundTruthWord
from dld.evaluation.matching import Counts, Pair, match_image, score, score_dataset
from dld.evaluation.protocol import TASKS, icdar2013, icdar2015, totaltext
from dld.structures.words import Word


def box(x, y, width, height):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=float)


def truth(text, *rectangle, ignore=False):
    return GroundTruthWord(box(*rectangle), text, ignore)


def found(text, *rectangle):
    return Word(text, box(*rectangle))


def counts(gt_words, det_words, task="e2e", protocol=icdar2015):
    return match_image(gt_words, det_words, protocol, task).counts


def test_iou_must_be_greater_than_one_half():
    word = [truth("EXIT", 0, 0, 100, 20)]
    assert counts(word, [found("EXIT", 0, 0, 50, 20)]).matched == 0  # exactly 0.5
    assert counts(word, [found("EXIT", 0, 0, 51, 20)]).matched == 1
    assert counts(word, [found("EXIT", 0, 0, 50, 20)], protocol=replace(icdar2015, iou_strict=False)).matched == 1
    assert counts(word, [found("EXIT", 0, 0, 51, 20)], protocol=replace(icdar2015, iou_threshold=0.6)).matched == 0


def test_coordinates_lose_their_decimals_where_the_official_tool_does():
    word, nearly = [truth("EXIT", 0, 0, 100, 20)], [found("EXIT", 0, 0, 50.9, 20)]
    assert counts(word, nearly).matched == 0
    assert counts(word, nearly, protocol=totaltext).matched == 1


def test_a_word_is_matched_once_and_the_duplicate_is_a_false_alarm():
    word = [truth("EXIT", 0, 0, 100, 20)]
    assert counts(word, [found("EXIT", 0, 0, 100, 20)] * 2) == (1, 2, 1)


def test_a_wrong_text_uses_up_word_and_detection():
    word = [truth("EXIT", 0, 0, 100, 20)]
    right_after_wrong = [found("EX1T", 0, 0, 100, 20), found("EXIT", 0, 0, 100, 20)]
    assert counts(word, right_after_wrong) == (0, 2, 1)
    assert counts(word, right_after_wrong, "detection") == (1, 2, 1)
    assert counts(word, right_after_wrong, protocol=replace(icdar2015, wrong_text_keeps_pair=False)) == (1, 2, 1)


def test_every_word_and_detection_gets_a_verdict():
    words = [
        truth("EXIT", 0, 0, 100, 20),
        truth("left", 0, 50, 100, 20),
        truth("river", 0, 100, 100, 20),
        truth("###", 0, 150, 100, 20),
    ]
    detections = [
        found("nothing", 300, 0, 50, 20),
        found("lift", 0, 50, 100, 20),
        found("exit", 0, 0, 100, 20),
        found("blur", 0, 150, 100, 20),
        found("EXIT", 0, 0, 100, 20),
    ]
    match = match_image(words, detections, icdar2015, "e2e")
    assert match.verdicts.words == ["right", "misread", "missed", "dont_care"]
    assert match.verdicts.detections == ["false", "misread", "right", "dont_care", "false"]
    assert match_image([], [], icdar2015, "e2e").verdicts == ([], [])


def test_first_in_the_file_wins_not_the_best_nor_the_surest():
    word = [truth("EXIT", 0, 0, 100, 20)]
    loose = Word("EXIT", box(0, 0, 60, 20), score=0.1)
    tight = Word("EXIT", box(0, 0, 100, 20), score=0.9)
    assert match_image(word, [loose, tight], icdar2015, "detection").pairs == [Pair(0, 0, True)]
    best_first = replace(icdar2015, matching_order="best_iou")
    assert match_image(word, [loose, tight], best_first, "detection").pairs == [Pair(0, 1, True)]


def test_greed_may_leave_a_word_over():
    # detection 0 fits both words, detection 1 the first only: the first word takes detection 0, the second gets none
    words = [truth("A", 0, 0, 100, 30), truth("B", 0, 12, 100, 30)]
    detections = [found("B", 0, 7, 100, 30), found("A", 0, -8, 100, 30)]
    assert match_image(words, detections, icdar2015, "detection").pairs == [Pair(0, 0, True)]
    assert match_image(words, detections[::-1], icdar2015, "detection").pairs == [Pair(0, 0, True), Pair(1, 1, True)]


@pytest.mark.parametrize("inside, counted", [(50, 1), (51, 0), (100, 0)])
def test_a_detection_more_than_half_in_a_dont_care_word_is_not_counted(inside, counted):
    region = [truth("###", 0, 0, 1000, 1000)]
    assert counts(region, [found("junk", 1000 - inside, 0, 100, 20)]) == (0, counted, 0)
    assert counts(region, [found("junk", 1000 - inside, 0, 100, 20)], "detection") == (0, counted, 0)


def test_two_dont_care_words_do_not_add_up():
    regions = [truth("###", 0, 0, 40, 20), truth("###", 60, 0, 40, 20)]
    assert counts(regions, [found("junk", 0, 0, 100, 20)]) == (0, 1, 0)


def test_a_detection_on_a_dont_care_word_cannot_match_the_word_inside_it():
    words = [truth("###", 0, 0, 200, 200), truth("EXIT", 0, 0, 100, 20)]
    assert counts(words, [found("EXIT", 0, 0, 100, 20)]) == (0, 0, 1)


def test_dont_care_by_text_by_flag_and_by_number_of_signs():
    for word, protocol in [
        (truth("###", 0, 0, 9, 9), icdar2015),
        (truth('"###"', 0, 0, 9, 9), icdar2015),
        (truth("EXIT", 0, 0, 9, 9, ignore=True), icdar2015),
        (truth("", 0, 0, 9, 9, ignore=True), icdar2015),
        (truth("#", 0, 0, 9, 9), totaltext),
        (truth("#####", 0, 0, 9, 9), totaltext),
    ]:
        assert counts([word], [], protocol=protocol).words == 0
    assert counts([truth("#", 0, 0, 9, 9)], []).words == 1


def test_word_spotting_cares_for_dictionary_words_only():
    words = [truth("Joe's", 0, 0, 100, 20), truth("62-03", 0, 50, 100, 20)]
    detections = [found("JOE", 0, 0, 100, 20), found("62-03", 0, 50, 100, 20)]
    assert counts(words, detections, "word_spotting") == (1, 1, 1)
    assert counts(words, detections, "e2e") == (1, 2, 2)
    assert counts(words, [found("Joe's", 0, 0, 100, 20)], "word_spotting") == (0, 1, 1)


def test_degenerate_words_are_missed_or_ignored_by_rule():
    flat = [truth("EXIT", 0, 0, 100, 0)]
    assert counts(flat, [], protocol=icdar2015).words == 1
    assert counts(flat, [], protocol=totaltext).words == 0


def test_degenerate_detections_are_counted_misses():
    word = [truth("EXIT", 0, 0, 100, 20), truth("###", 0, 0, 500, 500)]
    flat = Word("EXIT", np.zeros((4, 2)))
    broken = Word("EXIT", np.full((4, 2), np.nan))
    nothing = Word("EXIT", np.zeros((0, 2)))
    assert counts(word, [flat, broken, nothing]) == (0, 3, 1)


def test_self_intersecting_detection_is_scored_on_all_of_its_area():
    word = [truth("EXIT", 0, 0, 100, 20)]
    outline = np.array([[0, 0], [100, 0], [100, 20], [90, 20], [95, 21], [90, 21], [95, 20], [0, 20]], dtype=float)
    assert counts(word, [Word("EXIT", outline)], protocol=totaltext) == (1, 1, 1)


def test_pooled_score_by_hand():
    pooled = score([Counts(3, 4, 10), Counts(1, 4, 0)])
    assert (pooled.precision, pooled.recall, pooled.hmean) == (0.5, 0.4, 2 * 0.5 * 0.4 / 0.9)


@pytest.mark.parametrize("given_counts", [[], [Counts(0, 0, 0)], [Counts(0, 5, 0)], [Counts(0, 0, 5)]])
def test_nothing_to_divide_by_is_zero(given_counts):
    pooled = score(given_counts)
    assert (pooled.precision, pooled.recall, pooled.hmean) == (0, 0, 0)


def test_images_without_predictions_count_their_words():
    scores = score_dataset({"a": [truth("EXIT", 0, 0, 9, 9)], "b": [truth("WAY", 0, 0, 9, 9)]}, {}, icdar2015)
    assert {task: item.score.words for task, item in scores.items()} == dict.fromkeys(TASKS, 2)


def test_unknown_image_and_task_are_named():
    with pytest.raises(ValueError, match="'img_9'"):
        score_dataset({"img_1": []}, {"img_9": []}, icdar2015)
    with pytest.raises(KeyError, match="reading"):
        match_image([], [], icdar2015, "reading")


@pytest.mark.parametrize("protocol", [icdar2013, icdar2015, totaltext])
@pytest.mark.parametrize("task", TASKS)
def test_perfect_predictions_score_one_and_empty_ones_zero(protocol, task):
    words, _ = random_scenes(3, 6, seed=1, points=4)
    words = {image: [replace(word, text=word.text.replace("#", "###")) for word in items] for image, items in words.items()}
    # far apart, so that no word lies in a don't-care one
    words = {
        image: [replace(word, polygon=word.polygon - word.polygon.mean(0) + [200 * i, 50]) for i, word in enumerate(items)]
        for image, items in words.items()
    }
    perfect = {image: [Word(word.text, word.polygon) for word in items] for image, items in words.items()}
    scored = score_dataset(words, perfect, protocol, [task])[task].score
    assert (scored.precision, scored.recall, scored.hmean) == (1, 1, 1)
    scored = score_dataset(words, {}, protocol, [task])[task].score
    assert (scored.precision, scored.recall, scored.hmean) == (0, 0, 0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), dx=st.integers(0, 500), dy=st.integers(0, 500), shuffle=st.randoms())
def test_order_of_images_and_whole_pixel_shifts_change_nothing(seed, dx, dy, shuffle):
    words, detections = random_scenes(4, 6, seed)
    before = score_dataset(words, detections, icdar2015)
    names = list(words)
    shuffle.shuffle(names)
    moved = {name: [replace(word, polygon=word.polygon + [dx, dy]) for word in words[name]] for name in names}
    moved_found = {name: [replace(word, polygon=word.polygon + [dx, dy]) for word in detections[name]] for name in names}
    after = score_dataset(moved, moved_found, icdar2015)
    assert {task: item.score for task, item in before.items()} == {task: item.score for task, item in after.items()}
    assert before["e2e"].per_image == after["e2e"].per_image
