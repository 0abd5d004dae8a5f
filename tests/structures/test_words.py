import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from dld.structures.words import SpottingResult, Word, read_results, result_from_instances, write_results


def result(**changes):
    word = Word("Café", [[0, 0], [10.3, 0], [10.3, 5], [0, 5]], 0.75, [0.9, 0.8, 0.7, 0.6])
    values = dict(image_id="img_1", file_name="a/img_1.jpg", width=640, height=480, words=[word])
    return SpottingResult(**{**values, **changes})


def test_file_gives_back_every_bit(tmp_path):
    polygon = np.random.default_rng(0).uniform(-5, 2000, size=(14, 2)).astype(np.float32)
    given = result(words=[Word("x", polygon, 0.5)], scale=0.5, cost=0.31, gflops=40.2)
    write_results(tmp_path / "deep" / "results.json", [given], dataset="icdar2015_test")
    (read,) = read_results(tmp_path / "deep" / "results.json")
    assert np.array_equal(read.words[0].polygon, polygon) and read.words[0].polygon.dtype == np.float32
    assert read.to_dict() == given.to_dict()
    assert json.loads((tmp_path / "deep" / "results.json").read_text())["dataset"] == "icdar2015_test"
    assert [item.name for item in (tmp_path / "deep").iterdir()] == ["results.json"]


def test_decimals_are_the_shortest_that_read_back():
    assert result().to_dict()["words"][0]["polygon"][1] == [10.3, 0.0]
    assert json.loads(result().to_json())["words"][0]["text"] == "Café"


def test_results_are_written_one_by_one_as_the_same_json(tmp_path):
    """A results file of any length needs the memory of one result."""
    written = []

    def results():
        for index in range(3):
            written.append(index)
            yield result(image_id=f"img_{index}")

    write_results(tmp_path / "r.json", results(), 'Größe "a"')
    values = {"schema": "dld-results/1", "dataset": 'Größe "a"', "images": [r.to_dict() for r in results()]}
    assert (tmp_path / "r.json").read_text(encoding="utf-8") == json.dumps(values, ensure_ascii=False) + "\n"
    write_results(tmp_path / "none.json", [])
    assert read_results(tmp_path / "none.json") == []
    with pytest.raises(ZeroDivisionError):
        write_results(tmp_path / "r.json", (1 / 0 for _ in range(1)))
    assert len(read_results(tmp_path / "r.json")) == 3 and len(list(tmp_path.iterdir())) == 2


def test_a_drawing_shows_the_words_on_the_image():
    image = np.full((480, 640, 3), 120, np.uint8)
    drawn = np.asarray(result(words=[Word("EXIT", [[300, 200], [400, 200], [400, 240], [300, 240]])]).draw(image))
    changed = np.argwhere((drawn != 120).any(2))
    assert drawn.shape == image.shape and (image == 120).all()
    assert changed.min(0).tolist() > [150, 290] and changed.max(0).tolist() < [250, 450]
    blue = image.copy()
    blue[:, :, 0] = 200  # BGR in, RGB out
    assert np.asarray(result(words=[]).draw(blue))[0, 0].tolist() == [120, 120, 200]
    kept = result(words=[], pixels=lambda: blue)
    assert np.asarray(kept.draw())[0, 0, 2] == 200 and "pixels" not in kept.to_dict() and kept == result(words=[])
    with pytest.raises(ValueError, match="does not keep its image"):
        result().draw()
    with pytest.raises(ValueError, match="the words are of an image of 640 x 480, this one is 480 x 640"):
        result().draw(image.transpose(1, 0, 2))


def test_numbers_that_are_none_become_null_and_stay_readable():
    given = result(words=[Word("x", [[np.nan, 0], [1, 0], [1, 1]], float("nan"))])
    values = json.loads(given.to_json())
    assert values["words"][0]["polygon"][0] == [None, 0.0]
    (word,) = SpottingResult.from_dict(values).words
    assert np.isnan(word.polygon[0, 0]) and np.isnan(word.score)


def test_image_without_words_and_without_name():
    given = result(image_id=None, file_name=None, words=[])
    assert SpottingResult.from_dict(given.to_dict()).to_dict() == given.to_dict()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"text": 5}, "'text' must be a string"),
        ({"polygon": "abc"}, "'polygon' must be a list"),
        ({"polygon": [[1, 2], [3]]}, "'polygon' must be a list"),
        ({"polygon": [[1, 2, 3]]}, "expected \\(P, 2\\)"),
        ({"score": "high"}, "must be numbers"),
    ],
)
def test_wrong_field_is_named_with_file_image_and_word(tmp_path, change, message):
    values = {"schema": "dld-results/1", "images": [result().to_dict()]}
    values["images"][0]["words"][0].update(change)
    (tmp_path / "r.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"r\.json: image 0 \(img_1\): word 0: .*{message}"):
        read_results(tmp_path / "r.json")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not a json file"),
        ("[]", "found 'list'"),
        ('{"schema": "coco"}', "found 'coco'"),
        ('{"schema": "dld-results/1"}', "'images' must be a list"),
        ('{"schema": "dld-results/1", "images": [3]}', r"image 0 \(None\): expected an object"),
        ('{"schema": "dld-results/1", "images": [{"image_id": "a"}]}', "'words' must be a list"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path / "r.json")


def test_instances_with_everything():
    instances = Instances((480, 640))
    instances.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, 10.0, 5.0]]))
    instances.scores = torch.tensor([0.75])
    instances.pred_polygons = [np.array([[0, 0], [10, 0], [10, 5]], dtype=np.float32)]
    instances.pred_texts = ["EXIT"]
    instances.pred_char_scores = [[0.5, 0.25, 1.0, 1.0]]
    read = result_from_instances(instances, image_id=7, scale=0.5)
    assert (read.image_id, read.width, read.height, read.scale, read.cost) == ("7", 640, 480, 0.5, None)
    assert (read.words[0].text, read.words[0].score, read.words[0].char_scores) == ("EXIT", 0.75, [0.5, 0.25, 1.0, 1.0])
    assert read.words[0].polygon.shape == (3, 2)


def test_instances_of_a_plain_detector_and_empty_ones():
    instances = Instances((480, 640))
    instances.pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 10.0, 5.0]]))
    instances.scores = torch.tensor([0.75])
    (word,) = result_from_instances(instances).words
    assert word.polygon.tolist() == [[1, 2], [10, 2], [10, 5], [1, 5]] and word.text == ""
    assert result_from_instances(instances[:0]).words == []
