"""Official ground truth that nobody should have to fear."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hostile_corpus import HALF_MEGABYTE, entry

from dld.data.datasets.coco_text import read_coco_text
from dld.data.datasets.ctw1500 import parse_ctw1500
from dld.data.datasets.icdar import parse_icdar2013, parse_icdar2015, parse_icdar2017_mlt
from dld.data.datasets.synth_text import convert_synth_text
from dld.data.datasets.total_text import parse_total_text
from dld.evaluation.ground_truth import read_ground_truth
from dld.evaluation.protocol import get_protocol

NAN, INFINITE = float("nan"), float("inf")
TOTALTEXT = get_protocol("totaltext")
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
        parse_total_text,
        "x: [[1 2 3]], y: [[1 2 3]], ornt: [" + "] , transcriptions: [" * 25_000,
    ),
    "Total-Text: code in the transcription": (
        parse_total_text,
        "x: [[1 2 3]], y: [[1 2]], ornt: [u'c'], transcriptions: [__import__('os').system('true')]\n",
    ),
    "Total-Text: infinite": (parse_total_text, "x: [[1e999 2 3]], y: [[1 2 3]], ornt: [u'c'], transcriptions: [u'a']\n"),
    "CTW1500: 10,000 points": (parse_ctw1500, ",".join(["1,2"] * 10_000) + ",####text\n"),
    "CTW1500: two points": (parse_ctw1500, "1,2,3,4,####text\n"),
}


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
