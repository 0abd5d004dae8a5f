"""Measures spotters at their scales, image by image: the part of the study that runs networks.

Every image is rendered or read once and then given to every model at every scale that has not seen it yet. So all of
them meet the machine in the same state, and an interruption loses at most one image.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from tqdm import tqdm

from dld import __version__
from dld.config import read_without_teacher
from dld.config_files import merge_overrides
from dld.data.dataset_mapper import TextDatasetMapper
from dld.evaluation.ground_truth import GroundTruthWord, ground_truth_of
from dld.evaluation.matching import score_dataset
from dld.evaluation.protocol import Protocol
from dld.evaluation.transcription import handed_in
from dld.inference.budget import ScaleScores, score_images
from dld.inference.predictor import TextSpotter
from dld.model_zoo import weights_id
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.resolution.cost import CostTable
from dld.structures.words import SpottingResult, result_from_instances
from dld.study.cache import MeasurementCache, fingerprint
from dld.study.table import Reading
from dld.weights import config_from_checkpoint

__all__ = ["Measurement", "StudiedSpotter", "StudySet", "measure", "spotter_config", "word_heights"]


def spotter_config(weights: str, opts: Sequence[str] = ()) -> CfgNode:
    """Load the configuration inside a checkpoint, with overrides, for reading: a distiller becomes the spotter it trained.

    Raises:
        FileNotFoundError, ValueError, KeyError: naming the file or the key.
    """
    cfg = config_from_checkpoint(weights)
    merge_overrides(cfg, opts)
    read_without_teacher(cfg)
    return cfg


@dataclass
class StudiedSpotter:
    """A model of the study; a plain spotter counts as one that is told its scale.

    Attributes:
        sha256: of the checkpoint, or what tells a variant from it (:func:`dld.model_zoo.weights_id`).
        selects: it chooses scales by itself.
    """

    name: str
    model: DynamicSpotter
    cfg: CfgNode
    sha256: str
    selects: bool

    @classmethod
    def load(cls, name: str, weights: str, opts: Sequence[str] = ()) -> StudiedSpotter:
        """Load a checkpoint with its configuration inside. Raises as :func:`spotter_config`."""
        spotter = TextSpotter(spotter_config(weights, opts))
        model = spotter.model
        if isinstance(model, Spotter):
            table, full = CostTable.measure(model, None, None, (1.0,)), 1.0
            model = DynamicSpotter(student=model, selector=None, scales=(full,), cost_table=table, fixed_scale=full)
            model.eval()
        selects = model.selector is not None and model.fixed_scale is None
        return cls(name, model, spotter.cfg, weights_id(weights), selects)

    def key(self) -> dict:
        """Return what of the model decides a result."""
        node = self.cfg.MODEL.clone()
        node.defrost()
        node.WEIGHTS, node.DISTILLATION.TEACHER_WEIGHTS, node.DEVICE = "", "", ""
        machine = {"threads": torch.get_num_threads(), "device": self.model.device.type}
        return {"weights": self.sha256, "model": fingerprint(node.dump()), "dld": __version__, **machine}

    def set_scale(self, scale: float | None) -> None:
        """Read every image at this scale; None: let the selector choose."""
        if scale is None and not self.selects:
            raise ValueError(f"{self.name} has no resolution selector that could choose a scale")
        self.model.fixed_scale = scale


@dataclass
class StudySet:
    """The images of a study: the first `count` of a data set, resized as in the teacher's configuration."""

    name: str
    images: Sequence[dict]
    mapper: TextDatasetMapper
    protocol: Protocol
    count: int
    settings: dict = field(default_factory=dict)  # of a generated data set: what its images depend on

    def key(self) -> dict:
        """Return what of the images decides a result; their number does not."""
        content = self.settings
        if isinstance(self.images, list):
            content = [[d.get("file_name"), d["image_id"], [a["text"] for a in d["annotations"]]] for d in self.images]
        size = [self.mapper.short_sides[0], self.mapper.longest]
        return {"dataset": self.name, "content": fingerprint(content), "size": size, "protocol": self.protocol.title}


