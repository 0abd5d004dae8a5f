"""The public data sets under their names: `$DETECTRON2_DATASETS/NAME/{annotations.json,images/}`.

Nothing is read before a data set is asked for. `prepare_dataset.py` makes the folders (see datasets/README.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from torch.utils.data import Dataset

from dld.data.datasets.synth_text import RECORDS, SynthTextRecords
from dld.data.datasets.text_json import load_text_json, register_text_dataset, set_text_metadata
from dld.data.samples import ANNOTATIONS, IMAGES, NAME
from dld.data.synthesis.synthstrips import register_synthstrips
from dld.data.synthesis.synthwords import register_synthwords

__all__ = [
    "BUILTIN",
    "check_files",
    "check_known",
    "check_prepared",
    "dataset_files",
    "datasets_root",
    "load_builtin",
    "register_all",
]

# name -> protocol that scores it
BUILTIN = {
    "icdar2013_train": "icdar2013",
    "icdar2013_test": "icdar2013",
    "icdar2015_train": "icdar2015",
    "icdar2015_val": "icdar2015",
    "icdar2015_test": "icdar2015",
    "icdar2017_mlt_train": "icdar2015",
    "totaltext_train": "totaltext",
    "totaltext_val": "totaltext",
    "totaltext_test": "totaltext",
    "ctw1500_train": "ctw1500",
    "ctw1500_test": "ctw1500",
    "cocotext_train": "icdar2015",
    "synthtext_train": "icdar2015",
}


def datasets_root() -> Path:
    """Return the folder of all data sets: `$DETECTRON2_DATASETS`, or `datasets` in the working directory."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser().absolute()


def dataset_files(name: str) -> tuple[Path, Path]:
    """Return annotation file and folder of images of a built-in data set, as the environment says now."""
    folder = datasets_root() / name
    return folder / (RECORDS if name == "synthtext_train" else "annotations.json"), folder / "images"


def check_known(name: str) -> None:
    """Raise KeyError for a name under which nothing is registered; the message lists the text data sets."""
    if name not in DatasetCatalog.list():
        known = [n for n in DatasetCatalog.list() if MetadataCatalog.get(n).get("evaluator_type") == "text_spotting"]
        raise KeyError(f"unknown data set {name!r}; registered text data sets: {', '.join(sorted(known))}")


def check_files(name: str) -> None:
    """Look for the annotations and the folder of images of a data set; nothing is read.

    Raises:
        KeyError: unknown name.  FileNotFoundError: one of them is not there.
    """
    check_known(name)
    if name in BUILTIN:
        check_prepared([name])
        return
    metadata = MetadataCatalog.get(name)
    for path in filter(None, (metadata.get("json_file"), metadata.get("image_root"))):
        if not os.path.exists(path):
            raise FileNotFoundError(f"data set {name}: {path} does not exist")


def check_prepared(names: Iterable[str]) -> None:
    """Look for the files of built-in data sets.

    Raises:
        FileNotFoundError: some are not prepared; names them all, and the command that does it.
    """
    lacking = {name: path for name in names for path in reversed(dataset_files(name)) if not path.exists()}
    if not lacking:
        return
    (first, path), several = next(iter(lacking.items())), len(lacking) > 1
    what = f"data sets {', '.join(lacking)} are" if several else f"data set {first} is"
    raise FileNotFoundError(
        f"{what} not prepared: {path} does not exist. Download {'them' if several else 'it'} (datasets/README.md says where), "
        f"then `python projects/DLD/tools/prepare_dataset.py {first} --root FOLDER_WITH_THE_UNPACKED_FILES`"
        f"{' and so on' if several else ''}; $DETECTRON2_DATASETS names the folder of all data sets"
    )


def load_builtin(name: str) -> list[dict] | Dataset:
    """Load the dataset dicts of a prepared data set; return a streamed torch data set for SynthText.

    Raises:
        FileNotFoundError: not prepared; names the command that does it.
    """
    check_prepared([name])
    json_file, image_root = dataset_files(name)
    # the environment may have changed since the data set was registered
    set_text_metadata(name, json_file, image_root, BUILTIN[name])
    if name == "synthtext_train":
        return SynthTextRecords(json_file.parent, image_root)
    return load_text_json(json_file, image_root)


def register_all() -> None:
    """Register every built-in data set, the generated ones and the sample pictures included; a second call does nothing."""
    for name, protocol in BUILTIN.items():
        if name not in DatasetCatalog:
            set_text_metadata(name, *dataset_files(name), protocol)
            DatasetCatalog.register(name, lambda name=name: load_builtin(name))
    register_synthwords()
    register_synthstrips()
    register_text_dataset(NAME, ANNOTATIONS, IMAGES)
