"""How well the recogniser of a spotter reads words whose boxes and masks are given, by how they lie.

Every picture is read as it is and turned, so that there are enough words of each kind. A word is read where the data set's
end-to-end rule says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.structures import Instances
from tqdm import tqdm

from dld.data.augmentation import AffineView, rotation_matrix
from dld.data.dataset_mapper import WordCharacters, to_tensor, words_to_instances
from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.poolers.channels_last_roi_align import float_level
from dld.modeling.recognition.anchor_recognizer import AnchorRecognizer
from dld.modeling.recognition.recognizer import TextRecognizer
from dld.strips.sides import bends
from dld.structures.sides import word_sides
from dld.study.measure import StudiedSpotter, StudySet
from dld.study.word_sides import BENT, is_read

__all__ = ["KINDS", "TURNS", "GivenWord", "given_rows", "given_table", "kind_of", "measure_given", "turned_view"]

# by which every picture is turned, counter-clockwise, degrees
TURNS = (0.0, 40.0, 90.0, -90.0)
# how words lie: level and straight, level and bent, across, on end; words of which nobody knows are in "all" alone
KINDS = ("all", "straight", "bent", "turned", "on end")
_LEVEL, _ON_END = 20.0, 70.0
_MASK_SIDE = 28


class GivenWord(NamedTuple):
    """An annotated word that was read."""

    kind: str  # one of `KINDS`
    right: bool  # read as it would be at test
    right_annotated: bool | None  # read along its annotated characters; None where these are unknown, or nothing is read so


def kind_of(polygon: np.ndarray, characters: int) -> str:
    """Return how a word lies, one of `KINDS`: by the direction from its start to its end, and by how far it bends.

    Args:
        polygon: (P, 2) in pixels.
        characters: of its text.
    """
    sides = word_sides(polygon, characters=characters)
    if sides is None:
        return "all"
    x, y = sides.mean(0)[-1] - sides.mean(0)[0]
    angle = abs(np.degrees(np.arctan2(y, x)))
    if angle < _LEVEL:
        return "bent" if bends(sides[None])[0] >= BENT else "straight"
    return "on end" if _ON_END <= angle <= 180 - _ON_END else "turned"


def turned_view(size: tuple[int, int], degrees: float, scale: float) -> AffineView:
    """Return the view of a whole image (H, W), turned counter-clockwise and resized."""
    height, width = size
    rotation = rotation_matrix(degrees, height, width)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float) @ rotation[:, :2].T + rotation[:, 2]
    low, high = corners.min(0), corners.max(0)
    across, down = np.ceil(np.round((high - low) * scale, 6)).astype(int).tolist()
    return AffineView.of_window(rotation, (*low, *high), scale, (down, across))


@torch.inference_mode()
def measure_given(spotter: StudiedSpotter, images: StudySet) -> list[GivenWord]:
    """Read the annotated words of all images of a set, each turned by all of `TURNS`.

    Raises:
        ValueError: the spotter has no recogniser of the crops of boxes.
    """
    student, measured = spotter.model.student, []
    heads = getattr(student, "roi_heads", None)
    if heads is None or heads.recognizer.reads_strips:
        raise ValueError(f"{spotter.name} has no recogniser of the crops of boxes: it reads no given words")
    for index in tqdm(range(images.count), desc=f"words of {spotter.name}", unit="image", disable=None):
        record = images.mapper(images.images[index])
        words = [word for word in record["annotations"] if not word["ignore"] and word["text"]]
        scale = record["image"].shape[1] / record["photo"].shape[0]
        for degrees in TURNS:
            view = turned_view(record["photo"].shape[:2], degrees, scale)
            measured += _read(student, heads.recognizer, record["photo"], words, view, images)
    return measured


def _read(
    student: Spotter, recognizer: TextRecognizer, photo: np.ndarray, words: Sequence[dict], view: AffineView, images: StudySet
) -> list[GivenWord]:
    """Read the words of one turned picture."""
    instances = [_instances(word, view, recognizer) for word in words]
    words = [word for word, own in zip(words, instances, strict=True) if len(own)]
    if not words:
        return []
    given = Instances.cat([own for own in instances if len(own)]).to(student.device)
    pixels = to_tensor(view.pixels(photo, tuple(int(x) for x in student.pixel_mean.flatten().tolist())))
    batch, boxes = student.preprocess_image([{"image": pixels}]), given.gt_boxes.tensor
    along = None
    with torch.autocast(student.device.type, student.inference_dtype, enabled=student.inference_dtype is not None):
        level = float_level(student.backbone.finest(batch.tensor))
        masks = given.gt_masks.coverage(boxes, (_MASK_SIDE, _MASK_SIDE))
        found = recognizer.read(recognizer.found_context(recognizer.stem(level), [boxes], masks))
        if isinstance(recognizer, AnchorRecognizer):
            along = recognizer.read(recognizer.annotated_features(level, [given]).context)
    decode, measured = recognizer.charset.decode, []
    for i, word in enumerate(words):
        right = is_read(word["text"], decode(found.ids[i].tolist()), images.protocol)
        known = along is not None and bool(given.gt_characters_known[i])
        annotated = is_read(word["text"], decode(along.ids[i].tolist()), images.protocol) if known else None
        measured.append(
            GivenWord(kind_of(view.points(np.asarray(word["polygon"], float)), len(word["text"])), right, annotated)
        )
    return measured


def _instances(word: dict, view: AffineView, recognizer: TextRecognizer) -> Instances:
    """Return a word as training has it; none where it lies outside of the picture."""
    longest, corners = recognizer.max_length, word.get("characters")
    characters = WordCharacters(np.full((1, longest, 4, 2), np.nan), np.array([corners is not None]))
    if corners is not None:
        characters.corners[0, : len(corners)] = view.points(np.asarray(corners, float)[:longest])
    # nobody asks for its text here, and it may have characters that the recogniser does not know
    polygon = view.points(np.asarray(word["polygon"], float))
    return words_to_instances(
        [(polygon, "", False)], (view.height, view.width), recognizer.charset, longest, characters=characters
    )


def given_rows(name: str, words: Iterable[GivenWord]) -> list[dict]:
    """Return a row for each of `KINDS` that there are words of, with shares of words that were read; None: none were so."""
    words, rows = list(words), []
    for kind in KINDS:
        own = [word for word in words if kind in ("all", word.kind)]
        known = [word.right_annotated for word in own if word.right_annotated is not None]
        if own:
            read = float(np.mean([word.right for word in own]))
            annotated = float(np.mean(known)) if known else None
            rows.append({"name": name, "kind": kind, "words": len(own), "read": read, "read_annotated": annotated})
    return rows


def given_table(rows: Sequence[dict]) -> str:
    """Lay out rows as a table in Markdown, in per cent."""
    lines = ["| spotter | words | number | read | along annotated characters |", "|---|---|---|---|---|"]
    for row in rows:
        annotated = "-" if row["read_annotated"] is None else f"{100 * row['read_annotated']:.1f}"
        lines.append(f"| {row['name']} | {row['kind']} | {row['words']} | {100 * row['read']:.1f} | {annotated} |")
    return "\n".join(lines)
