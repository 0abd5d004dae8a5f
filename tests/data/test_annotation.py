"""The annotation file: what is written is read again, and what is wrong is named with its place."""

import json

import numpy as np
import pytest
from detectron2.structures import BoxMode

from dld.data.annotation import (
    SCHEMA,
    ImageAnnotation,
    TextAnnotation,
    find_schema_problems,
    read_annotations,
    to_dataset_dict,
    write_annotations,
)

TRIANGLE = [[0, 0], [4, 0.25], [1, 3]]


def a_document(**changes):
    word = {"polygon": TRIANGLE, "text": "ab", "ignore": False}
    image = {"file_name": "a.jpg", "id": "a", "width": 10, "height": 8, "words": [word]}
    document = {"schema": SCHEMA, "name": "x", "images": [image]}
    for key, value in changes.items():
        owner = next(o for o in (word, image, document) if key in o)
        if value is None:
            del owner[key]
        else:
            owner[key] = value
    return document


def written(tmp_path, document):
    path = tmp_path / "annotations.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def test_a_file_says_what_was_written(tmp_path):
    words = [
        TextAnnotation(np.array([[0.1, 1 / 3], [5, 0], [-2, 9.5]]), 'say "é", \\ \u2028 "polygon": x', False, "Latin"),
        TextAnnotation(np.array(TRIANGLE, float), "", True, kind="handwritten"),
    ]
    images = [ImageAnnotation("sub/b.png", "b", 12, 7, words), ImageAnnotation("c.png", "c", 1, 1)]
    write_annotations(tmp_path / "deep" / "annotations.json", images, "mine")
    b, c = read_annotations(tmp_path / "deep" / "annotations.json")
    assert (b.file_name, b.image_id, b.width, b.height) == ("sub/b.png", "b", 12, 7)
    assert c.words == []
    for before, after in zip(words, b.words, strict=True):
        assert np.array_equal(before.polygon, after.polygon)  # every bit of every coordinate
        assert (before.text, before.ignore, before.language, before.kind) == (
            after.text,
            after.ignore,
            after.language,
            after.kind,
        )
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["annotations.json"]  # no temporary file stays


def test_nothing_is_written_when_something_is_wrong(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text("old")
    bad = ImageAnnotation("a.jpg", "a", 5, 5, [TextAnnotation(np.zeros((2, 2)), "x")])
    with pytest.raises(ValueError, match=r"images\[0\]\.words\[0\]\.polygon"):
        write_annotations(path, [bad], "mine")
    assert path.read_text() == "old"


def test_id_and_ignore_may_be_left_out(tmp_path):
    (image,) = read_annotations(written(tmp_path, a_document(id=None, ignore=None, file_name="sub/a.b.jpg")))
    assert image.image_id == "sub/a.b"
    assert image.words[0].ignore is False


def test_a_byte_order_mark_is_no_character(tmp_path):
    assert len(read_annotations(written(tmp_path, "\ufeff" + json.dumps(a_document())))) == 1


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"schema": "coco"}, r"schema: expected"),
        ({"schema": None}, r"schema: expected"),
        ({"file_name": "/etc/a.jpg"}, r"images\[0\]\.file_name"),
        ({"file_name": "../a.jpg"}, r"images\[0\]\.file_name"),
        ({"file_name": "a\\b.jpg"}, r"images\[0\]\.file_name"),
        ({"id": 7}, r"images\[0\]\.id"),
        ({"width": 10.0}, r"images\[0\]\.width"),
        ({"height": 0}, r"images\[0\]\.height"),
        ({"height": True}, r"images\[0\]\.height"),
        ({"height": None}, r"images\[0\]\.height: .*None"),
        ({"words": {}}, r"images\[0\]\.words: expected a list"),
        ({"words": ["ab"]}, r"images\[0\]\.words\[0\]: expected an object"),
        ({"polygon": [[0, 0], [1, 1]]}, r"words\[0\]\.polygon: .*3 points"),
        ({"polygon": [0, 0, 4, 0, 4, 4]}, r"words\[0\]\.polygon: expected points"),
        ({"polygon": [[0, 0], [1, 1], [2, float("nan")]]}, r"words\[0\]\.polygon"),
        ({"text": 12}, r"words\[0\]\.text: expected a string"),
        ({"text": " "}, r"words\[0\]\.text: is empty"),
        ({"ignore": 1}, r"words\[0\]\.ignore: expected true or false"),
    ],
)
def test_a_wrong_shape_is_named_with_file_place_and_field(tmp_path, changes, place):
    path = written(tmp_path, a_document(**changes))
    with pytest.raises(ValueError, match=place) as caught:
        read_annotations(path)
    assert str(path) in str(caught.value)


def test_an_empty_text_is_fine_on_an_ignored_word(tmp_path):
    (image,) = read_annotations(written(tmp_path, a_document(text="", ignore=True)))
    assert image.words[0].ignore


def test_two_images_of_one_id_are_named(tmp_path):
    document = a_document()
    document["images"].append({**document["images"][0], "file_name": "b.jpg"})
    with pytest.raises(ValueError, match=r"images\[1\]\.id: 'a' is already the id of images\[0\]"):
        read_annotations(written(tmp_path, document))


def test_another_kind_of_json_is_told_what_is_expected(tmp_path):
    for document in ([1, 2], {"annotations": [], "categories": []}):
        with pytest.raises(ValueError, match="dld-text/1"):
            read_annotations(written(tmp_path, document))


def test_broken_json_is_named_with_its_line(tmp_path):
    path = written(tmp_path, '{"schema": "dld-text/1",\n "images": [}')
    with pytest.raises(ValueError, match=r"annotations\.json:2: not valid json"):
        read_annotations(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        read_annotations(tmp_path / "nothing.json")


def test_every_problem_is_found_not_only_the_first():
    document = a_document(text=3, width=-1)
    document["images"].append("not an image")
    assert [str(p).split(":")[0] for p in find_schema_problems(document)] == [
        "images[0].width",
        "images[0].words[0].text",
        "images[1]",
    ]


def test_dataset_dict_has_detectron2s_keys_and_ours(tmp_path, monkeypatch):
    word = TextAnnotation(np.array([[1, 2], [6, 2], [6, 5.5], [-1, 4]]), "ab", True)
    monkeypatch.chdir(tmp_path)
    record = to_dataset_dict(ImageAnnotation("s/a.jpg", "a", 10, 8, [word]), "images")
    assert record["file_name"] == str(tmp_path / "images" / "s" / "a.jpg")
    assert (record["image_id"], record["height"], record["width"]) == ("a", 8, 10)
    (annotation,) = record["annotations"]
    assert annotation["bbox"] == [-1, 2, 6, 5.5]
    assert annotation["bbox_mode"] == BoxMode.XYXY_ABS
    assert annotation["segmentation"] == [[1, 2, 6, 2, 6, 5.5, -1, 4]]
    assert annotation["polygon"].dtype == np.float32 and annotation["polygon"].shape == (4, 2)
    assert (annotation["category_id"], annotation["iscrowd"]) == (0, 0)
    assert (annotation["text"], annotation["ignore"]) == ("ab", True)
