"""SCUT-CTW1500 ground truth in its three layouts."""

import pytest

from dld.data.datasets.ctw1500 import parse_ctw1500

POINTS = [(10 * i, 5) for i in range(7)] + [(10 * i, 25) for i in reversed(range(7))]
VALUES = ",".join(f"{x + 100},{y + 200}" for x, y in POINTS)


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def test_training_labels_are_xml(tmp_path):
    box = '<box height="20" left="100" top="205" width="60">'
    content = (
        f'<annotations>\n<image file="0001.jpg">\n{box}<label>Fish &amp; Chips</label><segs>{VALUES}</segs></box>\n'
        f"{box}<label>A & B</label><segs>{VALUES}</segs></box>\n{box}<label>###</label><segs>{VALUES}</segs></box>\n"
        f"{box}<label></label><segs>{VALUES}</segs></box>\n</image>\n</annotations>\n"
    )
    words = parse_ctw1500(written(tmp_path, "0001.xml", content))
    assert [w.text for w in words] == ["Fish & Chips", "A & B", "###", ""]  # the second ampersand is bare
    assert [w.ignore for w in words] == [False, False, True, True]
    assert words[0].polygon.shape == (14, 2) and words[0].polygon[1].tolist() == [110, 205]


def test_test_labels_keep_hashes_and_commas_of_the_text(tmp_path):
    content = f"{VALUES},####EST. 1999, #1\n{VALUES},#######\n{VALUES},####\n1,2,3,2,3,4,####x\n"
    words = parse_ctw1500(written(tmp_path, "0001001.txt", content))
    assert [(w.text, w.ignore) for w in words] == [("EST. 1999, #1", False), ("###", True), ("", True), ("x", False)]
    assert words[0].polygon.shape == (14, 2) and len(words[3].polygon) == 3


def test_the_first_release_has_offsets_from_a_box_and_no_text(tmp_path):
    offsets = ",".join(f"{x},{y}" for x, y in POINTS)
    (word,) = parse_ctw1500(written(tmp_path, "0001.txt", f"100,200,160,225,{offsets}\n"))
    assert word.polygon.shape == (14, 2) and word.ignore
    assert word.polygon[1].tolist() == [110, 205] and word.polygon[-1].tolist() == [100, 225]


def test_sixteen_points_of_an_outline_are_not_taken_for_offsets(tmp_path):
    points = [(100 + 10 * i, 200) for i in range(8)] + [(100 + 10 * i, 230) for i in reversed(range(8))]
    values = ",".join(f"{x},{y}" for x, y in points)
    (word,) = parse_ctw1500(written(tmp_path, "0001001.txt", f"{values},####wave\n"))
    assert word.polygon.tolist() == [list(p) for p in points]


@pytest.mark.parametrize("line", ["1,2,3,4,####x", "1,2,3,4,5,6,7,####x", "a,2,3,4,5,6,####x", "some words"])
def test_a_malformed_line_is_named(tmp_path, line):
    with pytest.raises(ValueError, match=r"0001001\.txt:2: expected x1,y1,.*####text"):
        parse_ctw1500(written(tmp_path, "0001001.txt", f"{VALUES},####x\n{line}\n"))


def test_malformed_xml_is_named_with_line_or_box(tmp_path):
    with pytest.raises(ValueError, match=r"0001\.xml:3: expected XML"):
        parse_ctw1500(written(tmp_path, "0001.xml", "<annotations>\n\n<image></box>\n</annotations>"))
    content = f"<a><box><segs>{VALUES}</segs></box><box><label>x</label></box></a>"
    with pytest.raises(ValueError, match=r"0001\.xml: box 2: expected <segs>"):
        parse_ctw1500(written(tmp_path, "0001.xml", content))


def test_broken_xml_with_a_lone_carriage_return_is_named(tmp_path):
    path = tmp_path / "1.xml"
    path.write_bytes(b"\r0")
    with pytest.raises(ValueError, match="expected XML"):
        parse_ctw1500(path)
