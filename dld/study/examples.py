"""Reads images of a study again with their words: pictures for each scale that a selector chose, the report's gallery.

The study's own cache keeps numbers only; a study may have a hundred thousand images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from dld.data.dataset_mapper import read_dict_image
from dld.drawing.visualizer import TextVisualizer
from dld.structures.words import SpottingResult, result_from_instances
from dld.study.cache import MeasurementCache, file_label
from dld.study.measure import Measurement, StudySet

__all__ = ["ExampleReader", "draw_examples", "pick_examples"]


class ExampleReader:
    """Reads single images as a measurement did, and keeps their words beside it: a report made again runs no network.

    Args:
        measurement: of a spotter at a fixed scale or at its own choice.
    """

    def __init__(self, measurement: Measurement) -> None:
        self.spotter, self.scale = measurement.spotter, measurement.scale
        folder = measurement.cache.path.parent
        label = f"{self.spotter.name}_words" + (f"_{self.scale:g}" if self.scale is not None else "")
        self.cache = MeasurementCache(folder, label, {**measurement.cache.key, "what": "words"})

    def read(self, index: int, record: dict) -> SpottingResult:
        """Read the words of image `index` in pixels of the original.

        Args:
            record: the mapped image.
        """
        if index not in self.cache:
            self.cache.add(index, self._run(record).to_dict())
        return SpottingResult.from_dict(self.cache[index])

    @torch.inference_mode()
    def _run(self, record: dict) -> SpottingResult:
        self.spotter.set_scale(self.scale)
        output = self.spotter.model([record])[0]
        spent = {key: float(output[key]) for key in ("scale", "cost", "gflops")}
        return result_from_instances(output["instances"], str(record["image_id"]), **spent)


def pick_examples(chosen: Sequence[float], per_scale: int) -> list[int]:
    """Return the indices of the first `per_scale` images of every chosen scale, scales ascending."""
    picked = []
    for scale in sorted(set(chosen)):
        picked += [index for index, s in enumerate(chosen) if s == scale][:per_scale]
    return picked


def draw_examples(measurement: Measurement, images: StudySet, folder: Path, per_scale: int) -> int:
    """Draw `scale_S_NAME_INDEX.jpg` with the words read and the scale chosen; earlier drawings stay.

    A list beside the pictures names the measurement that they show: pictures of other weights are drawn again or removed.

    Args:
        measurement: of a spotter at its own choice.

    Returns:
        the number of pictures drawn now.
    """
    folder = Path(folder)
    spotter, count = measurement.spotter, images.count
    label = file_label(spotter.name)
    chosen = [reading.scale for reading in measurement.readings(count)]
    wanted = {f"scale_{chosen[i]:g}_{label}_{i:05d}.jpg": i for i in pick_examples(chosen, per_scale)}
    listed = folder / f"{label}.json"
    before = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else {"of": None, "pictures": []}
    same = before["of"] == measurement.cache.path.name
    for name in before["pictures"]:
        if not same or name not in wanted:
            (folder / name).unlink(missing_ok=True)
    missing = {name: index for name, index in wanted.items() if not (folder / name).exists()}
    reader = ExampleReader(measurement)
    for name, index in missing.items():
        item = images.images[index]
        picture = read_dict_image(item)
        visualizer = TextVisualizer(picture[:, :, ::-1])
        visualizer.draw_spotting(reader.read(index, images.mapper({**item, "image": picture})))
        visualizer.get_output().save(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"of": measurement.cache.path.name, "pictures": list(wanted)}
    listed.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return len(missing)
