"""Runs several readers on the same photos: all of them read a photo before the next one begins.

So all meet the machine in the same state. The order changes from photo to photo (:func:`reading_order`). Time counts from
pixels in memory to words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dld.benchmark.timing import seconds_of
from dld.compare.readers import Reader
from dld.data.build import get_text_dataset
from dld.data.dataset_mapper import read_dict_image
from dld.evaluation.ground_truth import GroundTruthWord, ground_truth_of
from dld.evaluation.matching import match_image, score_dataset
from dld.evaluation.protocol import Protocol
from dld.evaluation.text_evaluator import dataset_protocol
from dld.evaluation.transcription import handed_in
from dld.structures.words import SpottingResult
from dld.study.cache import MeasurementCache, file_label, fingerprint
from dld.utils.unfinished import UnfinishedError

__all__ = ["PhotoSet", "ReadingError", "draw_readings", "measure_readers", "open_cache", "reading_order", "scored_entries"]

# onnxruntime's threads look for new work for a while before they sleep, about 50 ms, and would slow the next reader
PAUSE = 0.1


class ReadingError(UnfinishedError):
    """A reader failed on a photo; the message names both, the cause says where."""


@dataclass(frozen=True)
class PhotoSet:
    """The first `count` images of a registered data set."""

    name: str
    images: Sequence[dict]
    protocol: Protocol
    count: int

    @classmethod
    def open(cls, name: str, limit: int = 0, punctuation: str = "kept") -> PhotoSet:
        """Open a registered data set, or its first `limit` images.

        Args:
            punctuation: what the words of all readers keep of it, see :class:`~dld.evaluation.protocol.Protocol`.

        Raises:
            KeyError, FileNotFoundError, ValueError: an unknown or unprepared data set, or no images in it.
        """
        images = get_text_dataset(name)
        count = min(limit, len(images)) if limit > 0 else len(images)
        if limit < 0 or not count:
            raise ValueError(f"data set {name!r} has {len(images)} images, {limit} were asked for")
        return cls(name, images, dataset_protocol(name, punctuation), count)

    def key(self) -> dict:
        """Return what of the images decides a result; their number does not."""
        content = "generated"
        if isinstance(self.images, list):
            content = fingerprint([[d["image_id"], d.get("file_name"), _texts_and_places(d)] for d in self.images])
        return {"dataset": self.name, "content": content, "protocol": self.protocol.name}

    def photo(self, index: int) -> tuple[str, np.ndarray, list[GroundTruthWord]]:
        """Return identifier, pixels (uint8 BGR, upright, in the file's resolution) and annotated words of an image.

        Raises:
            ValueError: the file cannot be read, or is not of the annotated size.
        """
        record = self.images[index]
        return str(record["image_id"]), np.ascontiguousarray(read_dict_image(record)), ground_truth_of(record)


def _texts_and_places(record: dict) -> list:
    return [[word.text, word.ignore, word.polygon.tolist()] for word in ground_truth_of(record)]


def reading_order(count: int, index: int) -> list[int]:
    """Return the order in which `count` readers read photo `index`.

    Over 2 x `count` photos every reader has every place twice, and reads twice after each of the others: a reader that leaves
    the machine cold (such as a separate program) comes before each of the others equally often. This is the square of
    Williams (1949): 0, 1, -1, 2, -2, ..., moved on by one with each photo and reversed after each round.
    """
    zigzag = [(step + 1) // 2 * (1 if step % 2 else -1) for step in range(count)]
    order = [(place + index) % count for place in zigzag]
    return order if (index // count) % 2 == 0 else order[::-1]


def open_cache(folder: Path, photos: PhotoSet, readers: Sequence[Reader], machine: dict) -> MeasurementCache:
    """Open what was measured before of exactly this comparison: these photos, readers, options, versions and machine.

    A further reader, or another version of one, makes another comparison: its times would not have been taken in turns.
    """
    key = {**photos.key(), "readers": {reader.name: dict(reader.about) for reader in readers}, "machine": machine}
    return MeasurementCache(folder, photos.name, key)


def measure_readers(
    photos: PhotoSet,
    readers: Sequence[Reader],
    cache: MeasurementCache,
    *,
    warm_up: int = 2,
    pause: float = PAUSE,
    clock: Callable[[Callable[[], object]], float] = seconds_of,
) -> int:
    """Read every photo with all readers, unless the cache has it; return how many photos were read.

    Args:
        cache: gets for each photo its `image_id` and, under `readers`, by name and in the order of reading: `ms`, `counts`
            (task -> matched, detections, words) and `result` (:meth:`SpottingResult.to_dict`).
        warm_up: photos that all readers read first, uncounted.
        pause: seconds of rest before each reading.
        clock: seconds of a call.

    Raises:
        ReadingError: a reader failed.
        ValueError: a photo that cannot be read.
    """
    missing = [index for index in range(photos.count) if index not in cache]
    stored = replace(photos.protocol, punctuation="kept")
    for index in missing[:warm_up]:
        name, pixels, _ = photos.photo(index)
        for reader in readers:
            _read(reader, name, pixels.copy(), [])
    with tqdm(total=photos.count, initial=photos.count - len(missing), desc=photos.name, unit="photo", disable=None) as bar:
        for index in missing:
            name, pixels, truth = photos.photo(index)
            found = {}
            for place in reading_order(len(readers), index):
                reader = readers[place]
                given = pixels.copy()  # whatever a reader does to its pixels, the next one gets the photo
                results: list[SpottingResult] = []
                time.sleep(pause)
                seconds = clock(partial(_read, reader, name, given, results))
                found[reader.name] = _entry(results[0], 1000 * seconds, truth, stored)
            cache.add(index, {"image_id": name, "readers": found})
            bar.update()
    return len(missing)


def _read(reader: Reader, name: str, pixels: np.ndarray, results: list[SpottingResult]) -> None:
    try:
        results.append(reader(pixels))
    except Exception as error:  # other packages raise errors of any kind
        raise ReadingError(f"{reader.name} failed on photo {name}: {type(error).__name__}: {error}") from error
    results[-1].image_id = name


def _entry(result: SpottingResult, ms: float, truth: list[GroundTruthWord], protocol: Protocol) -> dict:
    return {"ms": ms, "counts": _counts(result, truth, protocol), "result": result.to_dict()}


def _counts(result: SpottingResult, truth: list[GroundTruthWord], protocol: Protocol) -> dict[str, list[int]]:
    scores = score_dataset({result.image_id: truth}, {result.image_id: handed_in(result.words, protocol)}, protocol)
    return {task: list(score.per_image[result.image_id]) for task, score in scores.items()}


def scored_entries(photos: PhotoSet, cache: MeasurementCache) -> list[dict]:
    """Return what :func:`measure_readers` stored of all photos. The counts that it stores are of words with their punctuation:
    where the protocol of `photos` keeps less of it, these words are counted anew."""
    entries = [cache[index] for index in range(photos.count)]
    if photos.protocol.punctuation == "kept":
        return entries
    rescored = []
    for index, entry in enumerate(entries):
        truth = ground_truth_of(photos.images[index])
        readers = {
            name: {**read, "counts": _counts(SpottingResult.from_dict(read["result"]), truth, photos.protocol)}
            for name, read in entry["readers"].items()
        }
        rescored.append({**entry, "readers": readers})
    return rescored


def draw_readings(photos: PhotoSet, cache: MeasurementCache, folder: Path, count: int) -> int:
    """Draw the first photos with the words of each reader as `folder/DATASET_PHOTO_READER.jpg`; return how many pictures.

    What counts against a reader end to end (misread words and detections that are no words) is red, what is not scored grey.
    """
    drawn = 0
    for index in range(min(count, photos.count)):
        name, pixels, truth = photos.photo(index)
        for reader, entry in cache[index]["readers"].items():
            result = SpottingResult.from_dict(entry["result"])
            verdicts = match_image(truth, handed_in(result.words, photos.protocol), photos.protocol, "e2e").verdicts.detections
            picture = result.draw(
                pixels,
                wrong=[verdict in ("misread", "false") for verdict in verdicts],
                dont_care=[verdict == "dont_care" for verdict in verdicts],
                caption=f"{reader}: {sum(verdict == 'right' for verdict in verdicts)} of {entry['counts']['e2e'][2]} words",
            )
            path = folder / f"{file_label(f'{photos.name}_{name}_{reader}')}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=92)
            drawn += 1
    return drawn