@dataclass
class Measurement:
    """A spotter at one scale on the images of a set, or (`scale` None) at its own choice, or its selector alone.

    Attributes:
        what: "read" or "score"; the second gives the selector's opinion of all scales and reads nothing.
        cache: one entry an image, as :func:`measure` fills it.
    """

    spotter: StudiedSpotter
    what: str
    scale: float | None
    cache: MeasurementCache
    warm: bool = False

    @classmethod
    def of(
        cls, spotter: StudiedSpotter, images: StudySet, folder: Path, scale: float | None = None, what: str = "read"
    ) -> Measurement:
        """Make a measurement whose cache lies in `folder`."""
        key = {**spotter.key(), **images.key(), "what": what, "scale": scale}
        if what == "read" and scale is None:
            key["mu"] = float(spotter.model.mu)
        label = f"{spotter.name}_{what}" + (f"_{scale:g}" if scale is not None else "")
        return cls(spotter, what, scale, MeasurementCache(folder, label, key))

    def readings(self, count: int) -> list[Reading]:
        """Return what was read in the first `count` images."""
        return [Reading.from_dict(self.cache[index]) for index in range(count)]

    def scores(self, count: int) -> ScaleScores:
        """Return the selector's scores and the costs of the first `count` images."""
        tables = ([self.cache[i][name] for i in range(count)] for name in ScaleScores._fields)
        return ScaleScores(*(np.array(table, dtype=np.float64) for table in tables))

    def run(self, record: dict, truth: list[GroundTruthWord], protocol: Protocol) -> dict:
        """Measure one mapped image; the first of a process is run twice, and timed the second time."""
        call = self._score if self.what == "score" else self._read
        if not self.warm:
            call(record)
            self.warm = True
        _synchronize(self.spotter.model)
        start = time.perf_counter()
        output = call(record)
        _synchronize(self.spotter.model)
        ms = 1000 * (time.perf_counter() - start)
        if self.what == "score":
            return {**output, "ms": ms}
        result = result_from_instances(output["instances"], str(record["image_id"]))
        counts = score_dataset({result.image_id: truth}, {result.image_id: handed_in(result.words, protocol)}, protocol)
        return Reading(
            float(output["scale"]),
            float(output["gflops"]),
            float(output["paper_gflops"]),
            ms,
            word_heights(result, record["image"].shape[-2]),
            {task: item.per_image[result.image_id] for task, item in counts.items()},
        ).to_dict()

    def _read(self, record: dict) -> dict:
        self.spotter.set_scale(self.scale)
        return self.spotter.model([record])[0]

    def _score(self, record: dict) -> dict:
        model = self.spotter.model
        images = model.normalize([record])
        scores = score_images(model, images)
        area = images[0].shape[-2] * images[0].shape[-1]
        own = {"selector_gflops": area * model.cost_table.selector_per_pixel / 1e9}
        return {**{name: table[0].tolist() for name, table in scores._asdict().items()}, **own}


def word_heights(result: SpottingResult, height: int) -> tuple[float, ...]:
    """Return the shorter side of the smallest rectangle around each word with a text, in pixels of an image `height` high."""
    zoom = height / result.height
    sides = (min(cv2.minAreaRect(np.asarray(w.polygon, dtype=np.float32))[1]) for w in result.words if w.text)
    return tuple(round(zoom * float(side), 2) for side in sides)


@torch.inference_mode()
def measure(images: StudySet, measurements: Sequence[Measurement], title: str = "study") -> int:
    """Fill the caches of all measurements, with a progress bar; return how many times a network ran for it.

    Raises:
        ValueError: an image that cannot be read; the message names it.
    """
    runs = 0
    for index in tqdm(range(images.count), desc=title, unit="image", disable=None):
        missing = [m for m in measurements if index not in m.cache]
        if not missing:
            continue
        record = images.mapper(images.images[index])
        truth = ground_truth_of(record)
        for measurement in missing:
            measurement.cache.add(index, measurement.run(record, truth, images.protocol))
            runs += 1
    return runs


def _synchronize(model: DynamicSpotter) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
