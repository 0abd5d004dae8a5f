"""ICDAR ground truth, each line as the official archives have it."""

import numpy as np
import pytest

from dld.data.datasets.icdar import parse_icdar2013, parse_icdar2015, parse_icdar2017_mlt


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "gt_img_1.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def test_2015_with_byte_order_mark_windows_line_ends_and_commas_in_the_text(file):
    content = (
        "\ufeff377,117,463,117,465,130,378,130,Genaxis Theatre\r\n493,115,519,115,519,131,493,131,[06], Ltd,\r\n"
        "374,155,409,155,409,170,374,170,###\r\n\r\n1,2,3,2,3,4,1,4,62-03"
    )
    words = parse_icdar2015(file(content))
    assert [(w.text, w.ignore) for w in words] == [
        ("Genaxis Theatre", False),
        ("[06], Ltd,", False),
        ("###", True),
        ("62-03", False),
    ]
    assert np.array_equal(words[0].polygon, [[377, 117], [463, 117], [465, 130], [378, 130]])


def test_2015_takes_spaces_negative_numbers_and_a_text_that_is_a_number(file):
    (word,) = parse_icdar2015(file("-3, 5,10,5, 10,9,-3,9, 42"))
    assert word.text == "42" and word.polygon[0].tolist() == [-3, 5]


def test_a_line_separator_inside_a_text_does_not_end_the_line(file):
    assert [w.text for w in parse_icdar2015(file("1,2,3,2,3,4,1,4,a\u2028b\x85c"))] == ["a\u2028b\x85c"]


def test_an_empty_text_and_an_empty_file(file):
    (word,) = parse_icdar2015(file("1,2,3,2,3,4,1,4,"))
    assert word.text == "" and word.ignore
    assert parse_icdar2015(file("")) == parse_icdar2015(file("\ufeff\r\n")) == []


def test_a_single_hash_is_text_at_icdar(file):
    (word,) = parse_icdar2015(file("1,2,3,2,3,4,1,4,#"))
    assert not word.ignore


def test_2013_training_has_spaces_and_test_has_commas(file):
    training = parse_icdar2013(file('158 128 411 181 "Footpath"\n443 128 501 169 "Lim, Sdn "\n'))
    test = parse_icdar2013(file('158, 128, 411, 181, "Footpath"\r\n443, 128, 501, 169, "Lim, Sdn "\r\n'))
    for words in (training, test):
        assert [w.text for w in words] == ["Footpath", "Lim, Sdn"]
        assert np.array_equal(words[0].polygon, [[158, 128], [411, 128], [411, 181], [158, 181]])


def test_2013_quotes_inside_quotes_are_resolved(file):
    (word,) = parse_icdar2013(file(r'1 2 3 4 "6\" \\ pipe"'))
    assert word.text == '6" \\ pipe'
    (word,) = parse_icdar2013(file('1, 2, 3, 4, ""x""'))
    assert word.text == '"x"'


def test_2013_with_four_corners(file):
    (word,) = parse_icdar2013(file("377,117,463,117,465,130,378,130,Genaxis, 2"))
    assert word.text == "Genaxis, 2" and len(word.polygon) == 4 and word.polygon[2].tolist() == [465, 130]


def test_mlt_has_a_language_before_the_text(file):
    words = parse_icdar2017_mlt(file("1,2,3,2,3,4,1,4,Latin,Rue, 5\n1,2,3,2,3,4,1,4,Arabic,###\n"))
    assert [(w.text, w.ignore, w.language) for w in words] == [("Rue, 5", False, "Latin"), ("###", True, "Arabic")]


@pytest.mark.parametrize(
    ("parse", "line"),
    [
        (parse_icdar2015, "377,117,463,117,465,130,378,Genaxis"),
        (parse_icdar2015, "377,117,463,117,465,130,378,130"),
        (parse_icdar2015, "a,117,463,117,465,130,378,130,x"),
        (parse_icdar2015, "nan,117,463,117,465,130,378,130,x"),
        (parse_icdar2017_mlt, "377,117,463,117,465,130,378,130,no language"),
        (parse_icdar2013, '158 128 411 "Footpath"'),
        (parse_icdar2013, "Footpath"),
    ],
)
def test_a_malformed_line_is_named_with_what_is_expected(file, parse, line):
    good = "1,2,3,2,3,4,1,4,Latin,x\n"
    with pytest.raises(ValueError, match=r"gt_img_1\.txt:3: expected x1.*transcription.*got ") as caught:
        parse(file(good + "\n" + line + "\n"))
    assert line in str(caught.value)


def test_another_encoding_is_named_with_its_line(file):
    with pytest.raises(ValueError, match=r"gt_img_1\.txt:2: expected UTF-8"):
        parse_icdar2015(file(b"1,2,3,2,3,4,1,4,x\n1,2,3,2,3,4,1,4,caf\xe9\n"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gt_9"):
        parse_icdar2015(tmp_path / "gt_9.txt")
