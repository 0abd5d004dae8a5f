from dataclasses import replace

import editdistance
import numpy as np
import pytest

from dld.evaluation.lexicon import LEXICON_RULES, Lexicon, nearest_words, weighted_edit_distance
from dld.evaluation.lexicon_files import load_lexicon, read_lexicon
from dld.evaluation.protocol import icdar2013, icdar2015
from dld.structures.words import Word

SQUARE = np.array([[0, 0], [9, 0], [9, 9], [0, 9]], dtype=np.float32)


def corrected(texts, words, rule="plain", char_scores=None):
    protocol = replace(icdar2015, lexicon_rule=LEXICON_RULES[rule])
    found = [Word(text, SQUARE, 0.5, [] if char_scores is None else char_scores) for text in texts]
    return [word.text for word in Lexicon("weak", words=words).correct({"img_1": found}, protocol)["img_1"]]


def test_nearest_word_is_that_of_the_plain_distance_and_the_first_wins_a_tie():
    generator = np.random.default_rng(0)
    texts, lexicon = (
        ["".join(generator.choice(list("abcD"), size=generator.integers(0, 7))) for _ in range(count)] for count in (300, 80)
    )
    indices, distances = nearest_words(texts, lexicon)
    for text, index, distance in zip(texts, indices, distances, strict=True):
        oracle = [editdistance.eval(text.upper(), word.upper()) for word in lexicon]
        assert (index, distance) == (oracle.index(min(oracle)), min(oracle))


def test_plain_rule_replaces_however_far_the_nearest_word_is():
    assert corrected(["exlt", "zzzzzz"], ["Way", "EXIT", "EXILE"]) == ["EXIT", "Way"]


@pytest.mark.parametrize("text", ["ab", "a", "", "exit1", "ex+t", "'ab"[1:]])
def test_short_texts_digits_and_plus_keep_their_own_text(text):
    assert corrected([text], ["EXIT"]) == [text]


def test_limited_rule_drops_what_is_two_edits_away():
    assert corrected(["exit", "exlt", "exll", "x1"], ["EXIT"], "limited") == ["EXIT", "EXIT"]
    keeping = replace(LEXICON_RULES["limited"], beyond_limit="keep")
    words = {"a": [Word("exll", SQUARE)]}
    assert Lexicon("weak", ["EXIT"]).correct(words, replace(icdar2015, lexicon_rule=keeping))["a"][0].text == "exll"


def test_weighted_distance_is_the_plain_one_where_every_character_is_sure():
    generator = np.random.default_rng(1)
    for _ in range(200):
        text, word = ("".join(generator.choice(list("ABC"), size=generator.integers(0, 6))) for _ in range(2))
        assert weighted_edit_distance(text, word, [1.0] * len(text)) == editdistance.eval(text, word)


def test_weighted_distance_by_hand():
    assert weighted_edit_distance("EXLT", "EXIT", [0.9, 0.9, 0.2, 0.8]) == pytest.approx(0.2)
    assert weighted_edit_distance("EXXIT", "EXIT", [0.9, 0.9, 0.3, 0.9, 0.8]) == pytest.approx(0.3)
    assert weighted_edit_distance("EIT", "EXIT", [0.5, 0.7, 1.0]) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="2 char_scores for the 3 characters"):
        weighted_edit_distance("EIT", "EXIT", [1.0, 1.0])


def test_weighted_rule_prefers_to_change_the_unsure_character():
    words = ["CAN", "COT"]  # both one edit from CAT
    assert corrected(["cat"], words, "limited") == ["CAN"]
    assert corrected(["cat"], words, "weighted", [0.9, 0.1, 0.9]) == ["COT"]
    assert corrected(["cat"], words, "weighted") == ["CAN"]  # without scores: the plain distance
    assert corrected(["kqtz"], ["CATS"], "weighted", [0.3] * 4) == ["CATS"]  # near enough, where nothing was sure


