"""Runs with ray: the words of one process, and after every kill all pictures once."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import pytest

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from dld.cli import spot
from dld.corpus import run as corpus_run
from dld.corpus.run import CorpusJob, read_corpus
from dld.inference.predictor import TextSpotter

pytestmark = pytest.mark.slow  # ray alone takes some seconds to start

ROOT = Path(__file__).resolve().parents[2]
PICTURES = 60


@pytest.fixture
def corpus(tmp_path, make_record, monkeypatch):
    """60 pictures in a folder, the last of them damaged; the working folder."""
    (tmp_path / "in").mkdir()
    for seed in range(PICTURES):
        cv2.imwrite(str(tmp_path / "in" / f"{seed:02d}.png"), make_record(("stone", f"w{seed}"), seed=seed)["image"])
    (tmp_path / "in" / "59.png").write_bytes(b"\x89PNG no picture")
    monkeypatch.chdir(tmp_path)
    # processes that read find this checkout and what is beside it
    places = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    return tmp_path


def command(weights, *more):
    return ["--weights", weights, "--engine", "ray", "--input", "in", "--output", "out", *more]


def words_of(folder="out"):
    return {row["path"]: [word["text"] for word in row["words"]] for row in pq.read_table(folder).to_pylist()}


def check(corpus, weights):
    """Every picture has one row, in which stand the words that one process reads."""
    table = pq.read_table("out").to_pylist()
    assert sorted(row["path"] for row in table) == [f"{corpus}/in/{i:02d}.png" for i in range(PICTURES)]
    assert [row["path"] for row in table if row["error"] is not None] == [f"{corpus}/in/59.png"]
    spotter = TextSpotter.from_checkpoint(weights, device="cpu")
    for row in table:
        if row["error"] is None:
            expected = spotter(row["path"])
            assert [word["text"] for word in row["words"]] == [word.text for word in expected.words], row["path"]
            assert row["scale"] == expected.scale
    assert sorted(os.listdir("out/_dld")) == ["pictures.parquet", "settings.json"]


def test_a_killed_driver_loses_nothing_and_the_same_command_goes_on(corpus, tiny_weights, capsys):
    weights = tiny_weights["student"]
    words = command(weights, "--workers", "1", "--part-size", "5")
    driver = subprocess.Popen([sys.executable, "-m", "dld.cli.main", "spot", *words], start_new_session=True)
    try:
        for _ in range(3000):
            done = len(list(Path("out").glob("part-*.parquet")))
            if done >= 2:
                break
            assert driver.poll() is None
            time.sleep(0.1)
        assert done >= 2
    finally:
        driver.kill()
        driver.wait()
    there = {path: path.stat().st_mtime_ns for path in Path("out").glob("part-*.parquet")}
    assert 2 <= len(there) < PICTURES // 5  # it was midway
    assert spot.main(words) == 1
    said = capsys.readouterr()
    assert said.out.startswith("60 pictures (") and "1 pictures could not be read" in said.err
    # a process that outlived its driver may have finished the part that it had; what was there before is not read again
    assert {path: path.stat().st_mtime_ns for path in there} == there
    check(corpus, weights)
    # nothing is left: the same command reads nothing
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")}
    assert spot.main(words) == 1
    assert capsys.readouterr().out.startswith("60 pictures (0 in this run, ")
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")} == before


def load(weights, device):
    return TextSpotter.from_checkpoint(weights, device=device)


def test_a_killed_worker_loses_nothing(corpus, tiny_weights, monkeypatch):
    weights = tiny_weights["student"]
    killed = []

    class Pool(corpus_run.RayPool):
        def read(self, parts, report):
            def kill_first(found):
                report(found)
                if not killed:
                    # it reads the next part by now, or is about to
                    killed.append(found.process)
                    os.kill(found.process, signal.SIGKILL)

            return super().read(parts, kill_first)

    monkeypatch.setattr(corpus_run, "RayPool", Pool)
    options = {"batch_size": 2, "scale": "auto", "budget": None}
    job = CorpusJob(["in"], "out", {}, partial(load, weights), options, workers=2, part_size=5)
    summary = read_corpus(job)
    assert killed and (summary.pictures, summary.read, summary.failed, summary.left) == (60, 60, 1, 0)
    check(corpus, weights)


class Deadly:
    """A spotter that ends its process at one picture."""

    def __init__(self, spotter):
        self.spotter = spotter

    def __call__(self, pictures, **options):
        if any(pixels.shape[1] == 131 for pixels in pictures):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.spotter(pictures, **options)


def load_deadly(weights, device):
    return Deadly(load(weights, device))


def test_a_picture_that_ends_every_process_gets_an_error_and_all_others_are_read(corpus, tiny_weights, make_record):
    for path in sorted((corpus / "in").iterdir())[6:]:
        path.unlink()
    cv2.imwrite("in/deadly.png", make_record(width=131)["image"])
    job = CorpusJob(["in"], "out", {}, partial(load_deadly, tiny_weights["student"]), {"batch_size": 1}, workers=1, part_size=7)
    summary = read_corpus(job)
    errors = {Path(row["path"]).name: row["error"] for row in pq.read_table("out").to_pylist() if row["error"]}
    assert errors.pop("deadly.png") == "the process that read it ended, twice"
    assert (summary.pictures, summary.left, errors) == (7, 0, {})


def test_weights_that_the_processes_lack_end_the_run(corpus, tiny_weights):
    job = CorpusJob(["in"], "out", {}, partial(load, "gone.pth"), {"batch_size": 1}, workers=1)
    with pytest.raises((FileNotFoundError, ValueError), match="gone.pth"):
        read_corpus(job)


def test_a_cluster_that_is_not_there_is_named(corpus, tiny_weights, capsys):
    assert spot.main(command(tiny_weights["student"], "--address", "127.0.0.1:1")) == 2
    assert "error: the cluster at 127.0.0.1:1 cannot be used" in capsys.readouterr().err
