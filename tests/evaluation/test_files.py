"""Archives, names of images, and lines: everything between a path and a list of polygons and texts."""

import zipfile

import pytest

from dld.evaluation import archive
from dld.evaluation.archive import read_text_files
from dld.evaluation.image_names import ImageIndex, canonical_name, image_number
from dld.evaluation.line_formats import parse_lines, parse_total_text
from dld.evaluation.protocol import icdar2013, icdar2015, totaltext


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


def test_zip_and_folder_give_the_same_files(tmp_path):
    members = {"b/img_2.txt": "zwei\r\n", "img_1.txt": "\ufeffeins", "notes.md": "", "__MACOSX/._img_1.txt": "x"}
    for name, text in members.items():
        target = tmp_path / "folder" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
    for path in (make_zip(tmp_path / "f.zip", members), tmp_path / "folder"):
        files = read_text_files(path, ".txt")
        assert [(item.name, item.text) for item in files] == [("img_2.txt", "zwei\r\n"), ("img_1.txt", "eins")]
        assert files[0].where.endswith("b/img_2.txt")


def test_bytes_that_are_not_utf8_do_not_stop_anything(tmp_path):
    (tmp_path / "img_1.txt").write_bytes(b"caf\xe9")
    assert read_text_files(tmp_path, ".txt")[0].text == "caf\ufffd"


@pytest.mark.parametrize("name", ["../img_1.txt", "/etc/img_1.txt", "a/../../b.txt", "C:/img_1.txt", "..\\img_1.txt"])
def test_members_that_point_outside_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="points outside of the archive"):
        read_text_files(make_zip(tmp_path / "f.zip", {name: "x"}), ".txt")


def test_absurd_sizes_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "f.zip", {"a.txt": "x" * 100, "b.txt": "x" * 100})
    for limit, value, message in [
        ("MAX_FILES", 1, "2 files, more than"),
        ("MAX_FILE_BYTES", 99, "has 100 bytes"),
        ("MAX_TOTAL_BYTES", 199, "holds more than"),
    ]:
        with monkeypatch.context() as patch, pytest.raises(ValueError, match=message):
            patch.setattr(archive, limit, value)
            read_text_files(path, ".txt")
    assert len(read_text_files(path, ".txt")) == 2


def test_what_is_no_archive_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.zip"):
        read_text_files(tmp_path / "nowhere.zip", ".txt")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(ValueError, match=r"broken\.zip: neither a folder nor a readable zip"):
        read_text_files(tmp_path / "broken.zip", ".txt")


def test_damaged_member_is_named(tmp_path):
    path = make_zip(tmp_path / "f.zip", {"a.txt": "hello hello"})
    path.write_bytes(path.read_bytes().replace(b"hello hello", b"hello jello", 1))
    with pytest.raises(ValueError, match=r"f\.zip"):
        read_text_files(path, ".txt")


def test_two_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a.txt", "1")
        file.writestr("a.txt", "2")
    with pytest.raises(ValueError, match="two members of the same name"):
        read_text_files(tmp_path / "f.zip", ".txt")


@pytest.mark.parametrize(
    "name, canonical, number",
    [
        ("res_img_7.txt", "img_7", 7),
        ("gt_img_0012.txt", "img_0012", 12),
        ("poly_gt_img1001.txt", "img1001", 1001),
        ("0000007.txt", "0000007", 7),
        ("img_7.jpg", "img_7", 7),
        ("ts_img_00007.txt", "ts_img_00007", 7),
        ("synth_00007_a.txt", "synth_00007_a", None),
        ("sign.v2.txt", "sign.v2", None),
    ],
)
def test_names_of_official_files(name, canonical, number):
    assert canonical_name(name) == canonical
    assert image_number(name) == number


def test_images_are_found_by_name_then_by_official_number():
    index = ImageIndex(["img_1", "img_2", "synth_3", "0000004", "img_5", "tr_img_5"])
    assert index.find("res_img_1.txt") == "img_1"
    assert index.find("img_002.txt") == "img_2"
    assert index.find("synth_3.txt") == "synth_3"
    assert index.find("img4.txt") == "0000004"
    assert index.find("img_5.txt") == "img_5"  # the whole name, where a number means two images
    assert index.find("0000005.txt") is None
    assert index.find("img_3.txt") is None  # synth_3 is no official name
    assert index.find("img_99.txt") is None


def lines(text, protocol):
    return [(line.polygon.tolist(), line.text) for line in parse_lines(text, "f.txt", protocol)]


