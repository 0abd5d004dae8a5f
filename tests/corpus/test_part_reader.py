"""A part of a corpus: the words of a spotter, a row for every picture, and what becomes of pictures that end processes."""

import shutil
from functools import partial

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from dld.corpus import part_reader
from dld.corpus.part_reader import PartReader
from dld.corpus.result_folder import ResultFolder
from dld.corpus.rows import result_row
from dld.inference.predictor import TextSpotter
from dld.structures.words import SpottingResult

OPTIONS = {"batch_size": 2, "scale": "auto", "budget": None, "rotation": "0", "tile": "auto"}


@pytest.fixture
def pictures(tmp_path, make_record):
    """Five, of which the second is damaged and the fourth is not there."""
    (tmp_path / "in").mkdir()
    names = [str(tmp_path / "in" / f"{i}.png") for i in range(5)]
    for seed in (0, 2, 4):
        cv2.imwrite(names[seed], make_record(("stone", f"w{seed}"), seed=seed)["image"])
    (tmp_path / "in" / "1.png").write_bytes(b"\x89PNG no picture")
    return names


@pytest.fixture
def folder(tmp_path, pictures):
    folder = ResultFolder(str(tmp_path / "out"))
    folder.begin(pictures, {"dld": part_reader.__version__}, 5, 5)
    return folder


def rows(folder, part=0):
    return pq.read_table(f"{folder.name}/part-{part:06d}.parquet").to_pylist()


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("address", [False, True])
def test_the_words_are_those_that_a_spotter_reads(tmp_path, tiny_weights, pictures, careful, address):
    folder = ResultFolder(str(tmp_path / "out"))
    folder.begin([f"file://{name}" if address else name for name in pictures], {"dld": part_reader.__version__}, 5, 5)
    load = partial(TextSpotter.from_checkpoint, tiny_weights["student"], device="cpu")
    report = PartReader(folder.name, load, OPTIONS, 1).read(0, careful)
    found, spotter = rows(folder), load()
    assert [row["path"] for row in found] == folder.pictures(0)
    for place in (0, 2, 4):
        row, result = found[place], spotter(pictures[place])
        assert row == result_row(folder.pictures(0)[place], result) | {"words": row["words"]}
        assert [w["text"] for w in row["words"]] == [w.text for w in result.words] and row["words"]
        for word, expected in zip(row["words"], result.words, strict=True):
            assert word["score"] == expected.score and word["rows"] == expected.rows
            assert np.array_equal(np.array(word["polygon"], np.float32), expected.polygon)
    assert len({row["scale"] for row in found} - {None}) > 1  # the selector chooses for each
    for place, said in ((1, "cannot read image"), (3, "does not exist")):
        assert said in found[place]["error"] and found[place]["path"] in found[place]["error"]
        assert found[place]["words"] == [] and found[place]["width"] is None
    assert (report.pictures, report.failed, report.problem) == (5, 2, "")
    assert report.words == sum(len(row["words"]) for row in found)
    assert not list((tmp_path / "out" / "_dld").glob("part*"))


class Reader:
    """A spotter that reads the width of a picture, and does something else at one of them."""

    def __init__(self, at=None, do=None):
        self.at, self.do, self.calls = at, do, 0

    def __call__(self, pictures, **options):
        assert len(pictures) <= options["batch_size"]
        for pixels in pictures:
            self.calls += 1
            if pixels.shape[1] == self.at:
                self.do()
        return [SpottingResult(None, None, pixels.shape[1], pixels.shape[0], []) for pixels in pictures]


class Killed(BaseException):
    """As SIGKILL: nothing of ours catches it."""


def raising(error):
    def do():
        raise error

    return do


@pytest.fixture
def widths(tmp_path):
    """Four pictures of 40, 41, 42 and 43 pixels in one part."""
    names = [str(tmp_path / f"{width}.png") for width in range(40, 44)]
    for width, name in zip(range(40, 44), names, strict=True):
        cv2.imwrite(name, np.full((30, width, 3), 200, np.uint8))
    folder = ResultFolder(str(tmp_path / "out"))
    folder.begin(names, {"dld": part_reader.__version__}, 4, 4)
    return folder


def test_a_part_whose_process_ends_is_not_there_and_is_read_whole_the_next_time(widths):
    reader = Reader(43, raising(Killed()))
    with pytest.raises(Killed):
        PartReader(widths.name, lambda: reader, OPTIONS, 1).read(0)
    assert widths.finished() == set() and reader.calls == 4
    PartReader(widths.name, Reader, OPTIONS, 1).read(0, careful=True)
    assert [row["width"] for row in rows(widths)] == [40, 41, 42, 43]


def test_a_picture_that_ends_two_careful_processes_gets_an_error_and_all_others_are_read(widths):
    for _ in range(2):
        with pytest.raises(Killed):
            PartReader(widths.name, lambda: Reader(42, raising(Killed())), OPTIONS, 1).read(0, careful=True)
    assert widths.read_deaths(0) == [2, 2]
    report = PartReader(widths.name, lambda: Reader(42, raising(Killed())), OPTIONS, 1).read(0, careful=True)
    assert [row["width"] for row in rows(widths)] == [40, 41, None, 43] and report.failed == 1
    assert rows(widths)[2]["error"] == "the process that read it ended, twice"
    assert widths.read_deaths(0) == []


def test_two_machines_that_go_away_are_not_blamed_on_two_pictures(widths):
    for width in (41, 42):
        with pytest.raises(Killed):
            PartReader(widths.name, lambda width=width: Reader(width, raising(Killed())), OPTIONS, 1).read(0, careful=True)
    report = PartReader(widths.name, Reader, OPTIONS, 1).read(0, careful=True)
    assert report.failed == 0 and len(rows(widths)) == 4


def test_a_spotter_that_fails_is_tried_again_before_the_picture_gets_an_error(widths):
    reader = Reader(41, raising(RuntimeError("out of\nmemory")))
    with pytest.raises(RuntimeError):
        PartReader(widths.name, lambda: reader, OPTIONS, 1).read(0)
    assert widths.finished() == set()
    assert PartReader(widths.name, lambda: reader, OPTIONS, 1).read(0, careful=True).failed == 1
    assert [row["error"] for row in rows(widths)] == [None, "RuntimeError: out of memory", None, None]


def test_mistakes_of_the_user_are_reported(widths, monkeypatch, tmp_path):
    assert PartReader(widths.name, raising(KeyError("no weights x")), OPTIONS, 1).read(0).problem == "no weights x"
    with monkeypatch.context() as patch:
        patch.setattr(part_reader, "__version__", "99.0")
        assert "a process has 99.0" in PartReader(widths.name, Reader, OPTIONS, 1).read(0).problem
    (tmp_path / "out" / "part-000000.parquet").mkdir()
    assert "could not write" in PartReader(widths.name, Reader, OPTIONS, 1).read(0).problem
    shutil.rmtree(tmp_path / "out" / "part-000000.parquet")
    assert PartReader(widths.name, Reader, OPTIONS, 1).read(0).problem == ""
