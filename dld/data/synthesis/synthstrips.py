"""The generated data sets synthstrips_train and synthstrips_val: words drawn straight onto strips, for the reader of strips.

An item holds some words and no picture: :class:`~dld.data.strip_words.StripMapper` takes it, a spotter cannot. Training items
are numbered 0 to 9,999,999; validation items come from random streams of their own, and neither are those of synthwords.
"""

from __future__ import annotations

from typing import Any

import cv2
import torch.utils.data
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld.data.synthesis.config import SynthStripsConfig
from dld.data.synthesis.repertoire import check_repertoire
from dld.data.synthesis.strip_scene import render_strips
from dld.data.synthesis.synthwords import TRAIN_LENGTH

__all__ = ["STRIPS_VAL_LENGTH", "SynthStripsDataset", "holds_strips", "register_synthstrips"]

STRIPS_VAL_LENGTH = 200


class SynthStripsDataset(torch.utils.data.Dataset):
    """Items by index; the words of an index are the same in every process, worker and order of access.

    Args:
        split: "train" or "val".
        length: number of items; None: 10,000,000 or 200.
        config: what they look like.
        name: prefix of file names and image ids, which are virtual.

    Raises:
        ValueError: an unknown split or a length below 1.
    """

    def __init__(
        self,
        split: str = "train",
        length: int | None = None,
        config: SynthStripsConfig | None = None,
        name: str | None = None,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split {split!r} is neither 'train' nor 'val'")
        self.split = split
        self.length = (TRAIN_LENGTH if split == "train" else STRIPS_VAL_LENGTH) if length is None else length
        if self.length < 1:
            raise ValueError(f"length {self.length} of synthstrips {split} is below 1")
        self.config = config or SynthStripsConfig()
        self.name = name or f"synthstrips_{split}"
        self._in_worker = False

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a dict with "strips", a list of :class:`~dld.data.synthesis.strip_scene.SyntheticStrip`."""
        if index < 0:
            index += self.length
        if not 0 <= index < self.length:
            raise IndexError(f"{self.name} has {self.length} items, there is no number {index}")
        if not self._in_worker and torch.utils.data.get_worker_info() is not None:
            cv2.setNumThreads(0)  # as in synthwords
            self._in_worker = True
        return {
            "file_name": f"{self.name}/{index:09d}",
            "image_id": f"{self.name}_{index:09d}",
            "strips": render_strips(index, self.split, self.config),
        }


_registered: dict[str, tuple[str, int | None, SynthStripsConfig]] = {}


def _load(name: str) -> SynthStripsDataset:
    split, length, config = _registered[name]
    return SynthStripsDataset(split, length, config, name)


def holds_strips(name: str) -> bool:
    """Tell whether a registered data set holds strips of words instead of pictures."""
    return bool(MetadataCatalog.get(name).get("holds_strips"))


def register_synthstrips(name: str = "synthstrips", *, val_length: int | None = None, **options: Any) -> None:
    """Register ``NAME_train`` and ``NAME_val``; ``DatasetCatalog.get`` gives a streamed Dataset.

    May be called again: new options replace the earlier ones; a call without options leaves registered sets as they are.

    Args:
        name: prefix of the two names.
        val_length: number of items for validation.
        **options: fields of :class:`SynthStripsConfig`.

    Raises:
        KeyError: an unknown option.  ValueError: an option out of range, or a word list that no font can draw.
        FileNotFoundError: no such word list or fonts.
    """
    unknown = set(options) - set(SynthStripsConfig.names())
    if unknown:
        known = ", ".join(SynthStripsConfig.names())
        raise KeyError(f"unknown synthstrips option {', '.join(sorted(unknown))}; there are {known}")
    untouched = not options and val_length is None
    config = SynthStripsConfig(**options)
    if config.words_file:
        check_repertoire(config.words_file, config.fonts_dir)
    for split, length in (("train", None), ("val", val_length)):
        key = f"{name}_{split}"
        if key in _registered and untouched:
            continue
        _registered[key] = (split, length, config)
        if key not in DatasetCatalog.list():
            DatasetCatalog.register(key, lambda key=key: _load(key))
            MetadataCatalog.get(key).set(
                thing_classes=["text"],
                evaluator_type="text_spotting",
                holds_strips=True,
                image_root="",
                json_file="",
            )
