from dataclasses import replace

import numpy as np
import pytest

from dld.evaluation.protocol import icdar2015, totaltext
from dld.evaluation.transcription import end_to_end_match, handed_in, read_transcription, spotting_match, spotting_word
from dld.structures.words import Word


@pytest.mark.parametrize(
    "truth, detected, same",
    [
        ("Exit", "EXIT", True),
        ("EXIT!", "exit", True),
        ("(EXIT", "exit", True),
        ("(EXIT)", "exit", True),
        ("(EXIT)", "(exit", True),
        ("EXIT!!", "EXIT", False),  # one special character at an end, not two
        ("EXIT!!", "EXIT!", True),
        ("EXIT", "EXIT!", False),  # the detection is not forgiven anything
        ("E-XIT", "EXIT", False),
        ("-EXIT", "EXIT", False),  # the hyphen is not among the special characters
        ("EXIT'", "EXIT", True),
        ("EXIT ", "EXIT", True),
        ("·EXIT", "EXIT", True),
        ("$5", "5", False),
        ("!", "", True),
        ("!!", "!", True),
        ("A", "", False),
        ("", "", True),
        ("", "A", False),
    ],
)
def test_end_to_end(truth, detected, same):
    assert end_to_end_match(truth, detected, icdar2015) is same


@pytest.mark.parametrize(
    ("text", "inner", "none"),
    [
        ("leave.", "leave", "leave"),
        ("(06)", "06", "06"),
        ("McDonald's", "McDonald's", "McDonalds"),
        ("$4.00", "$4.00", "400"),
        ("one-north", "one-north", "onenorth"),
        ("Cafe\u0301!", "Cafe\u0301", "Cafe\u0301"),
        ("\u4f60\u597d\u3002", "\u4f60\u597d\u3002", "\u4f60\u597d"),
        ("...", "...", "..."),  # a word of nothing else stays
        ("!", "!", "!"),
        ("AC - DC!", "AC - DC", "AC DC"),
        ("HELLO WORLD", "HELLO WORLD", "HELLO WORLD"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("plain", "plain", "plain"),
    ],
)
def test_punctuation_of_what_is_handed_in(text, inner, none):
    words = [Word(text, np.zeros((4, 2)), 0.5, [k / 100 for k in range(len(text))])]
    for punctuation, wanted in (("kept", text), ("inner", inner), ("none", none)):
        (word,) = handed_in(words, replace(icdar2015, punctuation=punctuation))
        assert word.text == wanted and word.score == 0.5 and words[0].text == text
        # the scores are those of the characters that stay
        assert [text[round(100 * score)] for score in word.char_scores] == list(wanted)
    assert handed_in([], replace(icdar2015, punctuation="none")) == []


def test_scores_of_another_number_stay():
    (word,) = handed_in([Word("a.", np.zeros((4, 2)), 1.0, [0.5])], replace(icdar2015, punctuation="none"))
    assert word.text == "a" and word.char_scores == [0.5]


def test_quoted_texts_lose_their_quotes_first():
    (word,) = handed_in([Word('"leave."', np.zeros((4, 2)))], replace(icdar2015, punctuation="inner"))
    assert word.text == "leave"


def test_titles_name_the_rule_that_is_no_official_one():
    assert icdar2015.title == "icdar2015" and replace(icdar2015, punctuation="none").title == "icdar2015, punctuation none"
    with pytest.raises(ValueError, match="punctuation must be one of kept, inner, none, got 'some'"):
        replace(icdar2015, punctuation="some")


def test_rules_of_end_to_end_are_fields():
    assert not end_to_end_match("Exit", "EXIT", replace(icdar2015, case_insensitive=False))
    assert end_to_end_match("EXIT!!", "EXIT", replace(icdar2015, droppable_at_end=2))
    assert not end_to_end_match("(EXIT", "EXIT", replace(icdar2015, droppable_at_start=0))
    assert end_to_end_match("~EXIT", "EXIT", replace(icdar2015, special_characters="~"))


@pytest.mark.parametrize(
    "truth, cleaned",
    [
        ("Exit", "Exit"),
        ("Joe's", "Joe"),
        ("JOE'S", "JOE"),
        ("-exit--", "exit"),
        ("exit!", "exit"),
        ("(exit)", "exit"),
        ("co-op", "co-op"),
        ("Café", "Café"),
        ("ΑΘΗΝΑ", "ΑΘΗΝΑ"),
        ("it", None),  # too short
        ("it's", None),  # too short without its 's
        ("...at", None),
        ("A.B.C", None),  # inner spaces once the points are blanked
        ("New York", None),
        ("Route66", None),
        ("62-03", None),
        ("a×b", None),
        ("a÷b", None),
        ("ab·c", None),
        ("$abc", None),
        ("abc&", None),
        ("---", None),
        ("", None),
    ],
)
def test_word_spotting_dictionary(truth, cleaned):
    assert spotting_word(truth, icdar2015) == cleaned


def test_word_spotting_compares_the_cleaned_truth_with_the_text_as_detected():
    assert spotting_match("exit", "EXIT", icdar2015)
    assert not spotting_match("exit", "EXIT!", icdar2015)


def test_rules_of_word_spotting_are_fields():
    assert spotting_word("it", replace(icdar2015, spotting_min_length=2)) == "it"
    assert spotting_word("abc1", replace(icdar2015, spotting_extra="-1")) == "abc1"


@pytest.mark.parametrize(
    "written, read",
    [
        ('"SCAN"', "SCAN"),
        (' "SCAN" ', "SCAN"),
        ('"We', '"We'),
        ('lives."', 'lives."'),
        (r'"say \"hi\""', 'say "hi"'),
        ('"', '"'),
        ('""', ""),
        (" a ", " a "),
    ],
)
def test_quotes_are_the_files_not_the_words(written, read):
    assert read_transcription(written, icdar2015) == read
    assert read_transcription(written, replace(icdar2015, unquote_transcriptions=False)) == written


def test_polygon_protocols_strip_white_space():
    assert read_transcription(" a b ", totaltext) == "a b"
