"""Which files are read, and which names their drawings get."""

import os
from collections import Counter
from pathlib import Path

import pytest

from dld.inference.input_files import STDIN, FreeNames, find_inputs, is_video, list_passed_over


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b.jpg", "a.PNG", "notes.txt", "clip.mp4", "deep/er/c.webp", "out/b.jpg", "films/x.MOV", "none/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(paths):
    return [str(path) for path in paths]


def test_folders_are_searched_recursively_for_pictures(tree):
    assert names(find_inputs(["."])) == ["a.PNG", "b.jpg", "deep/er/c.webp", "out/b.jpg"]


def test_drawings_of_earlier_runs_are_not_read_again(tree):
    assert names(find_inputs(["."], "out")) == ["a.PNG", "b.jpg", "deep/er/c.webp"]
    assert names(find_inputs(["out"], "out")) == ["out/b.jpg"] == names(find_inputs(["out/*"], "out"))


def test_files_globs_and_standard_input_come_in_order_and_once(tree):
    found = find_inputs(["clip.mp4", "-", "notes.txt", "*.jpg", str(tree / "b.jpg"), "**/*.webp", "b.jpg", "-"])
    assert names(found) == ["clip.mp4", "-", "notes.txt", "b.jpg", "deep/er/c.webp"]
    assert [is_video(path) for path in found] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.jpg", "input missing.jpg is no file, folder or glob"),
        ("*.gif", r"input \*.gif is no file"),
        ("none", "no pictures in folder none; 1 file in the folders is passed over: 1 .txt$"),
        ("empty", "no pictures in folder empty$"),
        ("films", "no pictures in folder films; its films are read when they are named: films/x.MOV"),
    ],
)
def test_an_input_that_names_nothing_is_said(tree, given, message):
    with pytest.raises(FileNotFoundError, match=message):
        find_inputs([given])


@pytest.mark.parametrize("ending", "jpg JPEG jpe jfif jp2 png bmp tif tiff webp avif heic HEIF gif pgm pdf".split())
def test_endings_of_pictures(tmp_path, ending):
    (tmp_path / f"photo.{ending}").touch()
    assert find_inputs([str(tmp_path)]) == [tmp_path / f"photo.{ending}"]


def test_companions_that_macos_writes_are_no_pictures(tree):
    for name in ("._b.jpg", "deep/._c.webp", "__MACOSX/._b.jpg", "__MACOSX/b.jpg", ".hidden.jpg"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"\0\5\x16\7")
    passed_over = Counter()
    found = find_inputs(["."], "out", passed_over)
    assert names(found) == [".hidden.jpg", "a.PNG", "b.jpg", "deep/er/c.webp"]
    assert "._" not in str(passed_over) and passed_over.total() == 4


def test_what_is_passed_over_in_folders_is_counted_by_ending(tree):
    (tree / "README").touch()
    (tree / "gone.jpg").symlink_to("nowhere.jpg")
    (tree / "loop.jpg").symlink_to("loop.jpg")
    passed_over = Counter()
    find_inputs([".", "films/x.MOV"], "out", passed_over)
    assert passed_over == {".txt": 2, ".mp4": 1, ".mov": 1, "without ending": 1, "broken link": 2}
    said = "7 files in the folders are passed over: "
    assert list_passed_over(passed_over).startswith(said) and "2 broken link" in list_passed_over(passed_over)
    assert list_passed_over(Counter({".txt": 1})) == "1 file in the folders is passed over: 1 .txt"


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_folder_that_cannot_be_opened_is_counted(tree):
    (tree / "deep").chmod(0)
    passed_over = Counter()
    assert names(find_inputs(["."], "out", passed_over)) == ["a.PNG", "b.jpg"]
    (tree / "deep").chmod(0o755)
    assert passed_over["folder that cannot be opened"] == 1


def test_linked_folders_are_searched_once_and_circles_end(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far.jpg").touch()
    links = {"a_link": elsewhere, "z_link": elsewhere, "a_deep": tree / "deep", "deep/up": tree / "deep", "deep/er/top": tree}
    links |= {"parent": tree.parent, "out_again": tree / "out"}
    for name, target in links.items():
        (tree / name).symlink_to(target, target_is_directory=True)
    (elsewhere / "back").symlink_to(tree, target_is_directory=True)
    assert names(find_inputs(["."], "out")) == ["a.PNG", "a_link/far.jpg", "b.jpg", "deep/er/c.webp"]
    assert names(find_inputs(["deep/up"])) == ["deep/up/er/c.webp"]  # a link that is named itself is followed


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("shots [2024]/*.jpg", ["shots [2024]/b.jpg", "shots [2024]/photo[1].jpg"]),
        ("shots [2024]/photo[[]1].jpg", ["shots [2024]/photo[1].jpg"]),
        ("*4]/photo[1].jpg", ["shots [2024]/photo[1].jpg"]),
        ("shots [2]/*.jpg", ["shots 2/photo1.jpg"]),
        ("shots ?/photo[12].jpg", ["shots 2/photo1.jpg"]),
        ("shots [2024]/photo[1].jpg", ["shots [2024]/photo[1].jpg"]),
    ],
)
def test_brackets_are_a_name_where_something_is_called_so_and_a_pattern_elsewhere(tree, pattern, found):
    for name in ("shots [2024]/b.jpg", "shots [2024]/photo[1].jpg", "shots 2/photo1.jpg"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    assert names(find_inputs([pattern])) == found


def test_a_drawing_is_never_put_over_an_input_or_another_drawing(tree):
    (tree / "link").symlink_to(tree, target_is_directory=True)
    free = FreeNames("link", [Path("b.jpg"), Path("deep/b_1.jpg"), STDIN])
    assert names([free.like(Path(p), ".jpg") for p in ("b.jpg", "deep/b.png", "c.png", "-")]) == [
        "link/b_1.jpg",
        "link/b_2.jpg",
        "link/c.jpg",
        "link/stdin.jpg",
    ]
    assert free.fixed("results.json") == Path("link/results.json")
    with pytest.raises(ValueError, match=r"link/b\.jpg is an input and would be written over"):
        free.fixed("b.jpg")
