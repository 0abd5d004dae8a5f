"""COCO-Text's one json."""

import json

import pytest

from dld.data.datasets.coco_text import read_coco_text


def a_document():
    def image(i, split):
        return {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "width": 64, "height": 48, "set": split}

    def ann(i, image_id, **other):
        base = {"id": i, "image_id": image_id, "mask": [1, 2, 9, 2, 9, 6, 1, 6], "bbox": [1, 2, 8, 4]}
        return {**base, "class": "machine printed", "language": "english", "legibility": "legible", **other}

    anns = [
        ann(1, 20, utf8_string="STOP"),
        ann(2, 20, legibility="illegible", language="na"),
        ann(3, 20, utf8_string="", mask=[]),
        ann(4, 10, utf8_string="a", mask=[1, 1, 5, 1, 5, 3, 3, 4, 1, 3]),
        ann(5, 30, utf8_string="held out"),
    ]
    images = [image(20, "train"), image(10, "train"), image(30, "val"), image(40, "train")]
    return {
        "imgs": {str(i["id"]): i for i in images},
        "anns": {str(a["id"]): a for a in anns},
        "imgToAnns": {},
        "info": {},
    }


def written(tmp_path, document):
    path = tmp_path / "cocotext.v2.json"
    path.write_text(json.dumps(document))
    return path


def test_the_training_images_that_hold_text(tmp_path):
    ten, twenty = read_coco_text(written(tmp_path, a_document()))
    assert (ten.image_id, twenty.image_id) == ("COCO_train2014_000000000010", "COCO_train2014_000000000020")
    assert (twenty.width, twenty.height) == (64, 48)
    assert [(w.text, w.ignore) for w in twenty.words] == [("STOP", False), ("", True), ("", True)]
    assert twenty.words[0].kind == "machine printed" and twenty.words[0].language == "english"
    assert twenty.words[2].polygon.tolist() == [[1, 2], [9, 2], [9, 6], [1, 6]]  # without a mask: its box
    assert len(ten.words[0].polygon) == 5


def test_the_other_split(tmp_path):
    (image,) = read_coco_text(written(tmp_path, a_document()), "val")
    assert image.words[0].text == "held out"


def test_another_json_and_a_broken_annotation_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"cocotext\.v2\.json: expected COCO-Text"):
        read_coco_text(written(tmp_path, {"images": []}))
    document = a_document()
    del document["anns"]["4"]["image_id"]
    with pytest.raises(ValueError, match=r"cocotext\.v2\.json: anns\['4'\]: expected image_id"):
        read_coco_text(written(tmp_path, document))
    document = a_document()
    del document["imgs"]["10"]["width"]
    with pytest.raises(ValueError, match=r"imgs\['10'\]: .*width"):
        read_coco_text(written(tmp_path, document))
