"""Films go through frame by frame: rate, size and content are kept, memory is flat, mistakes are named."""

import os
import weakref

import cv2
import numpy as np
import pytest

from dld.inference import video
from dld.inference.predictor import spot_items
from dld.inference.video import VideoReader, VideoWriter


def film(path, frames=6, size=(64, 48), fps=12.5):
    """Frame k is of one grey, 30 k up to 240."""
    with VideoWriter(path, fps, size) as writer:
        for k in range(frames):
            writer.write(np.full((size[1], size[0], 3), 30 * (k % 9), np.uint8))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
@pytest.mark.parametrize("fps", [12.5, 29.97])
def test_what_was_written_is_read(tmp_path, name, fps):
    with VideoReader(film(tmp_path / "deep" / name, fps=fps)) as reader:
        assert reader.fps == pytest.approx(fps, rel=1e-3) and reader.size == (64, 48) and reader.count == 6
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.seconds for frame in frames] == pytest.approx([k / fps for k in range(6)], abs=2e-3)
    assert [float(frame.pixels.mean()) for frame in frames] == pytest.approx([30 * k for k in range(6)], abs=6)
    assert frames[0].pixels.shape == (48, 64, 3) and frames[0].pixels.dtype == np.uint8


def test_a_film_whose_name_is_no_utf8_is_read_and_none_is_written(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    os.rename(film(tmp_path / "a.mp4"), name)
    with VideoReader(name) as reader:
        assert reader.name == name and len(list(reader)) == 6
    with pytest.raises(ValueError, match=r"caf\udce9\.mp4 cannot be written: OpenCV writes films under names in UTF-8 only"):
        VideoWriter(name, 12.5, (64, 48))


def test_an_odd_side_loses_its_last_row(tmp_path):
    with VideoReader(film(tmp_path / "odd.mp4", size=(65, 49))) as reader:
        assert reader.size == (64, 48) and len(list(reader)) == 6


def test_frames_are_decoded_when_they_are_asked_for_and_let_go(tmp_path):
    class Reading:
        """A spotter that gives the mean grey of every picture."""

        def __call__(self, pictures, **_):
            return (float(picture.mean()) for picture in pictures)

    alive, most, decoded = weakref.WeakSet(), 0, 0
    with VideoReader(film(tmp_path / "long.avi", frames=200)) as reader:

        def frames():
            nonlocal decoded
            for frame in reader:
                alive.add(frame)
                decoded += 1
                yield frame

        for frame, grey in spot_items(Reading(), frames()):
            most = max(most, len(alive))
            assert decoded == frame.index + 1
            assert grey == pytest.approx(frame.pixels.mean())
    assert decoded == 200 and most <= 2


def test_a_camera_without_frame_rate_and_a_broken_header(monkeypatch, tmp_path):
    class Capture:
        def __init__(self, source):
            self.left = 3

        def isOpened(self):
            return True

        def get(self, key):
            return {cv2.CAP_PROP_FRAME_WIDTH: 4, cv2.CAP_PROP_FRAME_HEIGHT: 2, cv2.CAP_PROP_FRAME_COUNT: -1}.get(key, 0.0)

        def read(self):
            self.left -= 1
            return self.left >= 0, np.zeros((2, 4, 3), np.uint8)

        def release(self):
            pass

    monkeypatch.setattr(video.cv2, "VideoCapture", Capture)
    camera = VideoReader(0)
    assert (camera.name, camera.fps, camera.size, camera.count) == ("camera 0", 25, (4, 2), None)
    seconds = [frame.seconds for frame in camera]
    assert len(seconds) == 3 and seconds == sorted(seconds) and seconds[-1] < 5
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert [frame.seconds for frame in VideoReader(tmp_path / "a.mp4")] == [0, 1 / 25, 2 / 25]


def test_mistakes_are_named(tmp_path, capfd):
    with pytest.raises(FileNotFoundError, match=r"film .*missing\.mp4 does not exist"):
        VideoReader(str(tmp_path / "missing.mp4"))
    (tmp_path / "notes.mp4").write_text("no film")
    with pytest.raises(ValueError, match=r"cannot read film .*notes\.mp4: it is damaged, or OpenCV has no decoder"):
        VideoReader(tmp_path / "notes.mp4")
    with pytest.raises(ValueError, match="camera 77 cannot be opened"):
        VideoReader(77)
    with pytest.raises(ValueError, match=r"films are written as \.mp4 or \.avi, not as a\.gif"):
        VideoWriter(tmp_path / "a.gif", 25, (64, 48))
    with (
        VideoWriter(tmp_path / "a.mp4", 25, (64, 48)) as writer,
        pytest.raises(ValueError, match=r"a\.mp4 has frames of 64 x 48, got an array \(64, 48, 3\)"),
    ):
        writer.write(np.zeros((64, 48, 3), np.uint8))


def test_without_an_encoder_nothing_is_left_behind(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(video, "CODECS", {".mp4": ("XXXX",)})
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be written: OpenCV has no encoder XXXX here"):
        VideoWriter(tmp_path / "a.mp4", 25, (64, 48))
    assert not list(tmp_path.iterdir())
