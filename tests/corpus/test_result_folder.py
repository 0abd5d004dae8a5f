"""The folder of a corpus: what makes a run go on, and what keeps results of two runs apart."""

import io
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from dld.corpus.addresses import joined, list_names, read_file, write_whole
from dld.corpus.result_folder import ResultFolder
from dld.corpus.rows import error_row, schema

PICTURES = [f"/photos/{i}.jpg" for i in range(7)]
SETTINGS = {"weights": "ab", "--scale": "auto", "configuration": {"TEST": {"A": 1, "B": [1, 2]}}}


def begun(name, pictures=PICTURES, part_size=3, **more) -> ResultFolder:
    folder = ResultFolder(str(name))
    folder.begin(pictures, SETTINGS | more, part_size, 1000)
    return folder


@pytest.fixture(params=["local", "file", "memory"])
def place(request, tmp_path):
    """A folder on disk, the same by its address, and one of an object store that lives in memory."""
    if request.param == "memory":
        memory = pytest.importorskip("fsspec").filesystem("memory")
        yield "fsspec+memory://results/run"
        memory.rm("/", recursive=True)
    else:
        yield f"file://{tmp_path}/a%20b" if request.param == "file" else str(tmp_path / "a b")


def test_parts_that_are_written_are_done_and_hold_their_rows(place):
    folder = begun(place)
    assert folder.sizes() == [3, 3, 1] and folder.finished() == set()
    assert [folder.pictures(part) for part in range(3)] == [PICTURES[:3], PICTURES[3:6], PICTURES[6:]]
    folder.write_part(1, [error_row(path, "gone") for path in PICTURES[3:6]])
    again = begun(place, part_size=None)
    assert again.finished() == {1} and again.sizes() == [3, 3, 1] and again.count() == (3, 3)
    assert list_names(place) == ["part-000001.parquet"]
    table = pq.read_table(io.BytesIO(read_file(joined(place, "part-000001.parquet"))))
    assert table.schema == schema() and table.column("path").to_pylist() == PICTURES[3:6]


def test_deaths_are_kept_until_they_are_over(place):
    folder = begun(place)
    assert folder.read_deaths(1) == []
    folder.note_deaths(1, [2, 2])
    assert begun(place).read_deaths(1) == [2, 2] and folder.read_deaths(0) == []
    folder.note_deaths(1, [])
    assert folder.read_deaths(1) == [] and sorted(list_names(joined(place, "_dld"))) == ["pictures.parquet", "settings.json"]


def test_a_run_that_ended_while_it_began_begins_anew(tmp_path):
    begun(tmp_path / "out")
    (tmp_path / "out" / "_dld" / "settings.json").unlink()
    assert begun(tmp_path / "out", PICTURES[:2], 1).sizes() == [1, 1]


def test_other_settings_are_named(tmp_path):
    begun(tmp_path / "out")
    with pytest.raises(ValueError, match=r"out was begun with other settings: --scale was auto, is 0.5; give the same"):
        begun(tmp_path / "out", **{"--scale": "0.5"})
    with pytest.raises(ValueError, match=r"configuration.TEST.A was 1, is 2; configuration.TEST.C was None, is 3; "):
        begun(tmp_path / "out", configuration={"TEST": {"A": 2, "B": [1, 2], "C": 3}})
    with pytest.raises(ValueError, match="part_size was 3, is 4"):
        begun(tmp_path / "out", part_size=4)
    many = {f"K{i}": i for i in range(9)}
    with pytest.raises(ValueError, match="and 7 more"):
        begun(tmp_path / "out", configuration={"TEST": {"A": 1, "B": [1, 2], **many}}, weights="cd")


@pytest.mark.parametrize(
    ("now", "place"),
    [
        ([*PICTURES, "/photos/new.jpg"], "new.jpg"),
        (PICTURES[:-1], "6.jpg"),
        ([*PICTURES[:4], "/x.jpg", *PICTURES[5:]], "/x.jpg"),
    ],
)
def test_other_pictures_are_named(tmp_path, now, place):
    begun(tmp_path / "out")
    with pytest.raises(ValueError, match=rf"with other pictures: 7 then, {len(now)} now, the first difference at \S*{place}"):
        begun(tmp_path / "out", now)


def test_parquet_files_of_something_else_are_not_written_over(tmp_path):
    (tmp_path / "part-000000.parquet").write_bytes(b"mine")
    with pytest.raises(ValueError, match="holds Parquet files of something else"):
        begun(tmp_path)
    assert (tmp_path / "part-000000.parquet").read_bytes() == b"mine" and os.listdir(tmp_path) == ["part-000000.parquet"]


def test_settings_that_cannot_be_read_are_named(tmp_path):
    begun(tmp_path)
    for text, said in (("{", "is no json"), (json.dumps({"schema": "dld-corpus/9"}), "is not of the schema dld-corpus/1")):
        (tmp_path / "_dld" / "settings.json").write_text(text)
        with pytest.raises(ValueError, match=said):
            begun(tmp_path)


def test_names_that_are_no_utf8_open_the_file_and_are_escaped_in_the_table(tmp_path):
    odd = os.fsdecode(b"/photos/caf\xe9.jpg")
    folder = begun(tmp_path, [odd])
    assert folder.pictures(0) == [odd]
    folder.write_part(0, [error_row(odd, f"{odd}\nis gone")])
    row = pq.read_table(tmp_path / "part-000000.parquet").to_pylist()[0]
    assert row["path"] == "/photos/caf\\udce9.jpg" and row["error"] == "/photos/caf\\udce9.jpg is gone"


def test_readers_of_parquet_folders_see_the_parts_alone(tmp_path):
    folder = begun(tmp_path)
    for part in range(3):
        folder.write_part(part, [error_row(path, "gone") for path in folder.pictures(part)])
    (tmp_path / "_dld" / "part-000001.parquet.ab.tmp").write_bytes(b"of a killed process")
    assert pq.read_table(tmp_path).column("path").to_pylist() == PICTURES
    folder.clear()
    assert sorted(os.listdir(tmp_path / "_dld")) == ["pictures.parquet", "settings.json"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_whole(str(tmp_path / "file" / "a.parquet"), b"x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="could not write .*taken"):
        write_whole(str(tmp_path / "taken"), b"x")
    assert list(Path(tmp_path / "_dld").iterdir()) == []
