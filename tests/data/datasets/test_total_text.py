"""Total-Text ground truth, with every oddity of the official files."""

import numpy as np
import pytest

from dld.data.datasets.total_text import is_validation_image, parse_total_text


@pytest.fixture
def parsed(tmp_path):
    def parse(content):
        path = tmp_path / "poly_gt_img7.txt"
        path.write_text(content, encoding="utf-8")
        return parse_total_text(path)

    return parse


def record(x="1 5 5 1", y="2 2 6 6", text="u'the'", ornt="u'c'"):
    return f"x: [[{x}]], y: [[{y}]], ornt: [{ornt}], transcriptions: [{text}]\n"


def test_two_words(parsed):
    the, open_ = parsed(record() + record("153 161 179 195 184 177", "347 323 305 315 331 357", "u'OPEN'", "u'm'"))
    assert (the.text, the.ignore) == ("the", False)
    assert np.array_equal(the.polygon, [[1, 2], [5, 2], [5, 6], [1, 6]])
    assert len(open_.polygon) == 6 and open_.polygon[1].tolist() == [161, 323]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("u'the'", "the"),
        ('u"DON\'T"', "DON'T"),
        ("'plain'", "plain"),
        ("bare", "bare"),
        (r"u'it\'s'", "it's"),
        (r"u'caf\xe9'", "café"),
        (r"u'\u4e2d'", "中"),
        ("u'a]b'", "a]b"),
        ("u'50% [off], y: x'", "50% [off], y: x"),
        ("u'half'quote'", "half'quote"),
        ("u'u'", "u"),
        ("u", "u"),
    ],
)
def test_however_the_text_is_quoted(parsed, raw, text):
    (word,) = parsed(record(text=raw))
    assert word.text == text and not word.ignore


@pytest.mark.parametrize("raw", ["u'#'", "u'##'", "u'#####'", "#", "", "u''"])
def test_any_number_of_hashes_is_dont_care(parsed, raw):
    (word,) = parsed(record(text=raw, ornt="u'#'" if raw else ""))
    assert word.ignore


def test_a_hash_beside_letters_is_text(parsed):
    assert not parsed(record(text="u'#1'"))[0].ignore


def test_arrays_broken_over_lines(parsed):
    broken = (
        "x: [[ 12  25\n  38 45]], y: [[1 2\n\n 3\n 4]], ornt: [u'c'], transcriptions: [u'one']\n"
        "x: [[1 2 3]], y: [[1 2 9]],\nornt: [u'm'], transcriptions: [u'two']"
    )
    one, two = parsed(broken)
    assert one.polygon.tolist() == [[12, 1], [25, 2], [38, 3], [45, 4]]
    assert (one.text, two.text, len(two.polygon)) == ("one", "two", 3)


def test_two_points_and_points_outside_are_kept_for_repair(parsed):
    (word,) = parsed(record("-4 2000", "7 9"))
    assert word.polygon.tolist() == [[-4, 7], [2000, 9]]


@pytest.mark.parametrize(
    "bad",
    [
        record(x="1 2 3"),
        record(x="", y=""),
        record(x="1 two 3 4"),
        "x: [[1 2 3]], y: [[1 2 9]]\n",
        "x: [1 2 3], y: [1 2 9], ornt: [u'c'], transcriptions: [u'x']\n",
    ],
)
def test_a_malformed_record_is_named_with_its_line(parsed, bad):
    with pytest.raises(ValueError, match=r"poly_gt_img7\.txt:2: expected x: \[\[\.\.\]\]"):
        parsed(record() + bad + record())


def test_an_empty_file_is_an_image_without_words(parsed):
    assert parsed("") == []


def test_validation_images_end_in_zero():
    assert [is_validation_image(f"img{n}") for n in (10, 120, 1, 101, 1000)] == [True, True, False, False, True]
    with pytest.raises(ValueError, match="IMG_10"):
        is_validation_image("IMG_10")


@pytest.mark.parametrize("table", ["polygt", "gt"])  # of the first and of the later releases
def test_matlab_files_say_the_same(tmp_path, table):
    io = pytest.importorskip("scipy.io")
    rows = np.empty((2, 6), dtype=object)
    rows[0] = ["x:", np.array([[1, 5, 5, 1]]), "y:", np.array([[2, 2, 6, 6]]), np.array(["the"]), np.array(["c"])]
    rows[1] = ["x:", np.array([[1, 5, 3]]), "y:", np.array([[2, 2, 6]]), np.array(["##"]), np.array(["#"])]
    path = tmp_path / "poly_gt_img7.mat"
    io.savemat(path, {table: rows})
    the, ignored = parse_total_text(path)
    assert the.text == "the" and the.polygon.tolist() == [[1, 2], [5, 2], [5, 6], [1, 6]] and not the.ignore
    assert ignored.ignore and len(ignored.polygon) == 3
    io.savemat(path, {"rectgt": rows})
    with pytest.raises(ValueError, match=r"poly_gt_img7\.mat.*'polygt' or 'gt'"):
        parse_total_text(path)
