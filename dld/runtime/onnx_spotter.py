"""Turns pictures into their words with ONNX graphs: what `dld.TextSpotter` does, without torch and detectron2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from dld.data.augmentation import resized_shape
from dld.data.picture_batches import ReadBatch, ReadsPictures, open_batch, path_of, with_pixels
from dld.runtime.antialias import resize_antialiased
from dld.runtime.bundle import GraphRunner, read_settings
from dld.runtime.found_words import Found, strip_words, words_of
from dld.runtime.graph_spotter import GraphSpotter
from dld.runtime.scale_rule import ScaleRule
from dld.strips.collapsing import Characters, allowed_classes, collapse
from dld.strips.grouping import StripSize
from dld.strips.heights import MOST_ENLARGED, STRIP_ROWS, strip_graph
from dld.strips.rows_price import RowsPrice
from dld.strips.rules import ReadingRules
from dld.structures.image_sizes import group_by_scale, scaled_size
from dld.structures.words import SpottingResult, Word

__all__ = ["OnnxTextSpotter"]


class OnnxTextSpotter(ReadsPictures):
    """Reads pictures with the graphs of a folder that `dld export` wrote; called as :class:`dld.TextSpotter` is.

    Args:
        folder: with `spotter.json` and the graphs, whose hashes are verified.
        device: "cpu" or, with onnxruntime-gpu, "cuda"; None: a GPU where onnxruntime has one.
        threads: threads inside one operator; None: as many as there are cores.
        allow: the only characters that can be read, such as "0123456789."; empty: all of them.

    Raises:
        FileNotFoundError, ValueError: see :func:`~dld.runtime.bundle.read_settings`; characters that cannot be read.
        ImportError: onnxruntime is not installed.

    Example::

        spotter = TextSpotter.from_onnx("exported/teacher_tiny")
        for word in spotter("photo.jpg").words:
            print(word.text, word.score, word.polygon)
    """

    def __init__(
        self, folder: str | os.PathLike, device: str | None = None, threads: int | None = None, allow: str = ""
    ) -> None:
        self.folder = Path(folder)
        self.settings = read_settings(self.folder)
        self.run = GraphRunner(self.folder, self.settings, device, threads)
        self.spot = GraphSpotter(self.settings, self.run)
        self.rule = ScaleRule(self.settings["scales"], "selector" in self.settings["graphs"])
        self.characters = tuple(self.settings["charset"])
        allow = allow or self.settings["reading"].get("allow", "")
        readers = [session for name, session in self.run.sessions.items() if name.startswith("strips")]
        # older folders do not take the allowed characters
        self.takes_allowed = all(len(session.get_inputs()) == 2 for session in readers)
        if allow and (self.spot.reads or not self.takes_allowed):
            raise ValueError(f"{self.folder}: what may be read cannot be told to these graphs: export the weights again")
        self.allowed = allowed_classes(allow, self.characters) if allow else np.ones(len(self.characters) + 1, bool)

    @property
    def input_sides(self) -> tuple[int, int]:
        """Pixels of the short side at full resolution, and the most that the long side may have."""
        return self.settings["short_side"], self.settings["longest_side"]

    @property
    def counts_cost(self) -> bool:
        """Whether results have a cost also where neither scale nor budget is given."""
        return self.settings["architecture"] == "DynamicSpotter"

    def _reading(self, scale: float | None, budget: float | None, channel_order: str) -> ReadBatch:
        return partial(self._read, scale, budget, channel_order)

    def _read(
        self,
        fixed: float | None,
        budget: float | None,
        channel_order: str,
        sources: Sequence,
        first: int | None,
        keep: bool,
    ) -> list[SpottingResult]:
        """Return the results of one batch, see `read_in_batches`."""
        pictures = open_batch(sources, channel_order, first)
        images = [self.normalize(picture) for picture in pictures]
        sizes = [x.shape[1:] for x in images]
        chosen = [(fixed, False) if fixed else self._choose(image, budget) for image in images]
        # a plain spotter without scale or budget reads at its only scale, and reports neither scale nor cost
        silent = fixed is None and budget is None and not self.counts_cost
        found: list[Found | None] = [None] * len(pictures)
        network_sizes = [scaled_size(size, scale) for size, (scale, _) in zip(sizes, chosen, strict=True)]
        groups = group_by_scale(sizes, [scale for scale, _ in chosen], self.settings["size_divisibility"])
        for members in groups.values():
            spotted = self.spot([resize_antialiased(images[i], network_sizes[i]) for i in members])
            for i, one in zip(members, spotted, strict=True):
                found[i] = one
        results = []
        prices = [self.rule.rows_price(size, budget) if by else None for size, (_, by) in zip(sizes, chosen, strict=True)]
        for i, (words, strips, unread) in enumerate(self._words(found, network_sizes, pictures, prices)):
            height, width = pictures[i].shape[:2]
            account = (None, None, None) if silent else self._account(sizes[i], *chosen[i], len(found[i].boxes), strips)
            result = SpottingResult(None, path_of(sources[i]), width, height, words, *account, unread=unread)
            results.append(with_pixels(result, sources[i], channel_order, keep))
        return results

    def _words(
        self,
        found: Sequence[Found],
        network_sizes: Sequence[tuple[int, int]],
        pictures: Sequence[np.ndarray],
        prices: Sequence[RowsPrice | None],
    ) -> list[tuple[list[Word], list[StripSize] | None, int]]:
        """Return each picture's words, the sizes of its strips (None: crops were read), and how many went unread."""
        reading = self.settings["reading"]
        if self.spot.reads:
            return [
                (words_of(one, size, picture.shape[:2], self.characters, reading["min_text_score"]), None, 0)
                for one, size, picture in zip(found, network_sizes, pictures, strict=True)
            ]
        rules = ReadingRules(
            min_score=reading["min_score"],
            split=reading.get("split_at_spaces", False),
            join=reading.get("join_pieces", False),
            rows=reading.get("rows", [STRIP_ROWS]),
            enlarge=reading.get("most_enlarged", MOST_ENLARGED),
            turn_below=reading.get("turn_below", 0.0),
        )
        read = strip_words(found, network_sizes, pictures, self._read_strips, self.characters, rules, prices)
        return [(words, strips.sizes, strips.unread) for words, strips in read]

    def _read_strips(self, pixels: np.ndarray) -> list[Characters]:
        """Read pixels float32 (N, H, W, 3)."""
        strips = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        more = [self.allowed] if self.takes_allowed else []
        ids, probabilities = self.run(strip_graph(pixels.shape[1]), strips, *more)
        return collapse(ids, probabilities)

    def normalize(self, picture: np.ndarray) -> np.ndarray:
        """Turn uint8 BGR (H, W, 3) into normalised float32 (3, H', W') at the teacher's resolution."""
        settings = self.settings
        height, width = resized_shape(*picture.shape[:2], settings["short_side"], settings["longest_side"])
        pixels = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
        mean, std = (np.array(settings[key], dtype=np.float32)[:, None, None] for key in ("pixel_mean", "pixel_std"))
        return (pixels.transpose(2, 0, 1).astype(np.float32) - mean) / std

    def score_scales(self, image: np.ndarray) -> np.ndarray:
        """Compute the selector's logits (S,) for a normalised image (3, H, W)."""
        reduced = resize_antialiased(image, scaled_size(image.shape[1:], self.rule.input_scale))
        return self.run("selector", reduced[None])[0][0]

    def _choose(self, image: np.ndarray, budget: float | None) -> tuple[float, bool]:
        return self.rule.choose(image.shape[1:], lambda: self.score_scales(image), budget)

    def _account(
        self, size: tuple[int, int], scale: float, selecting: bool, words: int, strip_sizes: list[StripSize] | None
    ) -> tuple[float, float, float]:
        """Return scale, share of the teacher's cost and GFLOPs, as `DynamicSpotter` counts them."""
        spent = self.rule.flops(size, scale, words, selecting, strip_sizes)
        return scale, spent / self.rule.teacher_flops(size, words, strip_sizes), spent / 1e9
