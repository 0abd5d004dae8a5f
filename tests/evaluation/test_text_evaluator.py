import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from torch.utils.data import Dataset

from dld.benchmark.scoring import benchmark_evaluation, random_scenes
from dld.evaluation import text_evaluator
from dld.evaluation.ground_truth import read_ground_truth
from dld.evaluation.lexicon import Lexicon
from dld.evaluation.matching import score_dataset
from dld.evaluation.protocol import totaltext
from dld.evaluation.submission import read_submission
from dld.evaluation.text_evaluator import TextSpottingEvaluator, dataset_protocol

NAME = "evaluator_scenes"


class Streamed(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index % len(self.items)]  # a loop that waits for IndexError would never end


@pytest.fixture
def scenes():
    truth, predictions = random_scenes(4, 6, seed=5)
    inputs = [
        {
            "image_id": image,
            "file_name": f"/data/{image}.jpg",
            "annotations": [{"polygon": word.polygon, "text": word.text, "ignore": False} for word in words],
        }
        for image, words in truth.items()
    ]
    outputs = [{"instances": instances(predictions[image]), "scale": torch.tensor(0.5)} for image in truth]
    DatasetCatalog.register(NAME, lambda: Streamed(inputs))
    MetadataCatalog.get(NAME).set(protocol="totaltext", evaluator_type="text_spotting")
    yield inputs, outputs, score_dataset(truth, predictions, totaltext)
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def instances(words):
    made = Instances((720, 1280))
    made.pred_boxes = Boxes(torch.zeros(len(words), 4))
    made.scores = torch.full((len(words),), 0.5)
    made.pred_polygons = [word.polygon for word in words]
    made.pred_texts = [word.text for word in words]
    return made


def without_annotations(inputs):
    return [{key: value for key, value in item.items() if key != "annotations"} for item in inputs]


@pytest.mark.parametrize("carried", [True, False])
def test_scores_are_those_of_the_protocol_in_per_cent(scenes, carried):
    inputs, outputs, expected = scenes
    evaluator = TextSpottingEvaluator(NAME)
    evaluator.process(inputs if carried else without_annotations(inputs), outputs)
    results = evaluator.evaluate()
    assert list(results) == ["detection", "e2e", "word_spotting"]
    for task, item in expected.items():
        assert results[task] == pytest.approx(
            {key: 100 * getattr(item.score, key) for key in ("precision", "recall", "hmean")}, abs=1e-3
        )
        assert evaluator.per_image[task] == item.per_image


def test_one_table_with_all_tasks(scenes, caplog):
    inputs, outputs, _ = scenes
    evaluator = TextSpottingEvaluator(NAME)
    evaluator.process(inputs, outputs)
    with caplog.at_level(logging.INFO, logger="dld.evaluation.text_evaluator"):
        evaluator.evaluate()
    (table,) = [record.getMessage() for record in caplog.records]
    assert all(word in table for word in (NAME, "totaltext", "detection", "e2e", "word_spotting", "H-mean"))


def test_no_predictions_and_an_empty_data_set(scenes):
    evaluator = TextSpottingEvaluator(NAME)
    assert evaluator.evaluate()["e2e"] == {"precision": 0, "recall": 0, "hmean": 0}
    assert evaluator.per_image["e2e"]["img_1"].words > 0  # the words of images never seen are missed
    evaluator.reset()
    evaluator.process(scenes[0][:1], [{"instances": instances([])}])
    assert evaluator.evaluate()["detection"]["hmean"] == 0
    DatasetCatalog.remove(NAME)
    DatasetCatalog.register(NAME, lambda: [])
    assert TextSpottingEvaluator(NAME).evaluate()["detection"] == {"precision": 0, "recall": 0, "hmean": 0}


