"""Files that nobody should have to fear: one table, made on the fly, each with what must come of it.

`CORPUS` maps a name to a :class:`Hostile`: `make(folder)` writes the files and returns a function that feeds them to the
product. The outcome is "error" (ValueError or FileNotFoundError whose message names the file, or what `names` says) or
"counted" (the function returns how many items were skipped, repaired or made don't-care, which must not be 0).
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dld.data.annotation import read_annotations
from dld.data.build import MixtureDataset
from dld.data.dataset_check import check_annotations
from dld.data.dataset_mapper import TextDatasetMapper, read_dict_image
from dld.data.datasets.coco_text import read_coco_text
from dld.data.datasets.ctw1500 import parse_ctw1500
from dld.data.datasets.icdar import parse_icdar2013, parse_icdar2015, parse_icdar2017_mlt
from dld.data.datasets.synth_text import convert_synth_text
from dld.data.datasets.text_json import load_text_json
from dld.data.datasets.total_text import parse_total_text
from dld.data.repair import repair_annotations
from dld.evaluation.ground_truth import read_ground_truth
from dld.evaluation.lexicon import Lexicon
from dld.evaluation.lexicon_files import read_lexicon
from dld.evaluation.matching import score_dataset
from dld.evaluation.protocol import get_protocol
from dld.evaluation.submission import check_predictions, read_submission
from dld.structures.words import Word
from dld.text.charset import Charset

__all__ = ["CORPUS", "Hostile"]

SQUARE = [[2, 2], [30, 2], [30, 12], [2, 12]]
FRIENDLY = (40, 60)  # height, width of a good image
HALF_MEGABYTE = 500_000


@dataclass(frozen=True)
class Hostile:
    """One entry; see the module."""

    make: Callable[[Path], Callable[[], int | None]]
    outcome: str
    names: str = ""
    seconds: float = 20.0
    megabytes: float = 600.0


CORPUS: dict[str, Hostile] = {}


def entry(name: str, outcome: str = "error", names: str = "", **bounds: float):
    """Register a function of a folder under a name of the table."""

    def register(make):
        assert name not in CORPUS, name
        CORPUS[name] = Hostile(make, outcome, names, **bounds)
        return make

    return register


# ---------------------------------------------------------------- images


def encoded(image_format: str, height: int = FRIENDLY[0], width: int = FRIENDLY[1]) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header says width x height."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


IMAGES = {
    "truncated JPEG": ("a.jpg", lambda: encoded("JPEG")[:-700]),
    "JPEG cut in its header": ("a.jpg", lambda: encoded("JPEG")[:40]),
    "truncated PNG": ("a.png", lambda: encoded("PNG")[:-3000]),
    "PNG whose pixels are no zlib stream": ("a.png", lambda: png_claiming(60, 40).replace(zlib.compress(b""), b"12345678")),
    "zero bytes": ("a.jpg", lambda: b""),
    "one byte": ("a.png", lambda: b"\xff"),
    "text called .jpg": ("a.jpg", lambda: b"this is not a picture\n" * 100),
    "HTML error page called .png": ("a.png", lambda: b"<!doctype html><title>404</title>"),
    "zip called .jpg": ("a.jpg", lambda: b"PK\x03\x04" + bytes(1000)),
    "random bytes": ("a.jpg", lambda: np.random.default_rng(0).bytes(20_000)),
    "PNG of 60,000 x 60,000": ("a.png", lambda: png_claiming(60_000, 60_000)),
    "PNG of 13,000 x 13,000 in 20 kB": ("a.png", lambda: png_claiming(13_000, 13_000, bytes(13_001 * 1000))),
    "PNG of 2^31 x 1": ("a.png", lambda: png_claiming(2**31 - 1, 1)),
    "PNG of no width": ("a.png", lambda: png_claiming(0, 10)),
    "GIF header alone": ("a.gif", lambda: b"GIF89a" + struct.pack("<HH", 60, 40)),
    "BMP with a negative height": ("a.bmp", lambda: encoded("BMP")[:22] + struct.pack("<i", -(2**31)) + encoded("BMP")[26:]),
    "TIFF that points behind its end": ("a.tif", lambda: b"II*\0" + struct.pack("<I", 2**31) + bytes(100)),
    "WebP cut short": ("a.webp", lambda: encoded("WEBP")[:60]),
}


def image_entry(name: str, file_name: str, content: Callable[[], bytes]) -> None:
    @entry(f"image: {name}", names=file_name, megabytes=300)
    def make(folder: Path):
        path = folder / file_name
        path.write_bytes(content())
        height, width = FRIENDLY
        return lambda: read_dict_image({"file_name": str(path), "height": height, "width": width}) is None or None


for _name, (_file, _content) in IMAGES.items():
    image_entry(_name, _file, _content)


@entry("image: wrong extension", "counted")
def _(folder: Path):
    path = folder / "a.jpg"
    path.write_bytes(encoded("PNG"))  # a good picture under another name is read
    return lambda: len(read_dict_image({"file_name": str(path)}))


@entry("image: another size than annotated", names="60 x 40")
def _(folder: Path):
    (folder / "a.png").write_bytes(encoded("PNG"))
    return lambda: read_dict_image({"file_name": str(folder / "a.png"), "height": 400, "width": 600})


@entry("image: a pipe that never gives anything", names="pipe.jpg")
def _(folder: Path):
    os.mkfifo(folder / "pipe.jpg")
    return lambda: read_dict_image({"file_name": str(folder / "pipe.jpg")})


@entry("image: a folder", names="a.jpg")
def _(folder: Path):
    (folder / "a.jpg").mkdir()
    return lambda: read_dict_image({"file_name": str(folder / "a.jpg")})


def mapper(**options) -> TextDatasetMapper:
    return TextDatasetMapper(is_train=True, charset=Charset.default(), max_length=32, short_sides=(64,), longest=128, **options)


def skipped_in_training(records: list[dict], good: int) -> int:
    """Draw 40 samples; returns how many of the images were never among them."""
    data = MixtureDataset([records], [1], mapper(rotation=10.0), 0)
    drawn = {data[i]["file_name"] for i in range(40)}
    assert len(drawn) == good, drawn
    return len(records) - good


@entry("training: half of the images are damaged", "counted")
def _(folder: Path):
    contents = [content for _, content in list(IMAGES.values())[:5]]
    records = []
    for i, content in enumerate(contents + [lambda: encoded("PNG")] * 5):
        (folder / f"{i}.png").write_bytes(content())
        record = {"file_name": str(folder / f"{i}.png"), "image_id": str(i), "height": 40, "width": 60, "annotations": []}
        records.append(record)
    return lambda: skipped_in_training(records, 5)


@entry("training: an image of 40,000 x 8", "counted")
def _(folder: Path):
    (folder / "a.png").write_bytes(encoded("PNG", 8, 40_000))
    record = {"file_name": str(folder / "a.png"), "image_id": "a", "height": 8, "width": 40_000, "annotations": []}

    def shrink() -> int:  # unusual, but an image: it is read, no larger than asked for
        sample = MixtureDataset([[record]], [1], mapper(rotation=10.0), 0)[0]
        assert max(sample["image"].shape) <= 128
        return len(sample["image"])

    return shrink


@entry("training: every image is missing", names="gone.png")
def _(folder: Path):
    record = {"file_name": str(folder / "gone.png"), "image_id": "0", "height": 40, "width": 60, "annotations": []}
    return lambda: skipped_in_training([record], 1)


# ---------------------------------------------------------------- json annotations


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


# ---------------------------------------------------------------- official files

ICDAR15, TOTALTEXT = get_protocol("icdar2015"), get_protocol("totaltext")
LINE = "1,1,9,1,9,9,1,9,word\n"

GT_FILES = {
    "ICDAR 2015: seven coordinates": (parse_icdar2015, "1,2,3,4,5,6,7,word\n"),
    "ICDAR 2015: NaN": (parse_icdar2015, "nan,2,3,4,5,6,7,8,word\n"),
    "ICDAR 2015: 1e300": (parse_icdar2015, "1e300,2,3,4,5,6,7,8,word\n"),
    "ICDAR 2015: half a megabyte of digits": (parse_icdar2015, "9" * HALF_MEGABYTE),
    "ICDAR 2015: half a megabyte of commas": (parse_icdar2015, "," * HALF_MEGABYTE),
    "ICDAR 2013: half a megabyte of spaces": (parse_icdar2013, "1" + " " * HALF_MEGABYTE + "x"),
    "ICDAR 2013: half a megabyte of numbers": (parse_icdar2013, "1-" * (HALF_MEGABYTE // 2)),
    "MLT: no language": (parse_icdar2017_mlt, "1,2,3,4,5,6,7,8,word\n"),
    "Total-Text: more x than y": (parse_total_text, "x: [[1 2 3]], y: [[1 2]], ornt: [u'c'], transcriptions: [u'a']\n"),
    "Total-Text: a word never closed": (parse_total_text, "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'c'], transcriptions: [u'a"),
    "Total-Text: half a megabyte of brackets": (
        parse_total_text, "x: [[1 2 3]], y: [[1 2 3]], ornt: [" + "] , transcriptions: [" * 25_000,
    ),
    "Total-Text: code in the transcription": (
        parse_total_text, "x: [[1 2 3]], y: [[1 2]], ornt: [u'c'], transcriptions: [__import__('os').system('true')]\n",
    ),
    "Total-Text: infinite": (parse_total_text, "x: [[1e999 2 3]], y: [[1 2 3]], ornt: [u'c'], transcriptions: [u'a']\n"),
    "CTW1500: 10,000 points": (parse_ctw1500, ",".join(["1,2"] * 10_000) + ",####text\n"),
    "CTW1500: two points": (parse_ctw1500, "1,2,3,4,####text\n"),
}  # fmt: skip


def gt_entry(name: str, parse, text: str) -> None:
    @entry(f"ground truth: {name}", names="gt_1.txt", megabytes=300)
    def make(folder: Path):
        (folder / "gt_1.txt").write_text(text)
        return lambda: parse(folder / "gt_1.txt") and None


for _name, (_parse, _text) in GT_FILES.items():
    gt_entry(_name, _parse, _text)

LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))


def xml_entry(name: str, text: str) -> None:
    @entry(f"ground truth: CTW1500: {name}", names="1.xml", megabytes=300)
    def make(folder: Path):
        (folder / "1.xml").write_text(text)
        return lambda: _no_word(parse_ctw1500(folder / "1.xml"), "1.xml")


def _no_word(words: list, name: str) -> None:
    # entities are never resolved: what stands there is a text like any other
    assert all("&" in w.text for w in words), words
    raise ValueError(f"{name}: nothing was resolved")


_BOX = "<box><label>{}</label><segs>1,1,9,1,9,9</segs></box>"
xml_entry("a billion laughs", f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]><x>{_BOX.format("&a11;")}</x>')
xml_entry("an outside entity", f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>{_BOX.format("&e;")}</x>')
xml_entry("never closed", "<x>" * 50_000)


def coco(**changes) -> dict:
    image = {"id": 1, "file_name": "a.jpg", "width": 60, "height": 40, "set": "train"}
    ann = {"image_id": 1, "mask": [1, 1, 9, 1, 9, 9], "utf8_string": "word", "legibility": "legible"}
    return {"imgs": {"1": {**image, **changes.get("image", {})}}, "anns": {"1": {**ann, **changes.get("ann", {})}}}


COCO = {
    "path with ..": coco(image={"file_name": "../a.jpg"}),
    "file name is a number": coco(image={"file_name": 7}),
    "NaN in the mask": coco(ann={"mask": [NAN, 1, 9, 1, 9, 9]}),
    "odd mask without a box": coco(ann={"mask": [1, 1, 9]}),
    "infinite box": coco(ann={"mask": [], "bbox": [0, 0, INFINITE, 1]}),
    "image id is a list": coco(ann={"image_id": []}),
    "text is a number": coco(ann={"utf8_string": 7}),
    "anns is a list": {**coco(), "anns": [1]},
}


def coco_entry(name: str, content: dict) -> None:
    @entry(f"COCO-Text: {name}", names="cocotext.json")
    def make(folder: Path):
        (folder / "cocotext.json").write_text(json.dumps(content))
        return lambda: read_coco_text(folder / "cocotext.json") and None


for _name, _content in COCO.items():
    coco_entry(_name, _content)


@entry("SynthText: gt.mat is random bytes", names="gt.mat")
def _(folder: Path):
    (folder / "gt.mat").write_bytes(np.random.default_rng(0).bytes(5000))
    return lambda: convert_synth_text(folder / "gt.mat", folder, folder / "out")


@entry("SynthText: gt.mat is cut short", names="gt.mat")
def _(folder: Path):
    from scipy.io import savemat

    savemat(folder / "gt.mat", {"imnames": ["a"], "wordBB": np.zeros((2, 4)), "txt": ["a"]})
    (folder / "gt.mat").write_bytes((folder / "gt.mat").read_bytes()[:200])
    return lambda: convert_synth_text(folder / "gt.mat", folder, folder / "out")


@entry("Total-Text: .mat of another kind", names="poly_gt_img1.mat")
def _(folder: Path):
    from scipy.io import savemat

    savemat(folder / "poly_gt_img1.mat", {"polygt": np.zeros((2, 5))})
    (folder / "poly_gt_img1.mat").write_bytes((folder / "poly_gt_img1.mat").read_bytes()[:150])
    return lambda: parse_total_text(folder / "poly_gt_img1.mat")


@entry("ground truth: scored Total-Text: half a megabyte of records never closed", names="poly_gt_img1.txt")
def _(folder: Path):
    (folder / "gt").mkdir()
    record = "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'c'], transcriptions: [u'a'\n"
    (folder / "gt" / "poly_gt_img1.txt").write_text(record * 8_000)
    return lambda: read_ground_truth(folder / "gt", TOTALTEXT)


@entry("ground truth: scored Total-Text: as many records as are read, never closed", names="poly_gt_img1.txt", seconds=60)
def _(folder: Path):
    (folder / "gt").mkdir()
    record = "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'c'], transcriptions: [u'a'\n"
    (folder / "gt" / "poly_gt_img1.txt").write_text(record * 1_500)
    return lambda: read_ground_truth(folder / "gt", TOTALTEXT)


# ---------------------------------------------------------------- submissions and lexicons


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
