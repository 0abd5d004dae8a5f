"""Reads films and cameras frame by frame: at most a batch of frames is in memory.

OpenCV decodes and encodes. Frames come upright (OpenCV applies the rotation that phones store).
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

__all__ = ["CODECS", "Frame", "VideoReader", "VideoWriter"]

# Cameras and broken headers name no frame rate, or an absurd one.
USUAL_FPS = 25.0

# Ending of the file -> codes tried in this order. Every build of OpenCV with FFmpeg has mp4v, every build has MJPG.
CODECS = {".mp4": ("mp4v",), ".avi": ("MJPG",)}


@dataclass(eq=False)
class Frame:
    """One picture of a film.

    Args:
        index: from 0.
        seconds: since the beginning of the film, or since the camera was first read.
        pixels: uint8 BGR (H, W, 3).
    """

    index: int
    seconds: float
    pixels: np.ndarray


class VideoReader:
    """The frames of a film or camera, read on demand.

    Args:
        source: a file, or the number of a camera.

    Attributes:
        name: the file's path, or "camera 0".
        fps: frames a second as the file says; 25 where it does not.
        size: width and height in pixels.
        count: frames that the file's header claims (it may be wrong), or None where it claims nothing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be opened: no film, no codec for it, no such camera.
    """

    def __init__(self, source: str | os.PathLike | int) -> None:
        self._camera = isinstance(source, int)
        if isinstance(source, int):
            self.name = f"camera {source}"
            self._capture = cv2.VideoCapture(source)
        else:
            self.name = os.fspath(source)
            if not Path(source).is_file():
                raise FileNotFoundError(f"film {self.name} does not exist")
            self._capture = _open_film(self.name)
        if not self._capture.isOpened():
            if self._camera:
                raise ValueError(f"{self.name} cannot be opened: is it connected, and free?")
            raise ValueError(
                f"cannot read film {self.name}: it is damaged, or OpenCV has no decoder for it (ffmpeg -i {self.name} "
                "-c:v libx264 again.mp4 makes one that it can read)"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if math.isfinite(fps) and 0 < fps <= 1000 else USUAL_FPS
        self.size = tuple(int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if not self._camera and math.isfinite(count) and count > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames from where reading stands.

        Raises:
            ValueError: not even one can be decoded.
        """
        index, start = 0, time.monotonic()
        while True:
            found, pixels = self._capture.read()
            if not found:
                break
            yield Frame(index, time.monotonic() - start if self._camera else self._seconds(index), pixels)
            index += 1
        if not index:
            raise ValueError(f"cannot read {self.name}: not one frame could be decoded")

    def _seconds(self, index: int) -> float:
        """Return when the frame just decoded is shown: its time stamp, because frames may come at uneven distances."""
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp if math.isfinite(stamp) and (stamp > 0 or not index) else index / self.fps

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _open_film(name: str) -> cv2.VideoCapture:
    """Open OpenCV's reader of a file of any name; given a name that is no UTF-8, OpenCV would end the process."""
    if _is_utf8(name):
        return cv2.VideoCapture(name)
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, f"film{Path(name).suffix}")
        os.symlink(os.path.abspath(name), link)
        return cv2.VideoCapture(link)  # which holds the file open, so that the link may go


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class VideoWriter:
    """Writes a film of given frame rate; frames are encoded as they come.

    Its sides are those of the frames, except that codecs allow even sides only: an odd side loses its last row or column.

    Args:
        path: ends in .mp4 (MPEG-4) or .avi (motion JPEG, which any OpenCV can write).
        fps: frames a second.
        size: width and height of every frame in pixels.

    Raises:
        ValueError: another ending, no codec for it in this build of OpenCV, or a name that is no UTF-8.
    """

    def __init__(self, path: str | os.PathLike, fps: float, size: tuple[int, int]) -> None:
        self.path, self.fps, self.size = Path(path), float(fps), tuple(size)
        codes = CODECS.get(self.path.suffix.lower())
        if codes is None:
            raise ValueError(f"films are written as {' or '.join(CODECS)}, not as {self.path.name}")
        if not _is_utf8(str(self.path)):
            raise ValueError(f"{self.path} cannot be written: OpenCV writes films under names in UTF-8 only")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for code in codes:
            self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*code), self.fps, self.size)
            if self._writer.isOpened():
                return
        self.path.unlink(missing_ok=True)
        raise ValueError(f"{self.path} cannot be written: OpenCV has no encoder {' or '.join(codes)} here; try another ending")

    def write(self, pixels: np.ndarray) -> None:
        """Append a frame, uint8 BGR (H, W, 3).

        Raises:
            ValueError: it is of another size; OpenCV would drop it silently.
        """
        if pixels.shape != (self.size[1], self.size[0], 3):
            raise ValueError(f"{self.path} has frames of {self.size[0]} x {self.size[1]}, got an array {pixels.shape}")
        self._writer.write(np.ascontiguousarray(pixels))

    def close(self) -> None:
        self._writer.release()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_) -> None:
        self.close()