def test_given_predictions_are_left_as_they_are():
    words = [Word("exlt", SQUARE, 0.5)]
    (new,) = Lexicon("generic", ["EXIT"]).correct({"a": words}, icdar2015)["a"]
    assert (words[0].text, new.text, new.score) == ("exlt", "EXIT", 0.5) and new.polygon is SQUARE


def test_lists_of_each_image():
    lexicon = Lexicon("strong", per_image={"a": ["EXIT"], "b": ["EXIST"]})
    fixed = lexicon.correct({"a": [Word("exi t", SQUARE)], "b": [Word("exi t", SQUARE)]}, icdar2015)
    assert [fixed[image][0].text for image in "ab"] == ["EXIT", "EXIST"]
    with pytest.raises(KeyError, match="no list for image 'c'"):
        lexicon.correct({"c": [Word("exit", SQUARE)]}, icdar2015)


def test_no_lexicon_changes_nothing():
    assert Lexicon("none").correct({"a": [Word("exlt", SQUARE)]}, icdar2015)["a"][0].text == "exlt"


def test_impossible_lexicons_are_refused():
    with pytest.raises(KeyError, match="unknown lexicon 'huge'"):
        Lexicon("huge")
    with pytest.raises(ValueError, match="'weak' needs one list"):
        Lexicon("weak")


def test_official_word_lists(tmp_path):
    path = tmp_path / "voc.txt"
    path.write_bytes("\ufeff# 1 + 2 words\r\nEXIT\r\n\r\n  Café  \r\nway, out, 1,000,\r\n#5\r\nWell,\r\n".encode())
    assert read_lexicon(path) == ["EXIT", "Café", "way", "out", "1,000", "Well,"]


def test_empty_and_missing_lists_are_named(tmp_path):
    (tmp_path / "voc.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"voc\.txt: no word"):
        read_lexicon(tmp_path / "voc.txt")
    with pytest.raises(FileNotFoundError, match=r"other\.txt"):
        read_lexicon(tmp_path / "other.txt")


@pytest.mark.parametrize(
    "name, file",
    [
        ("weak", "ch4_test_vocabulary.txt"),
        ("generic", "GenericVocabulary.txt"),
        ("full", "tt_lexicon.txt"),
        ("full", "weak_voc_new.txt"),
    ],
)
def test_shared_lists_are_found_by_their_official_names(tmp_path, name, file):
    (tmp_path / file).write_text("EXIT\n")
    assert load_lexicon(name, tmp_path).words == ["EXIT"]


@pytest.mark.parametrize(
    "file", ["voc_img_7.txt", "new_strong_lexicon/new_voc_img_7.txt", "ch4_test_vocabularies_per_image/voc_img_7.txt"]
)
def test_strong_lists_are_found_by_the_number_of_the_image(tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("EXIT\n")
    assert load_lexicon("strong", tmp_path, ["0000007"]).per_image == {"0000007": ["EXIT"]}


def test_the_list_of_the_protocols_own_challenge_comes_first(tmp_path):
    (tmp_path / "ch2_test_vocabulary.txt").write_text("focused\n")
    (tmp_path / "ch4_test_vocabulary.txt").write_text("incidental\n")
    assert load_lexicon("weak", tmp_path, protocol=icdar2013).words == ["focused"]
    assert load_lexicon("weak", tmp_path, protocol=icdar2015).words == ["incidental"]


def test_missing_lexicons_say_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lexicon 'generic' not found; looked for .*GenericVocabulary\.txt"):
        load_lexicon("generic", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"strong lexicon of image 'img_7' not found; .*voc_img_7\.txt"):
        load_lexicon("strong", tmp_path, ["img_7"])
    with pytest.raises(ValueError, match="--lexicon-dir"):
        load_lexicon("weak", None)
    with pytest.raises(FileNotFoundError, match="no such lexicon folder"):
        load_lexicon("weak", tmp_path / "no")
    with pytest.raises(KeyError, match="unknown lexicon"):
        load_lexicon("huge", tmp_path)
