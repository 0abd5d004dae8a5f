"""Which pictures a corpus has: folders, lists and addresses, in their order, each once."""

import os
from collections import Counter

import pytest

from dld.corpus.picture_list import find_pictures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("in/b.png", "in/a.jpg", "in/deep/c.tif", "in/notes.md", "in/._a.jpg", "in/deep/clip.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_absolute_paths_in_order(folder):
    others = Counter()
    assert find_pictures(["in"], "out", others) == ([f"{folder}/in/{n}" for n in ("a.jpg", "b.png", "deep/c.tif")], 0)
    assert others == {".md": 1, ".mp4": 1}


def test_a_list_names_pictures_one_a_line_which_need_not_exist(folder):
    (folder / "list.txt").write_bytes(b"in/b.png\r\n\n  \nin/gone one.jpg\ns3://bucket/x y.jpg\ncaf\xe9.png\nin/b.png")
    found, again = find_pictures(["list.txt"], "out")
    odd = os.fsdecode(b"caf\xe9.png")
    assert found == [f"{folder}/in/b.png", f"{folder}/in/gone one.jpg", "s3://bucket/x y.jpg", f"{folder}/{odd}"]
    assert again == 1


def test_what_is_named_twice_is_read_once(folder):
    (folder / "list.txt").write_text("in/a.jpg\n")
    found, again = find_pictures(["in/*.png", "in", "list.txt"], "out")
    assert [os.path.basename(name) for name in found] == ["b.png", "a.jpg", "c.tif"] and again == 2


def test_results_that_lie_in_the_folder_are_not_read(folder):
    (folder / "in" / "out").mkdir()
    (folder / "in" / "out" / "drawing.jpg").touch()
    assert len(find_pictures(["in"], "in/out")[0]) == 3


def test_an_address_is_searched_as_a_folder_is(folder):
    pytest.importorskip("pyarrow")
    (folder / "in" / "deep" / "d e.JPG").touch()
    others = Counter()
    found, _ = find_pictures([f"file://{folder}/in"], "out", others)
    assert found == [f"file://{folder}/in/{n}" for n in ("a.jpg", "b.png", "deep/c.tif", "deep/d%20e.JPG")]
    assert others == {".md": 1, ".mp4": 1, ".jpg": 1}
    assert find_pictures([found[3]], "out") == ([found[3]], 0)
    (folder / "list.txt").write_text(f"{found[1]}\n")
    assert find_pictures([f"file://{folder}/list.txt"], "out") == ([found[1]], 0)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("gone", FileNotFoundError, "input gone is no file"),
        ("-", ValueError, "standard input cannot be read"),
        ("in/deep/clip.mp4", ValueError, "the film in/deep/clip.mp4 cannot be read"),
        ("empty.txt", ValueError, "empty.txt names no pictures"),
    ],
)
def test_what_cannot_be_read_is_named(folder, given, error, said):
    (folder / "empty.txt").write_text("\n\n")
    with pytest.raises(error, match=said):
        find_pictures([given], "out")


def test_addresses_that_lead_nowhere_or_hold_a_password_are_named(folder):
    pytest.importorskip("pyarrow")
    with pytest.raises(FileNotFoundError, match="gone is no file or folder"):
        find_pictures([f"file://{folder}/gone"], "out")
    (folder / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="no pictures in folder file://"):
        find_pictures([f"file://{folder}/none"], "out")
    with pytest.raises(ValueError, match="must not hold credentials") as error:
        find_pictures(["s3://key:secret@bucket/photos"], "out")
    assert "secret" not in str(error.value)
    with pytest.raises(ValueError, match="nowhere://x cannot be opened"):
        find_pictures(["nowhere://x/photos"], "out")
