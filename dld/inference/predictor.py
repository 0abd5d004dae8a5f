"""Turns pictures into their words."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.config import configured_charset, forget_training_pages, read_without_teacher
from dld.config_files import merge_overrides
from dld.data.dataset_mapper import TextDatasetMapper
from dld.data.picture_batches import MOST_AT_ONCE, ReadBatch, ReadsPictures, open_batch, path_of, with_pixels
from dld.engine.checkpoint import WholeSpotterCheckpointer
from dld.inference.scale_choice import at_scale, dynamic, within_budget
from dld.model_zoo import weights_address
from dld.modeling.fused_norms import fuse_norms
from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.resolution.rescale import group_by_scale
from dld.structures.words import SpottingResult, result_from_instances
from dld.utils.device import present_device
from dld.utils.free_memory import MemoryReturner, keep_free_memory
from dld.utils.threads import ThreadsOfProcess, map_side_by_side
from dld.weights import config_from_checkpoint, load_weights_file

if TYPE_CHECKING:
    from dld.modeling.recognition.strip_recognizer import StripRecognizer
    from dld.runtime.onnx_spotter import OnnxTextSpotter

__all__ = ["TextSpotter", "config_from_checkpoint", "portable_config", "spot_items"]

Item = TypeVar("Item")

# scales and budgets may come from users of a service, each time another one
MOST_VIEWS = 32


def portable_config(cfg: CfgNode) -> CfgNode:
    """Return the configuration that goes with weights for reading: the charset inline, no path of the training machine."""
    cfg = cfg.clone()
    cfg.defrost()
    read_without_teacher(cfg)
    if cfg.MODEL.RECOGNITION.CHARSET_FILE:
        cfg.MODEL.RECOGNITION.CHARACTERS = "".join(configured_charset(cfg).characters)
        cfg.MODEL.RECOGNITION.CHARSET_FILE = ""
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = "", "output"
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = cfg.MODEL.DISTILLATION.TEACHER_CONFIG = ""
    cfg.DATASETS.REGISTER = []
    # a set that anybody has takes the place of sets that few have
    cfg.DATASETS.TRAIN, cfg.DATASETS.TRAIN_WEIGHTS = ("synthwords_train",), []
    forget_training_pages(cfg)
    return cfg


class TextSpotter(ReadsPictures):
    """Reads pictures with a trained spotter.

    Args:
        cfg: configuration with MODEL.WEIGHTS; MODEL.DEVICE falls back to the CPU where there is no CUDA.
        fuse: fold batch norm into the convolutions before it; this saves a tenth of the time of small pictures on a CPU.
            False keeps the weights as the file has them.

    Attributes:
        model: what it runs, in eval mode.
        budget_table: rows of mean cost and mu (see :func:`~dld.inference.scale_choice.mu_table`) where the weights were
            calibrated with one, else empty.

    Example::

        spotter = TextSpotter.from_pretrained("teacher_tiny")
        for word in spotter("photo.jpg").words:
            print(word.text, word.score, word.polygon)
    """

    def __init__(self, cfg: CfgNode, fuse: bool = True) -> None:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = present_device(cfg.MODEL.DEVICE)
        read_without_teacher(cfg)
        self.cfg = cfg
        self.model = build_model(cfg).eval()
        WholeSpotterCheckpointer(
            self.model, charset_transfer=cfg.MODEL.CHARSET_TRANSFER, trust_pickle=cfg.MODEL.TRUST_PICKLE
        ).load(cfg.MODEL.WEIGHTS)
        if cfg.MODEL.SELECTOR.MU and hasattr(self.model, "mu"):
            self.model.mu.fill_(cfg.MODEL.SELECTOR.MU)  # the configured mu, instead of the one stored with the weights
        if fuse:
            fuse_norms(self.model)
        self.mapper = TextDatasetMapper(cfg, False)
        self.budget_table: list[list[float]] = []
        if self.on_cpu:
            keep_free_memory()
        self._memory = MemoryReturner()
        self._threads = ThreadsOfProcess()
        self._views: dict[tuple, nn.Module] = {}  # the model told a scale or a budget; they share its networks

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        opts: Sequence = (),
        device: str | None = None,
        fuse: bool = True,
        charset: str = "",
        allow: str = "",
    ) -> TextSpotter:
        """Load a checkpoint of our trainer or packed weights, which hold their configuration.

        Args:
            path: the file, or shipped weights as `dld://NAME`.
            opts: configuration overrides, KEY VALUE KEY VALUE ...
            device: "cpu", "cuda", "cuda:1", ...; None: a GPU where there is one (MODEL.DEVICE among `opts` goes before that).
            fuse: see the class.
            charset: "ascii", "latin" (letters with accents, currency, quotes) or "all" that the reader of strips knows; empty:
                what the weights were made for.
            allow: the only characters that can be read, such as "0123456789."; empty: all of the charset. Spaces stay the gaps
                between words.

        Raises:
            FileNotFoundError, ValueError, KeyError: naming the file, the key or the device.
        """
        cfg = config_from_checkpoint(path)
        cfg.MODEL.DEVICE = "cuda"  # not that of the training machine
        merge_overrides(cfg, [*opts, *reading_options(charset, allow)])
        if (charset or allow) and not cfg.MODEL.RECOGNITION.READER:
            raise ValueError("charset and allow need a reader of strips, MODEL.RECOGNITION.READER StripRecognizer")
        if device is not None:
            cfg.MODEL.DEVICE = checked_device(device)
        spotter = cls(cfg, fuse)
        spotter.budget_table = json.loads(load_weights_file(os.fspath(path)).get("budget") or "{}").get("table", [])
        return spotter

    @classmethod
    def from_pretrained(
        cls, name: str, device: str | None = None, opts: Sequence = (), charset: str = "", allow: str = ""
    ) -> TextSpotter:
        """Load weights shipped with the package, whose hash is verified; `dld.model_zoo.list_weights()` names them.

        `name` may also be `dld://NAME` or the path of a file. Other arguments as in :meth:`from_checkpoint`.
        """
        return cls.from_checkpoint(weights_address(name), opts, device, charset=charset, allow=allow)

    @staticmethod
    def from_onnx(folder: str | os.PathLike, device: str = "cpu", allow: str = "") -> OnnxTextSpotter:
        """Load the graphs that `dld export` wrote into a folder, run by onnxruntime; needs no weights of torch.

        The charset is that of the export; `allow` is that of :meth:`from_checkpoint`.

        Raises:
            FileNotFoundError, ValueError, ImportError: see :class:`~dld.runtime.onnx_spotter.OnnxTextSpotter`.
        """
        from dld.runtime.onnx_spotter import OnnxTextSpotter

        return OnnxTextSpotter(folder, device, allow=allow)

    @property
    def input_sides(self) -> tuple[int, int]:
        """Pixels of the short side at full resolution, and the most that the long side may have."""
        return self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.MAX_SIZE_TEST

    @property
    def counts_cost(self) -> bool:
        """Whether results have a cost also where neither scale nor budget is given."""
        return not isinstance(self.model, Spotter)

    @property
    def on_cpu(self) -> bool:
        """Whether the networks run on a CPU, which reads the pictures of a batch side by side."""
        return torch.device(self.cfg.MODEL.DEVICE).type == "cpu"

    @property
    def views_at_once(self) -> int:
        """On a CPU one for each thread of torch, at most four: what a batch of so many pictures takes in memory."""
        return min(torch.get_num_threads(), MOST_AT_ONCE) if self.on_cpu else 1

    def _reading(self, scale: float | None, budget: float | None, channel_order: str) -> ReadBatch:
        return partial(self._read, self._view(scale, budget), channel_order)

    @contextmanager
    def allowing(self, characters: str) -> Iterator[None]:
        """Read no other characters inside this context, in whatever thread; of an empty string: what is allowed anyway.

        Raises:
            ValueError: no reader of strips, or characters that it does not know, or that are not allowed anyway.
        """
        reader = self._reader
        if not characters:
            yield
            return
        if reader is None:
            raise ValueError("allow needs a reader of strips, MODEL.RECOGNITION.READER StripRecognizer")
        before, known = reader.allowed, reader.allowed_characters
        if known and not set(characters) <= set(known):
            raise ValueError(f"only characters of {known.strip()!r} can be allowed here")
        try:
            reader.allow(characters)
            yield
        finally:
            reader.allowed = before

    @property
    def _reader(self) -> StripRecognizer | None:
        return getattr(getattr(self.model, "student", self.model), "reader", None)

    def _view(self, scale: float | None, budget: float | None) -> nn.Module:
        """Return the model, or its networks told a scale or a budget; the model itself does not change."""
        if budget is None and scale is None:
            return self.model
        key = (scale, budget)
        if key not in self._views:
            if () not in self._views:
                self._views[()] = dynamic(self.model, self.cfg)
            base = self._views[()]
            if scale is not None:
                self._views[key] = at_scale(base, scale)
            elif budget is not None:
                self._views[key] = within_budget(base, budget, self.budget_table)
            if len(self._views) > MOST_VIEWS:  # the first one, the base, stays
                del self._views[list(self._views)[1]]
        return self._views[key]

    @torch.inference_mode()
    def _read(
        self, model: nn.Module, channel_order: str, sources: Sequence, first: int | None, keep: bool
    ) -> list[SpottingResult]:
        """Return the results of one batch, see `read_in_batches`."""
        self._threads.use_one_after_fork()
        records = []
        for pixels in open_batch(sources, channel_order, first):
            height, width = pixels.shape[:2]
            records.append(self.mapper({"image": pixels, "height": height, "width": width}))
        results = []
        run = _run_side_by_side if self.on_cpu and torch.get_num_threads() > 1 else _run
        for source, output in zip(sources, run(model, records), strict=True):
            account = (output.get("scale"), output.get("cost"), output.get("gflops"))
            result = result_from_instances(output["instances"], None, path_of(source), *account)
            result.unread = output.get("unread", 0)
            results.append(with_pixels(result, source, channel_order, keep))
        self._memory.look()
        return results


def reading_options(charset: str, allow: str) -> list[str]:
    """Return the overrides for the reader of strips; arguments as in :meth:`TextSpotter.from_checkpoint`."""
    options = ["MODEL.STRIPS.CHARSET", charset] if charset else []
    # as a literal: a string that looks like a number stays a string
    return options + (["MODEL.STRIPS.ALLOW", repr(allow)] if allow else [])


def spot_items(spotter: TextSpotter, items: Iterable[Item], **options) -> Iterator[tuple[Item, SpottingResult]]:
    """Yield each item with the result of its picture `item.pixels`; at most a batch of items is alive at any time.

    Args:
        items: such as frames of a film.
        options: of the spotter's call.
    """
    waiting: deque[Item] = deque()

    def pictures():
        for item in items:
            waiting.append(item)
            yield item.pixels

    for result in spotter(pictures(), **options):
        yield waiting.popleft(), result


def checked_device(device: str | torch.device) -> str:
    """Return the name of a device, after a check that it is there.

    Raises:
        ValueError: no such device, here or anywhere.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used: {reason}") from error
    return str(device)


def _run_side_by_side(model: nn.Module, records: list[dict]) -> list[dict]:
    """Run a batch on several threads of a CPU, which are divided among its images."""
    largest_first = sorted(range(len(records)), key=lambda i: -records[i]["image"].numel())

    @torch.inference_mode()  # holds in one thread alone
    def run_one(i: int) -> dict:
        return _run(model, [records[i]])[0]

    found = map_side_by_side(run_one, largest_first, len(records))
    outputs = dict(zip(largest_first, found, strict=True))
    return [outputs[i] for i in range(len(records))]


def _run(model: nn.Module, records: list[dict]) -> list[dict]:
    """Run a batch. A plain spotter pads all images of a batch alike: it gets those of one padded size at once."""
    if not isinstance(model, Spotter):
        return model(records)
    sizes = [tuple(record["image"].shape[-2:]) for record in records]
    outputs: list[dict] = [{} for _ in records]
    for members in group_by_scale(sizes, [1.0] * len(sizes), model.size_divisibility).values():
        for index, output in zip(members, model([records[i] for i in members]), strict=True):
            outputs[index] = output
    return outputs
