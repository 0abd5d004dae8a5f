from dataclasses import replace

import pytest

from dld.evaluation.protocol import icdar2015, totaltext
from dld.evaluation.transcription import end_to_end_match, handed_in, read_transcription, spotting_match, spotting_word


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
        ("...", "", ""),
        ("plain", "plain", "plain"),
    ],
)
def test_punctuation_of_what_is_handed_in(text, inner, none):
    assert handed_in(text, icdar2015) == text
    assert handed_in(text, replace(icdar2015, punctuation="inner")) == inner
    assert handed_in(text, replace(icdar2015, punctuation="none")) == none


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
