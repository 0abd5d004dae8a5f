"""Submissions, results and lexicons that nobody should have to fear."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_corpus import HALF_MEGABYTE, SQUARE, entry

from dld.evaluation.ground_truth import read_ground_truth
from dld.evaluation.lexicon import Lexicon
from dld.evaluation.lexicon_files import read_lexicon
from dld.evaluation.matching import score_dataset
from dld.evaluation.protocol import get_protocol
from dld.evaluation.submission import check_predictions, read_submission
from dld.structures.words import Word

ICDAR15, TOTALTEXT = get_protocol("icdar2015"), get_protocol("totaltext")
LINE = "1,1,9,1,9,9,1,9,word\n"


def write_zip(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


ZIPS = {
    "path traversal": {"../../res_img_1.txt": LINE},
    "absolute path": {"/res_img_1.txt": LINE},
    "drive letter": {"C:/res_img_1.txt": LINE},
    "a program beside": {"res_img_1.txt": LINE, "run.sh": "true"},
    "unknown image": {"res_img_99.txt": LINE},
    "two files of one image": {"res_img_1.txt": LINE, "sub/res_img_1.txt": LINE},
    "bomb of one file": {"res_img_1.txt": bytes(17 * 2**20)},
    "bomb of many files": {f"{i}/res_img_1.txt": bytes(2**20) for i in range(257)},
    "zip in a zip": {"res_img_1.zip": b"PK"},
    "random bytes as lines": {"res_img_1.txt": np.random.default_rng(0).bytes(10_000)},
    "line of half a megabyte": {"res_img_1.txt": "1," * (HALF_MEGABYTE // 2)},
}


def zip_entry(name: str, members: dict[str, str | bytes]) -> None:
    @entry(f"submission: {name}", names="sub.zip", megabytes=300)
    def make(folder: Path):
        path = write_zip(folder / "sub.zip", members)
        before = {p for p in folder.parent.rglob("*")}

        def read():
            try:
                read_submission(path, ICDAR15, ["img_1", "img_2"])
            finally:
                assert {p for p in folder.parent.rglob("*")} == before, "nothing is unpacked"

        return read


for _name, _members in ZIPS.items():
    zip_entry(_name, _members)


def raw_entry(name: str, content: Callable[[], bytes]) -> None:
    @entry(f"submission: {name}", names="sub.zip")
    def make(folder: Path):
        (folder / "sub.zip").write_bytes(content())
        return lambda: read_submission(folder / "sub.zip", ICDAR15, ["img_1"])


def _lying_zip() -> bytes:
    """A member whose stated size is smaller than what it unpacks to."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("res_img_1.txt", bytes(10_000_000))
    return file.getvalue().replace(struct.pack("<I", 10_000_000), struct.pack("<I", 100))


raw_entry("not a zip", lambda: b"PK\x03\x04 no")
raw_entry("empty file", lambda: b"")
raw_entry("zip that lies about its sizes", _lying_zip)


def tangle_line(points: int) -> str:
    return ",".join(f"{v:.1f}" for v in np.random.default_rng(0).uniform(0, 999, 2 * points)) + ",####word\n"


@entry("submission: a tangle of 300 points", names="line 1")
def _(folder: Path):
    path = write_zip(folder / "sub.zip", {"0000001.txt": tangle_line(300)})
    return lambda: read_submission(path, TOTALTEXT, ["img1"])


@entry("submission: 10,000 points", names="line 1")
def _(folder: Path):
    path = write_zip(folder / "sub.zip", {"0000001.txt": tangle_line(10_000)})
    return lambda: read_submission(path, TOTALTEXT, ["img1"])


@entry("submission: 10,000 words in one image", "counted", seconds=60)
def _(folder: Path):
    path = write_zip(folder / "sub.zip", {"res_img_1.txt": LINE * 9_900 + "1,1,9,9,9,1,1,9,word\n" * 100})  # bow-ties
    (folder / "gt").mkdir()
    (folder / "gt" / "gt_img_1.txt").write_text(LINE * 10)

    def score() -> int:
        truth = read_ground_truth(folder / "gt", ICDAR15)
        submission = read_submission(path, ICDAR15, truth)
        score_dataset(truth, submission.words, ICDAR15)
        return check_predictions(submission.words, ICDAR15)["self_intersecting"]

    return score


def results(images: str) -> str:
    return f'{{"schema": "dld-results/1", "images": [{images}]}}'


RESULTS = {
    "width is infinite": results('{"image_id": "a", "width": 1e999, "words": []}'),
    "coordinate of 400 digits": results(f'{{"image_id": "a", "words": [{{"text": "a", "polygon": [[{"9" * 400}, 1]]}}]}}'),
    "deep brackets": "[" * 100_000,
    "an image twice": results('{"image_id": "a", "words": []}, {"image_id": "a", "words": []}'),
    "polygon is a word": results('{"image_id": "a", "words": [{"text": "a", "polygon": "b"}]}'),
    "a ragged polygon": results('{"image_id": "a", "words": [{"text": "a", "polygon": [[1], 2]}]}'),
}


def results_entry(name: str, text: str) -> None:
    @entry(f"results json: {name}", names="results.json")
    def make(folder: Path):
        (folder / "results.json").write_text(text)
        return lambda: read_submission(folder / "results.json", ICDAR15, ["a"])


for _name, _text in RESULTS.items():
    results_entry(_name, _text)


@entry("lexicon: 1,000,000 words", "counted", seconds=60, megabytes=900)
def _(folder: Path):
    (folder / "lexicon.txt").write_text("\n".join(f"word{i}" for i in range(1_000_000)))

    def correct() -> int:
        lexicon = Lexicon("generic", read_lexicon(folder / "lexicon.txt"))
        protocol = get_protocol("icdar2015")
        words = [Word(f"wort{i}", np.array(SQUARE, dtype=np.float32)) for i in range(20)]
        return len(lexicon.correct({"a": words}, protocol)["a"])

    return correct


@entry("lexicon: nothing but comments", names="lexicon.txt")
def _(folder: Path):
    (folder / "lexicon.txt").write_text("# a\n" * 1000)
    return lambda: read_lexicon(folder / "lexicon.txt")


@entry("lexicon: larger than any", names="lexicon.txt")
def _(folder: Path):
    with open(folder / "lexicon.txt", "wb") as file:
        file.truncate(2**40)  # a sparse file: a terabyte that takes no disk
    return lambda: read_lexicon(folder / "lexicon.txt")
