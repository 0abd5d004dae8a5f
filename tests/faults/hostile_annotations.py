"""Annotation files that nobody should have to fear."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_corpus import SQUARE, encoded, entry, mapper

from dld.data.annotation import read_annotations
from dld.data.dataset_check import check_annotations
from dld.data.datasets.text_json import load_text_json
from dld.data.repair import repair_annotations
from dld.text.charset import Charset


def document(words: list, **image) -> dict:
    head = {"file_name": "a.png", "id": "a", "width": 60, "height": 40}
    return {"schema": "dld-text/1", "name": "own", "images": [{**head, **image, "words": words}]}


def word(polygon=SQUARE, text="word", **more) -> dict:
    return {"polygon": polygon, "text": text, **more}


NAN, INFINITE = float("nan"), float("inf")
TANGLE = np.random.default_rng(0).uniform(0, 60, (900, 2)).tolist()

REFUSED_JSON = {
    "NaN coordinate": document([word([[NAN, 2], [30, 2], [30, 12]])]),
    "infinite coordinate": document([word([[INFINITE, 2], [30, 2], [30, 12]])]),
    "coordinate 1e300": document([word([[1e300, 2], [30, 2], [30, 12]])]),
    "coordinate of 400 digits": document([word([[10**400, 2], [30, 2], [30, 12]])]),
    "coordinate is a string": document([word([["2", 2], [30, 2], [30, 12]])]),
    "coordinate is true": document([word([[True, 2], [30, 2], [30, 12]])]),
    "two points": document([word([[2, 2], [30, 2]])]),
    "points of three numbers": document([word([[2, 2, 0], [30, 2, 0], [30, 12, 0]])]),
    "no polygon": document([{"text": "word"}]),
    "empty polygon": document([word([])]),
    "50,000 points": document([word([[i % 60, i % 40] for i in range(50_000)])]),
    "text is a number": document([word(text=2024)]),
    "no text": document([{"polygon": SQUARE}]),
    "empty text": document([word(text="")]),
    "ignore is a string": document([word(ignore="no")]),
    "absolute path": document([], file_name="/etc/passwd"),
    "path with ..": document([], file_name="../../etc/passwd"),
    "Windows path": document([], file_name="C:\\windows\\win.ini"),
    "path with a zero byte": document([], file_name="a\0.png"),
    "file name is a list": document([], file_name=["a.png"]),
    "width of 400 digits": document([], width=10**400),
    "width 0": document([], width=0),
    "height NaN": document([], height=NAN),
    "duplicate ids": {**document([]), "images": document([])["images"] * 2},
    "another schema": {"schema": "coco", "images": []},
    "a list": [document([])],
    "a number": 7,
    "null": None,
    "images is an object": {"schema": "dld-text/1", "images": {}},
    "images are strings": {"schema": "dld-text/1", "images": ["a.png"]},
    "words is a string": {"schema": "dld-text/1", "images": [{**document([])["images"][0], "words": "word"}]},
    "words are null": document([None]),
}


def json_entry(name: str, text: Callable[[], str]) -> None:
    @entry(f"json: {name}", names="own.json", megabytes=300)
    def make(folder: Path):
        path = folder / "own.json"
        path.write_text(text(), encoding="utf-8")
        return lambda: load_text_json(path, folder) and None


for _name, _document in REFUSED_JSON.items():
    json_entry(_name, lambda d=_document: json.dumps(d))
json_entry("brackets in brackets, 100,000 deep", lambda: "[" * 100_000)
json_entry("a number of 10,000 digits", lambda: '{"schema": ' + "9" * 10_000 + "}")
json_entry("cut in the middle", lambda: json.dumps(document([word()]))[:100])
json_entry("empty", lambda: "")


@entry("json: bytes that are not UTF-8", names="own.json")
def _(folder: Path):
    (folder / "own.json").write_bytes(b'{"schema": "\xff\xfe"}')
    return lambda: load_text_json(folder / "own.json", folder)


def changed_words(folder: Path, words: list[dict], covered: bool = False) -> Callable[[], int]:
    """A function that loads the words and returns how many were repaired, or are don't-care for the recogniser."""
    (folder / "own.json").write_text(json.dumps(document(words)), encoding="utf-8")
    (folder / "a.png").write_bytes(encoded("PNG"))

    def load() -> int:
        images = read_annotations(folder / "own.json")
        counts = repair_annotations(images)
        (record,) = load_text_json(folder / "own.json", folder)
        target = mapper()(record, np.random.default_rng(0))["instances"]
        assert np.isfinite(target.gt_boxes.tensor.numpy()).all() and np.isfinite(target.gt_masks.points.numpy()).all()
        return counts.changed + int((~target.gt_readable).sum())

    return load


COUNTED_WORDS = {
    "polygon that crosses itself": [word([[2, 2], [30, 12], [30, 2], [2, 12]])],
    "tangle of 900 points": [word(TANGLE)],
    "polygon without area": [word([[2, 2], [30, 2], [50, 2]])],
    "all points the same": [word([[2, 2]] * 5)],
    "polygon outside the image": [word([[200, 200], [300, 200], [300, 300]])],
    "polygon far larger than the image": [word([[-9e5, -9e5], [9e5, -9e5], [9e5, 9e5], [-9e5, 9e5]])],
    "text of 5,000 characters": [word(text="long" * 1250)],
    "right-to-left text": [word(text="\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627")],
    "emoji": [word(text="\U0001f468\u200d\U0001f469\u200d\U0001f467 ok")],
    "control characters": [word(text="a\x00\x1b[2J\x07\r\n\u202eb")],
    "half of a surrogate pair": [word(text="\ud800")],
    "10,000 words": [
        word([[x, y], [x + 2, y], [x + 2, y + 1.5], [x, y + 1.5]])
        for x, y in zip(np.linspace(0, 57, 10_000).tolist(), (np.arange(10_000) % 38).tolist(), strict=True)
    ],
}


def counted_entry(name: str, words: list[dict]) -> None:
    @entry(f"words: {name}", "counted", seconds=40)
    def make(folder: Path):
        return changed_words(folder, words)


for _name, _words in COUNTED_WORDS.items():
    counted_entry(_name, _words)


@entry("check: every mistake at once", "counted")
def _(folder: Path):
    words = [w for d in REFUSED_JSON.values() if isinstance(d, dict) and d.get("images") for w in _words_of(d)]
    (folder / "own.json").write_text(json.dumps(document(words + COUNTED_WORDS["emoji"])), encoding="utf-8")
    return lambda: len(check_annotations(folder / "own.json", folder, Charset.default().covers)[0])


def _words_of(document: dict) -> list:
    images = document["images"]
    words = images[0].get("words") if isinstance(images, list) and isinstance(images[0], dict) else []
    return words if isinstance(words, list) else []
