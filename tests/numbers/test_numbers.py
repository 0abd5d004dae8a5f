"""A change that is meant to keep the numbers keeps them: the working tree against the last commit, in every bit."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from record import differences, generated_words, main

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path("tests", "numbers", "record.py")


def git(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *map(str, words)], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def last_commit(tmp_path):
    """The last commit as a checkout of its own."""
    try:
        top = git("rev-parse", "--show-toplevel")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if top.returncode or Path(top.stdout.strip()).resolve() != ROOT:
        pytest.skip(f"{ROOT} is no git checkout: there is no last commit to compare with")
    folder = tmp_path / "last_commit"
    added = git("worktree", "add", "--detach", folder, "HEAD")
    try:
        assert added.returncode == 0, added.stderr
        yield folder
    finally:
        git("worktree", "remove", "--force", folder)


@pytest.mark.slow
def test_the_working_tree_has_the_numbers_of_the_last_commit(last_commit, tmp_path):
    runs = {}
    for name, tree in (("before", last_commit), ("after", ROOT)):
        # each by its own script, which knows its own names of selectors and configurations
        script = tree / SCRIPT if (tree / SCRIPT).exists() else ROOT / SCRIPT
        output = tmp_path / f"{name}.json"
        command = [sys.executable, str(script), "--tree", str(tree), "--output", str(output)]
        with open(tmp_path / f"{name}.txt", "w") as log:
            runs[output] = (subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT), Path(log.name))
    try:
        for run, log in runs.values():
            assert run.wait() == 0, log.read_text()[-3000:]
    finally:
        for run, _ in runs.values():
            run.kill()
            run.wait()
    found = differences(*(json.loads(output.read_text(encoding="utf-8")) for output in runs))
    assert not found, "\n".join([f"{len(found)} numbers differ, first before, then after", *found[:40]])


def test_what_differs_between_records(tmp_path, capsys):
    first = {"a": [1.0, 0.1], "b": {"x": 0.0, "y": float("nan")}, "c": [], "d": "word"}
    second = {"a": [1.0, 0.1 + 2**-56], "b": {"x": -0.0, "y": float("nan")}, "c": [1], "e": None}
    assert differences(first, first) == []
    assert [text.split(":")[0] for text in differences(first, second)] == ["/a/1", "/b/x", "/c", "/d", "/c/0", "/e"]
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    for path, values in zip(paths, (first, second), strict=True):
        path.write_text(json.dumps(values))
    assert main(["--compare", str(paths[0]), str(paths[0])]) == 0
    assert main(["--compare", *map(str, paths)]) == 1
    assert "/d: 'word' against nothing" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("curved", [False, True])
def test_generated_words_follow_from_the_seed(curved):
    truth, found = generated_words(random.Random(1), curved)
    assert (truth, found) == generated_words(random.Random(1), curved)
    assert len(truth) == len(found) == 30 and any(truth.values()) and any(found.values())
