"""Ground truth as the scorer wants it: the words of every image, read from official files or data set dicts."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dld.evaluation.archive import read_text_files
from dld.evaluation.image_names import canonical_name
from dld.evaluation.line_formats import is_total_text_layout, parse_lines, parse_total_text
from dld.evaluation.protocol import Protocol

__all__ = ["GroundTruthWord", "ground_truth_of", "read_ground_truth"]


@dataclass(frozen=True)
class GroundTruthWord:
    """One annotated word.

    Attributes:
        polygon: (P, 2) pixels of the original image.
        text: transcription as the file has it (the protocol decides what is read from it).
        ignore: don't care by annotation; a text that the protocol calls don't care has the same effect.
    """

    polygon: np.ndarray
    text: str
    ignore: bool = False


def ground_truth_of(dataset_dict: Mapping[str, Any]) -> list[GroundTruthWord]:
    """Return the words of one detectron2 data set dict (`annotations` with `polygon`, `text`, `ignore`)."""
    words = []
    for annotation in dataset_dict["annotations"]:
        polygon = annotation.get("polygon")
        if polygon is None:
            polygon = np.asarray(annotation["segmentation"][0], dtype=np.float64).reshape(-1, 2)
        words.append(GroundTruthWord(np.asarray(polygon), annotation.get("text", ""), bool(annotation.get("ignore", False))))
    return words


def read_ground_truth(path: str | os.PathLike, protocol: Protocol) -> dict[str, list[GroundTruthWord]]:
    """Read a zip or a folder of ground-truth files.

    Lines may have the protocol's layout and, for polygon protocols, the official Total-Text layout
    (`x: [[..]], y: [[..]], ornt: [..], transcriptions: [..]`). Files called readme are skipped.

    Returns:
        words by image, under the name of the file without `gt_` or `poly_gt_` and `.txt` ("img_1").

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: two files of one image, a malformed line (with file and line), or no file at all.
    """
    words: dict[str, list[GroundTruthWord]] = {}
    files = [item for item in read_text_files(path, ".txt") if not item.name.lower().startswith("readme")]
    if not files:
        raise ValueError(f"{path}: no .txt file of ground truth in it")
    for item in files:
        image = canonical_name(item.name)
        if image in words:
            raise ValueError(f"{item.where}: a second file for image '{image}'")
        if protocol.layout == "polygon" and is_total_text_layout(item.text):
            lines = parse_total_text(item.text, item.where)
        else:
            lines = parse_lines(item.text, item.where, protocol)
            _require_texts(lines)
        words[image] = [GroundTruthWord(line.polygon, line.text or "") for line in lines]
    return words


def _require_texts(lines: Iterable) -> None:
    for line in lines:
        if line.text is None:
            raise ValueError(f"{line.where}: ground truth without a transcription (write ### for don't care)")
