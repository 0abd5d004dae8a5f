"""SynthText: 858,750 images with 7.2 M words, converted once and then streamed.

The official `gt.mat` must be unpickled as a whole (some GB). `convert_synth_text` does it once and leaves

- `annotations.jsonl`: one image per line, as in the "images" list of `dld.data.annotation`;
- `annotations.npy`: int64 (N + 1,), where each line begins, and the end of the last.

`SynthTextRecords` maps the index into memory and reads one line per item: what a worker holds does not grow with N.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from dld.data.annotation import (
    ImageAnnotation,
    TextAnnotation,
    images_from_document,
    is_plain_relative,
    to_dataset_dict,
    word_to_json,
)
from dld.data.datasets.image_files import image_size
from dld.data.repair import RepairCounts, repair_annotations
from dld.structures.polygon import LARGEST_PIXEL

__all__ = ["SynthTextRecords", "convert_synth_text", "words_from_matlab"]

RECORDS, INDEX = "annotations.jsonl", "annotations.npy"


def words_from_matlab(boxes: np.ndarray, texts: np.ndarray, characters: np.ndarray | None = None) -> list[TextAnnotation]:
    """Return the words of one image.

    Args:
        boxes: `wordBB`, (2, 4, R) x and y of four corners; (2, 4) where the image has one word.
        texts: `txt`, strings of one or more words between spaces and line ends, R words in all.
        characters: `charBB`, (2, 4, n) corners of the n characters of all words in their order; words have none where n is
            another number, or a coordinate is none.

    Raises:
        ValueError: other shapes, or another number of words than boxes.
    """
    # to a hundredth of a pixel: gt.mat gives 14 digits, which would double the converted file
    boxes = np.asarray(boxes, dtype=np.float64).round(2)
    boxes = boxes[:, :, None] if boxes.ndim == 2 else boxes
    if boxes.ndim != 3 or boxes.shape[:2] != (2, 4):
        raise ValueError(f"expected wordBB of shape (2, 4, R), got {boxes.shape}")
    if not (np.abs(boxes) <= LARGEST_PIXEL).all():
        raise ValueError("a coordinate of wordBB is no finite number of pixels")
    words = " ".join(str(text) for text in np.asarray(texts).reshape(-1)).split()
    if len(words) != boxes.shape[2]:
        raise ValueError(f"{boxes.shape[2]} boxes but {len(words)} words: {' '.join(words)[:80]!r}")
    annotated = [TextAnnotation(box, word) for box, word in zip(boxes.transpose(2, 1, 0), words, strict=True)]
    corners = _character_corners(characters, sum(map(len, words)))
    if corners is not None:
        ends = np.cumsum([len(word) for word in words])
        for word, own in zip(annotated, np.split(corners, ends[:-1]), strict=True):
            word.characters = own
    return annotated


def _character_corners(characters: np.ndarray | None, count: int) -> np.ndarray | None:
    """Return `charBB` as (count, 4, 2), to a tenth of a pixel; None where it is not that of so many characters."""
    if characters is None:
        return None
    corners = np.asarray(characters)
    corners = corners[:, :, None] if corners.ndim == 2 else corners
    if corners.shape != (2, 4, count) or corners.dtype.kind not in "fiu" or not (np.abs(corners) <= LARGEST_PIXEL).all():
        return None
    return corners.astype(np.float64).round(1).transpose(2, 1, 0)


def _read_matlab(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f"reading {path} needs scipy, once: `pip install scipy`") from error
    keys = ("imnames", "wordBB", "txt")
    try:
        table = loadmat(str(path), variable_names=(*keys, "charBB"))
        names, boxes, texts = (table[key].reshape(-1) for key in keys)
        return names, boxes, texts, table["charBB"].reshape(-1) if "charBB" in table else None
    except Exception as error:  # scipy raises errors of many kinds for damaged files
        raise ValueError(f"{path}: expected SynthText's Matlab file with {', '.join(keys)} ({error!r})") from error


def convert_synth_text(matlab_file: str | Path, image_root: str | Path, output: str | Path) -> RepairCounts:
    """Write `annotations.jsonl` and its index into `output`.

    Args:
        matlab_file: the official `gt.mat`.
        image_root: folder with the folders "1" to "200" of images; the header of each image is read for its size.
        output: folder, made if missing; an old conversion stays whole until the new one is complete.

    Returns:
        what was counted and repaired.

    Raises:
        FileNotFoundError: the Matlab file or an image is missing.
        ValueError: not SynthText's file; names the image where the words do not fit.
        ImportError: scipy is missing.
    """
    matlab_file, image_root, output = Path(matlab_file), Path(image_root), Path(output)
    if not matlab_file.is_file():
        raise FileNotFoundError(f"Matlab file {matlab_file} does not exist")
    names, boxes, texts, characters = _read_matlab(matlab_file)
    if characters is not None and len(characters) != len(names):
        raise ValueError(f"{matlab_file}: charBB is of {len(characters)} images, not of {len(names)}")
    output.mkdir(parents=True, exist_ok=True)
    offsets = np.zeros(len(names) + 1, dtype=np.int64)
    counts = RepairCounts()
    temporary, temporary_index = (output / f".{os.getpid()}.{name}" for name in (RECORDS, INDEX))
    try:
        with open(temporary, "wb") as file:
            for i in tqdm(range(len(names)), desc="SynthText", unit="image", disable=None):
                name = str(np.asarray(names[i]).reshape(-1)[0])
                try:
                    if not is_plain_relative(name):
                        raise ValueError("its name points outside of the folder")
                    words = words_from_matlab(boxes[i], texts[i], None if characters is None else characters[i])
                except ValueError as error:
                    raise ValueError(f"{matlab_file}: image {i} ({name}): {error}") from None
                width, height, _ = image_size(image_root / name)
                image = ImageAnnotation(name, name.rpartition(".")[0], width, height, words)
                counts += repair_annotations([image])
                if characters is not None:
                    counts.without_characters += sum(word.characters is None for word in words)
                file.write(_line(image))
                offsets[i + 1] = file.tell()
        np.save(temporary_index, offsets)
        os.replace(temporary_index, output / INDEX)
        os.replace(temporary, output / RECORDS)
    finally:
        temporary.unlink(missing_ok=True)
        temporary_index.unlink(missing_ok=True)
    return counts


def _line(image: ImageAnnotation) -> bytes:
    words = [word_to_json(word) for word in image.words]
    record = {"file_name": image.file_name, "id": image.image_id, "width": image.width, "height": image.height}
    return (json.dumps({**record, "words": words}, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


class SynthTextRecords(Dataset):
    """The converted SynthText as a map-style data set of detectron2 dataset dicts.

    Args:
        folder: holds `annotations.jsonl` and `annotations.npy`.
        image_root: folder the file names are relative to.

    Raises:
        FileNotFoundError: not converted yet.
        ValueError: the two files do not belong together.
    """

    def __init__(self, folder: str | Path, image_root: str | Path):
        self.records, self.image_root = Path(folder) / RECORDS, Path(image_root)
        index = Path(folder) / INDEX
        for path in (self.records, index):
            if not path.is_file():
                raise FileNotFoundError(f"{path} does not exist")
        self.offsets = np.load(index, mmap_mode="r")
        if self.offsets.ndim != 1 or not len(self.offsets) or self.offsets[-1] != self.records.stat().st_size:
            raise ValueError(f"{index} is not the index of {self.records}: convert SynthText again")
        self._file: int | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # negative indices count from the end, others raise IndexError
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        if self._file is None:
            self._file = os.open(self.records, os.O_RDONLY)
        # pread has no position of its own: forked workers and threads may share the descriptor
        record = json.loads(os.pread(self._file, end - start, start))
        return to_dataset_dict(images_from_document({"images": [record]})[0], self.image_root)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "offsets": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["records"].parent, state["image_root"])

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)