def test_images_that_two_processes_saw_count_once(scenes, monkeypatch):
    inputs, outputs, expected = scenes
    first, second = TextSpottingEvaluator(NAME), TextSpottingEvaluator(NAME)
    first.process(inputs[:3], outputs[:3])
    second.process(inputs[2:], outputs[2:])
    monkeypatch.setattr(text_evaluator.comm, "gather", lambda mine, dst: [mine, second._gathered])
    first.evaluate()
    assert first.per_image["detection"] == expected["detection"].per_image
    monkeypatch.setattr(text_evaluator.comm, "is_main_process", lambda: False)
    assert first.evaluate() == {}


def test_reset_forgets(scenes):
    inputs, outputs, _ = scenes
    evaluator = TextSpottingEvaluator(NAME)
    evaluator.process(inputs, outputs)
    evaluator.reset()
    assert evaluator.evaluate()["detection"]["recall"] == 0


def test_files_hold_fractions_and_score_again_to_the_same(scenes, tmp_path):
    inputs, outputs, expected = scenes
    evaluator = TextSpottingEvaluator(NAME, output_dir=tmp_path)
    evaluator.process(inputs, outputs)
    evaluator.evaluate()
    document = json.loads((tmp_path / f"{NAME}_scores.json").read_text())
    assert document["results"]["e2e"]["none"]["hmean"] == expected["e2e"].score.hmean <= 1
    results = json.loads((tmp_path / f"{NAME}_results.json").read_text())
    assert results["dataset"] == NAME and results["images"][0]["scale"] == 0.5
    (tmp_path / "gt").mkdir()
    for item in inputs:
        rows = [",".join(map(str, w["polygon"].ravel())) + ",####" + w["text"] for w in item["annotations"]]
        (tmp_path / "gt" / f"{item['image_id']}.txt").write_text("\n".join(rows))
    truth = read_ground_truth(tmp_path / "gt", totaltext)
    again = read_submission(tmp_path / f"{NAME}_results.json", totaltext, truth)
    assert score_dataset(truth, again.words, totaltext)["e2e"].per_image == evaluator.per_image["e2e"]


def test_lexicon_corrects_texts_before_reading_tasks_only(scenes):
    inputs, outputs, expected = scenes
    for output in outputs:
        output["instances"].pred_texts = [text[:-1] + "?" for text in output["instances"].pred_texts]
    words = [annotation["text"] for item in inputs for annotation in item["annotations"]]
    evaluator = TextSpottingEvaluator(NAME, lexicon=Lexicon("full", words=words))
    evaluator.process(inputs, outputs)
    results = evaluator.evaluate()
    assert results["e2e"]["hmean"] > 90
    assert results["detection"]["hmean"] == pytest.approx(100 * expected["detection"].score.hmean)


def test_broken_polygons_of_a_model_do_not_stop_the_evaluation(scenes, tmp_path):
    inputs, outputs, _ = scenes
    outputs[0]["instances"].pred_polygons[0] = np.full((4, 2), np.nan, dtype=np.float32)
    outputs[0]["instances"].pred_polygons[1] = np.zeros((0, 2), dtype=np.float32)
    evaluator = TextSpottingEvaluator(NAME, output_dir=tmp_path)
    evaluator.process(inputs, outputs)
    assert evaluator.evaluate()["detection"]["recall"] < 100


def test_protocol_is_that_of_the_metadata_or_the_given_one(scenes):
    assert TextSpottingEvaluator(NAME).protocol.name == "totaltext"
    assert TextSpottingEvaluator(NAME, protocol="icdar2015").protocol.name == "icdar2015"
    with pytest.raises(KeyError, match="'nobodys_words' names no protocol"):
        dataset_protocol("nobodys_words")
    with pytest.raises(KeyError, match="known: icdar2013"):
        TextSpottingEvaluator(NAME, protocol="icdar1998")


def test_benchmark_says_what_it_measured():
    measured = benchmark_evaluation(images=3, words=5)
    assert (measured["images"], measured["words_per_image"], measured["tasks"]) == (3, 5, 3)
    assert measured["seconds"] > 0 and measured["detection_hmean"] > 0.9
