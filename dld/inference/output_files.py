"""What reading leaves in a folder: a drawing or film each, results.jsonl as it goes, results.json at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dld.documents.page import LONGEST_JPEG
from dld.inference.video import VideoWriter
from dld.structures.words import SpottingResult, write_results

__all__ = ["DrawnFilm", "ResultLog", "save_drawing"]


class ResultLog:
    """Results as lines of json, each on disk before the next picture is read, and as one file at the end.

    A line is an image of the schema dld-results/1 (see `dld.structures.words`) with further values; results.json holds the
    same images and is written from those lines, so that the results need not all fit in memory.

    Args:
        lines: the .jsonl file; an earlier one is overwritten.
        document: the .json file.
    """

    def __init__(self, lines: Path, document: Path) -> None:
        self.lines, self.document = lines, document
        lines.parent.mkdir(parents=True, exist_ok=True)
        document.unlink(missing_ok=True)  # of an earlier run: it would belong to other lines until the end
        # a file name that is no UTF-8 is escaped, and json reads it back as it was
        self._file = open(lines, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  closed by close()

    def add(self, result: SpottingResult, **more) -> None:
        """Write a line now; `more` are further plain values."""
        values = {**result.to_dict(), **more}
        self._file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the lines and write the document."""
        self._file.close()
        write_results(self.document, self._images())

    def _images(self) -> Iterator[SpottingResult]:
        with open(self.lines, encoding="utf-8") as f:
            for line in f:
                yield SpottingResult.from_dict(json.loads(line))

    def __enter__(self) -> ResultLog:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def save_drawing(result: SpottingResult, pixels: np.ndarray, path: Path, font_path: str | None = None) -> None:
    """Save the picture with its words as a JPEG; one whose sides are too long for JPEG becomes smaller.

    Args:
        pixels: uint8 BGR (H, W, 3) that were read.
    """
    drawing = result.draw(pixels, font_path)
    if max(drawing.size) > LONGEST_JPEG:
        drawing.thumbnail((LONGEST_JPEG, LONGEST_JPEG))
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.save(path, quality=92)


class DrawnFilm:
    """A film of drawn frames; the first frame opens it and gives it its size.

    Args:
        path: as :class:`~dld.inference.video.VideoWriter` takes it.
        fps: frames a second of the film that is read.
        font_path: a font with the script of the words.
    """

    def __init__(self, path: Path, fps: float, font_path: str | None = None) -> None:
        self.path, self.fps, self.font_path = path, fps, font_path
        self._writer: VideoWriter | None = None

    def add(self, result: SpottingResult, pixels: np.ndarray) -> None:
        """Draw the words on their frame, uint8 BGR (H, W, 3), and append it.

        Raises:
            ValueError: the film cannot be written, or the frame is of another size than the first.
        """
        if self._writer is None:
            self._writer = VideoWriter(self.path, self.fps, (pixels.shape[1], pixels.shape[0]))
        self._writer.write(np.asarray(result.draw(pixels, self.font_path))[:, :, ::-1])

    def __enter__(self) -> DrawnFilm:
        return self

    def __exit__(self, *_) -> None:
        if self._writer is not None:
            self._writer.close()
