"""The generated data sets synthstrips_train and synthstrips_val: words drawn straight onto strips, for the reader of strips.

An item holds some words and no picture: :class:`~dld.data.strip_words.StripMapper` takes it, a spotter cannot. Training items
are numbered 0 to 9,999,999; validation items come from random streams of their own, and neither are those of synthwords.
"""

from __future__ import annotations

from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from dld.data.synthesis.config import SynthStripsConfig
from dld.data.synthesis.numbered import NumberedDataset
from dld.data.synthesis.repertoire import check_repertoire
from dld.data.synthesis.strip_scene import render_strips

__all__ = ["STRIPS_VAL_LENGTH", "SynthStripsDataset", "holds_strips", "register_synthstrips"]

STRIPS_VAL_LENGTH = 200


class SynthStripsDataset(NumberedDataset):
    """Items by index, see :class:`~dld.data.synthesis.numbered.NumberedDataset`; `config` is a :class:`SynthStripsConfig`."""

    kind, unit, val_length, config_type = "synthstrips", "items", STRIPS_VAL_LENGTH, SynthStripsConfig

    def item(self, index: int) -> dict[str, Any]:
        """Return a dict with "strips", a list of :class:`~dld.data.synthesis.strip_scene.SyntheticStrip`."""
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
