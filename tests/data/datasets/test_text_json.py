"""A user's own annotation file as a data set."""

import json
import logging

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld.data.annotation import SCHEMA
from dld.data.datasets.text_json import load_text_json, register_text_dataset

NAME = "test_text_json_signs"


@pytest.fixture
def signs(tmp_path):
    words = [
        {"polygon": [[1, 1], [9, 1], [9, 5], [1, 5]], "text": "OPEN"},
        {"polygon": [[0, 0], [4, 4], [4, 0], [0, 4]], "text": "TIE"},
        {"polygon": [[0, 0], [2, 2], [4, 4]], "text": "LINE"},
    ]
    image = {"file_name": "a.jpg", "width": 10, "height": 6, "words": words}
    path = tmp_path / "signs.json"
    path.write_text(json.dumps({"schema": SCHEMA, "images": [image, {**image, "file_name": "b.jpg", "words": []}]}))
    yield path
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


def test_loading_repairs_and_says_so_once(signs, caplog):
    with caplog.at_level(logging.WARNING):
        a, b = load_text_json(signs, signs.parent)
        load_text_json(signs, signs.parent)
    assert [x["ignore"] for x in a["annotations"]] == [False, False, True]
    assert a["annotations"][1]["polygon"].tolist() == [[0, 0], [4, 0], [4, 4], [0, 4]]  # the bow-tie's corners in order
    assert b["annotations"] == []
    said = [r.message for r in caplog.records if str(signs) in r.message]
    assert len(said) == 1 and "0 invalid polygons repaired, 1 without an area" in said[0]
    assert "1 outlines of four corners crossed themselves and go around the word now" in said[0]


def test_outlines_that_mostly_cross_are_refused(signs):
    rows = [[1, 1], [5, 1], [9, 1], [1, 5], [5, 5], [9, 5]]  # the upper side, then the lower one, both from the left
    document = json.loads(signs.read_text())
    document["images"][0]["words"] = [{"polygon": rows, "text": "OPEN"}] * 2
    signs.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"signs\.json: the outlines of 2 of 2 words cross or touch themselves"):
        load_text_json(signs, signs.parent)


def test_register_and_get(signs):
    register_text_dataset(NAME, signs, signs.parent / "photos", protocol="totaltext")
    a, _ = DatasetCatalog.get(NAME)
    assert a["file_name"] == str(signs.parent / "photos" / "a.jpg") and a["image_id"] == "a"
    metadata = MetadataCatalog.get(NAME)
    assert metadata.thing_classes == ["text"] and metadata.evaluator_type == "text_spotting"
    assert metadata.protocol == "totaltext" and metadata.json_file == str(signs)


def test_registering_reads_nothing_and_twice_is_once(tmp_path, signs):
    absent = tmp_path / "absent.json"
    register_text_dataset(NAME, absent, tmp_path)
    register_text_dataset(NAME, absent, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        DatasetCatalog.get(NAME)
    with pytest.raises(ValueError, match=f"{NAME}.*is taken"):
        register_text_dataset(NAME, signs, tmp_path)


def test_an_unknown_protocol_is_named_and_nothing_registered(signs):
    with pytest.raises(ValueError, match="'icdar15'.*icdar2015"):
        register_text_dataset(NAME, signs, signs.parent, protocol="icdar15")
    assert NAME not in DatasetCatalog
