"""The generated data sets synthwords_train and synthwords_val: detectron2 dataset dicts with images rendered on demand.

Nothing is downloaded and nothing depends on the environment. Training images are numbered 0 to 9,999,999, so that a
run never sees one twice; validation images come from random streams of their own.
"""

import dataclasses
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from dld.data.annotation import ImageAnnotation, TextAnnotation, to_dataset_dict
from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.numbered import NumberedDataset
from dld.data.synthesis.repertoire import check_repertoire
from dld.data.synthesis.scene import render_synthwords

__all__ = ["VAL_LENGTH", "SynthWordsDataset", "dense_options", "register_synthwords"]

VAL_LENGTH = 1_000


class SynthWordsDataset(NumberedDataset):
    """Images by index, see :class:`~dld.data.synthesis.numbered.NumberedDataset`; `config` is a :class:`SynthWordsConfig`."""

    kind, unit, val_length, config_type = "synthwords", "images", VAL_LENGTH, SynthWordsConfig

    def item(self, index: int) -> dict[str, Any]:
        """Return a detectron2 dataset dict (`dld.data.annotation.to_dataset_dict`) with "image", uint8 BGR (H, W, 3)."""
        picture = render_synthwords(index, split=self.split, config=self.config)
        height, width = picture.image.shape[:2]
        words = [TextAnnotation(word.polygon, word.text, word.ignore, characters=word.chars) for word in picture.words]
        file_name = f"{self.name}/{index:09d}.png"
        record = to_dataset_dict(ImageAnnotation(file_name, f"{self.name}_{index:09d}", width, height, words), "")
        return {**record, "file_name": file_name, "image": picture.image}


def dense_options(size: tuple[int, int]) -> dict[str, Any]:
    """Return options for images of ``size`` (height, width) packed with words, 12 in 320 x 320, for recognisers."""
    area, short = size[0] * size[1], min(size)
    return {
        "max_words": max(1, round(12 * area / 320**2)),
        "density": 1.0,
        "phrase_rate": 0.35,
        "min_height": 9.0,
        "max_height": max(12.0, min(48.0, 0.13 * short)),
        "empty_rate": 0.0,
    }


_registered: dict[str, tuple[str, int | None, SynthWordsConfig]] = {}


def _load(name: str) -> SynthWordsDataset:
    split, length, config = _registered[name]
    return SynthWordsDataset(split, length, config, name)


def register_synthwords(
    name: str = "synthwords",
    *,
    train_length: int | None = None,
    val_length: int | None = None,
    dense: bool = False,
    **options: Any,
) -> None:
    """Register ``NAME_train`` and ``NAME_val`` in detectron2's catalogs; ``DatasetCatalog.get`` gives a streamed Dataset.

    May be called again: new options replace the earlier ones; a call without options leaves registered sets as they are.

    Args:
        name: prefix of the two names.
        train_length, val_length: numbers of images.
        dense: fill the training images with words (:func:`dense_options`); the validation images stay as they are.
        **options: fields of :class:`SynthWordsConfig`.

    Raises:
        KeyError: an unknown option.  ValueError: an option out of range, or a word list that no font can draw.
        FileNotFoundError: no such word list or fonts.
    """
    unknown = set(options) - set(SynthWordsConfig.names())
    if unknown:
        raise KeyError(
            f"unknown synthwords option {', '.join(sorted(unknown))}; there are {', '.join(SynthWordsConfig.names())}"
        )
    untouched = not options and not dense and train_length is None and val_length is None
    config = SynthWordsConfig(**options)
    if config.words_file:
        check_repertoire(config.words_file, config.fonts_dir)
    packed = dataclasses.replace(config, **{**dense_options(config.size), **options}) if dense else config
    for split, length, chosen in (("train", train_length, packed), ("val", val_length, config)):
        key = f"{name}_{split}"
        if key in _registered and untouched:
            continue
        _registered[key] = (split, length, chosen)
        if key not in DatasetCatalog.list():
            DatasetCatalog.register(key, lambda key=key: _load(key))
            MetadataCatalog.get(key).set(
                thing_classes=["text"],
                evaluator_type="text_spotting",
                protocol="icdar2015",
                image_root="",
                json_file="",
            )
