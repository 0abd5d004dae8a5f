"""What is on disk while pictures are read, and after."""

import json

import numpy as np
import pytest

from dld.inference import output_files
from dld.inference.output_files import DrawnFilm, ResultLog, save_drawing
from dld.inference.video import VideoReader
from dld.structures.words import SpottingResult, Word, read_results


def result(name="a.jpg", width=64, height=48, **more):
    return SpottingResult(None, name, width, height, [Word("Café", [[1, 30], [40.3, 30], [40, 45]], 0.9)], **more)


def test_a_line_is_on_disk_before_the_next_picture(tmp_path):
    lines, document = tmp_path / "out" / "results.jsonl", tmp_path / "out" / "results.json"
    document.parent.mkdir()
    document.write_text("of an earlier run")
    with ResultLog(lines, document) as log:
        assert not document.exists()
        log.add(result(), drawing="a.jpg")
        log.add(result("clip.mp4", scale=0.5), frame=0, seconds=0.0)
        read = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
        assert [r["words"][0]["text"] for r in read] == ["Café"] * 2
        assert read[0]["drawing"] == "a.jpg" and read[1]["frame"] == 0 and read[1]["scale"] == 0.5
    assert [r.to_dict() for r in read_results(document)] == [result().to_dict(), result("clip.mp4", scale=0.5).to_dict()]


def test_what_was_read_before_an_error_is_complete(tmp_path):
    with pytest.raises(KeyboardInterrupt), ResultLog(tmp_path / "r.jsonl", tmp_path / "r.json") as log:
        log.add(result())
        raise KeyboardInterrupt
    assert len(read_results(tmp_path / "r.json")) == 1


def test_a_picture_too_long_for_jpeg_is_drawn_smaller(tmp_path, monkeypatch):
    from PIL import Image

    pixels = np.full((48, 64, 3), 120, np.uint8)
    save_drawing(result(), pixels, tmp_path / "deep" / "a.jpg")
    assert Image.open(tmp_path / "deep" / "a.jpg").size == (64, 48)
    monkeypatch.setattr(output_files, "LONGEST_JPEG", 32)
    save_drawing(result(), pixels, tmp_path / "b.jpg")
    assert Image.open(tmp_path / "b.jpg").size == (32, 24)


def test_a_film_without_frames_leaves_no_file(tmp_path):
    with DrawnFilm(tmp_path / "none.mp4", 25):
        pass
    with DrawnFilm(tmp_path / "one.mp4", 12.5) as film:
        for _ in range(3):
            film.add(result(), np.full((48, 64, 3), 120, np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["one.mp4"]
    with VideoReader(tmp_path / "one.mp4") as reader:
        frames = [frame.pixels for frame in reader]
        assert len(frames) == 3 and reader.fps == 12.5 and reader.size == (64, 48)
    green = np.abs(frames[0].astype(int) - [83, 200, 0]).max(2) < 60  # the first colour of words, in BGR
    assert green[:, :45].sum() > 30 and not green[:, 55:].any()
