"""Which files are read, and which names their drawings get."""

from pathlib import Path

import pytest

from dld.inference.input_files import STDIN, FreeNames, find_inputs, is_video


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b.jpg", "a.PNG", "notes.txt", "clip.mp4", "deep/er/c.webp", "out/b.jpg", "films/x.MOV", "none/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
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
        ("none", "no pictures in folder none$"),
        ("films", "no pictures in folder films; its films are read when they are named: films/x.MOV"),
    ],
)
def test_an_input_that_names_nothing_is_said(tree, given, message):
    with pytest.raises(FileNotFoundError, match=message):
        find_inputs([given])


def test_a_drawing_is_never_put_over_an_input_or_another_drawing(tree):
    (tree / "link").symlink_to(tree, target_is_directory=True)
    free = FreeNames("link", [Path("b.jpg"), Path("deep/b_1.jpg"), STDIN])
    assert names([free.like(Path(p), ".jpg") for p in ("b.jpg", "deep/b.png", "c.png", "-")]) == [
        "link/b_1.jpg", "link/b_2.jpg", "link/c.jpg", "link/stdin.jpg",
    ]  # fmt: skip
    assert free.fixed("results.json") == Path("link/results.json")
    with pytest.raises(ValueError, match=r"link/b\.jpg is an input and would be written over"):
        free.fixed("b.jpg")