def test_quadrilateral_lines():
    corners = [[1, 2], [3, 4], [5, 6], [-7, 8]]
    assert lines("1,2,3,4,5,6,-7,8,Hello, world\r\n\n", icdar2015) == [(corners, "Hello, world")]
    assert lines(" 1 , 2,3,4,5,6,-7,8, x ", icdar2015) == [(corners, " x ")]
    assert lines("1,2,3,4,5,6,-7,8", icdar2015) == [(corners, None)]
    assert lines("1,2,3,4,5,6,-7,8,", icdar2015) == [(corners, "")]
    assert lines("1,2,3,4,5,6,-7,8,a\u2028b\n", icdar2015) == [(corners, "a\u2028b")]  # only \n ends a line


def test_boxes_of_icdar_2013():
    corners = [[1, 2], [30, 2], [30, 40], [1, 40]]
    assert lines('1, 2, 30, 40, "a, b"\n', icdar2013) == [(corners, ' "a, b"')]
    assert lines('1 2 30 40 "a b"\n', icdar2013) == [(corners, '"a b"')]
    assert lines("1,2,30,40,1,000\n1,2,30,40,a\n1,2,30,40,7\n", icdar2013)[0] == (corners, "1,000")
    assert lines("1,2,30,40\n", icdar2013) == [(corners, None)]
    assert lines("1,2,3,4,5,6,7,8,9\n", icdar2013) == [([[1, 2], [3, 4], [5, 6], [7, 8]], "9")]


def test_polygon_lines():
    triangle = [[1, 2], [3, 4], [5, 6]]
    assert lines("1,2,3,4,5,6,####Hello, world", totaltext) == [(triangle, "Hello, world")]
    assert lines("1,2,3,4,5,6,#####", totaltext) == [(triangle, "#")]
    assert lines("1,2,3,4,5,6,2024", totaltext) == [(triangle, "2024")]
    assert lines("1,2,3,4,5,6,Hello", totaltext) == [(triangle, "Hello")]
    assert lines("1,2,3,4,5,6,", totaltext) == [(triangle, "")]
    assert lines("1.5,2,3,4,5,6", totaltext) == [([[1.5, 2], [3, 4], [5, 6]], None)]


@pytest.mark.parametrize(
    "text, protocol, message",
    [
        ("1,2,3,4,5,6,7,8,a\n1,2,3,4,5,6,7", icdar2015, r"f\.txt, line 2: expected x1,y1"),
        ("1,2,3,4,5,6,7,x,a", icdar2015, r"f\.txt, line 1: a coordinate is not a number"),
        ("1,2,3,4,5,6,7,nan,a", icdar2015, r"f\.txt, line 1: a coordinate is not finite"),
        ("hello", icdar2015, r"line 1: expected x1,y1"),
        ("1,2,3,4,5,6,7,8,a\n1,2,3,4,5,6,7,8,b\n1,2,3,4,5,6,7,c", icdar2013, "line 3: a coordinate is not a number"),
        ("1,2,3,4,5,6,7,c", icdar2013, "line 1: a coordinate is not a number"),
        ("10,2,3,4,a", icdar2013, "line 1: xmax < xmin"),
        ("1,2,3\n", icdar2013, "line 1: expected xmin"),
        ("1,2,3,4,5,####a", totaltext, "line 1: expected pairs"),
        ("1,2,3,4,5,6,a,b", totaltext, "line 1: a coordinate is not a number"),
        ("####a", totaltext, "line 1: expected pairs"),
    ],
)
def test_malformed_lines_are_named(text, protocol, message):
    with pytest.raises(ValueError, match=message):
        parse_lines(text, "f.txt", protocol)


def test_official_total_text_layout():
    text = (
        "x: [[1 2\n 3]], y: [[4 5 6]], ornt: [u'c'], transcriptions: [u'the']\n"
        "x: [[1 2 3]], y: [[4 5 6]], ornt: [u'm'], transcriptions: [u\"don't]\"]\n"
        "x: [[1 2]], y: [[4 5]], ornt: [u'#'], transcriptions: [u'##']\n"
    )
    read = parse_total_text(text, "f.txt")
    assert [line.text for line in read] == ["the", "don't]", "##"]
    assert read[0].polygon.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert [line.where for line in read] == ["f.txt, line 1", "f.txt, line 3", "f.txt, line 4"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("x: [[1 2]], y: [[4 5 6]], ornt: [u'c'], transcriptions: [u'a']", "line 1: 2 x against 3 y"),
        ("x: [[1]], y: [[4]], ornt: [u'c'], transcriptions: [u'a']\nx: [[1]], ornt", "line 2: not a word"),
        ("x: [[1 b]], y: [[4 5]], ornt: [u'c'], transcriptions: [u'a']", "line 1: a coordinate is not a number"),
    ],
)
def test_malformed_total_text_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_total_text(text, "f.txt")
