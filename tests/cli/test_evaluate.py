import argparse
import json
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld.cli import evaluate
from dld.evaluation.protocol import icdar2015
from dld.structures.words import SpottingResult, Word, write_results

GT = {
    "gt_img_1.txt": "\ufeff0,0,100,0,100,20,0,20,Exit!\r\n0,50,100,50,100,70,0,70,###\r\n",
    "gt_img_2.txt": "0,0,100,0,100,20,0,20,WAY\r\n0,50,100,50,100,70,0,70,62-03\r\n",
}
FOUND = {
    "res_img_1.txt": "0,0,100,0,100,20,0,20,EXIT\r\n0,50,100,50,100,70,0,70,junk\r\n",
    "res_img_2.txt": "0,0,100,0,100,20,0,20,WEY\r\n200,50,300,50,300,70,200,70,more\r\n",
}


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return str(path)


@pytest.fixture
def files(tmp_path):
    return make_zip(tmp_path / "gt.zip", GT), make_zip(tmp_path / "submission.zip", FOUND)


def run(tmp_path, gt, predictions, *options, protocol="icdar2015"):
    output = tmp_path / "scores.json"
    arguments = ["--gt", gt, "--predictions", predictions, "--protocol", protocol, "--output", str(output), *options]
    assert evaluate.main(arguments) == 0
    return json.loads(output.read_text())


def test_counts_by_hand(tmp_path, files, capsys):
    document = run(tmp_path, *files)
    counts = {
        task: tuple(scores["none"][key] for key in ("matched", "detections", "words"))
        for task, scores in document["results"].items()
    }
    assert counts == {"detection": (2, 3, 3), "e2e": (1, 3, 3), "word_spotting": (1, 3, 2)}
    assert document["results"]["e2e"]["none"]["precision"] == 1 / 3
    assert document["results"]["word_spotting"]["none"]["hmean"] == pytest.approx(2 / 5)
    assert document["protocol"] == json.loads(json.dumps(icdar2015.rules()))
    assert document["per_image"]["e2e"]["none"] == {"img_1": [1, 1, 1], "img_2": [0, 2, 2]}
    assert document["images"] == 2
    table = capsys.readouterr().out
    assert "word_spotting" in table and "66.67" in table


def test_folders_are_read_like_zips(tmp_path, files):
    for name, members in (("gt", GT), ("found", FOUND)):
        (tmp_path / name).mkdir()
        for file, text in members.items():
            (tmp_path / name / file).write_text(text, encoding="utf-8", newline="")
    from_zips = run(tmp_path, *files)["results"]
    assert run(tmp_path, str(tmp_path / "gt"), str(tmp_path / "found"))["results"] == from_zips


def test_one_task(tmp_path, files):
    assert list(run(tmp_path, *files, "--task", "word_spotting")["results"]) == ["word_spotting"]


def test_lexicons_side_by_side(tmp_path, files):
    for number in (1, 2):
        (tmp_path / f"voc_img_{number}.txt").write_text("EXIT\nWAY\n")
    results = run(tmp_path, *files, "--lexicon", "none", "strong", "--lexicon-dir", str(tmp_path))["results"]
    assert [results["e2e"][name]["matched"] for name in ("none", "strong")] == [1, 2]
    assert results["detection"]["none"] == results["detection"]["strong"]


def test_lexicon_rule_that_drops_words(tmp_path, files):
    (tmp_path / "ch4_test_vocabulary.txt").write_text("EXIT, WAY\n")
    options = ("--lexicon", "weak", "--lexicon-dir", str(tmp_path), "--lexicon-rule", "limited")
    document = run(tmp_path, *files, *options)
    assert document["results"]["e2e"]["weak"]["detections"] == 2  # "more" is far from both words
    assert document["results"]["detection"]["weak"]["detections"] == 3
    assert document["protocol"]["lexicon_rule"]["max_distance"] == 1.5


def test_our_results_become_a_zip_that_scores_the_same(tmp_path, files):
    words = [
        Word("exit", np.array([[0.4, 0], [100.9, 0], [100, 20], [0, 20.5]])),
        Word("junk", np.array([[0, 50], [50, 49], [100, 50], [100, 70], [0, 70]])),
    ]
    write_results(tmp_path / "results.json", [SpottingResult("img_1", "img_1.jpg", 640, 480, words)])
    document = run(tmp_path, files[0], str(tmp_path / "results.json"), "--write-submission", str(tmp_path / "out.zip"))
    assert document["submission"]["reduced"] == 1
    again = run(tmp_path, files[0], str(tmp_path / "out.zip"), "--strict")
    assert again["results"] == document["results"]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["res_img_1.txt", "res_img_2.txt"]
        assert archive.read("res_img_1.txt").decode().splitlines()[0] == "0,0,100,0,100,20,0,20,exit"


def test_detection_submission_has_no_text(tmp_path, files):
    run(tmp_path, *files, "--task", "detection", "--write-submission", str(tmp_path / "out.zip"))
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read("res_img_1.txt").decode().splitlines()[0] == "0,0,100,0,100,20,0,20"
    assert list(run(tmp_path, files[0], str(tmp_path / "out.zip"))["results"]) == ["detection"]


def test_lexicon_texts_are_what_is_submitted(tmp_path, files):
    (tmp_path / "GenericVocabulary.txt").write_text("EXIT\nWAY\nMORE\n")
    options = ("--lexicon", "generic", "--lexicon-dir", str(tmp_path), "--write-submission", str(tmp_path / "out.zip"))
    run(tmp_path, *files, *options)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read("res_img_2.txt").decode().splitlines()[0].endswith(",WAY")


def test_total_text_polygons(tmp_path):
    gt = make_zip(tmp_path / "gt.zip", {"0000001.txt": "0,0,50,-5,100,0,100,20,0,20,####Exit\n0,40,9,40,9,49,####.\n"})
    found = make_zip(tmp_path / "s.zip", {"img1.txt": "0,0,100,0,100,20,0,20,EXIT\n"})
    assert run(tmp_path, gt, found, protocol="totaltext")["results"]["e2e"]["none"]["matched"] == 1


def test_coarse_outlines_match_by_the_protocol_mango(tmp_path):
    """A rectangle of a fifth of the word; one of which an eighth lies in a don't-care word is not counted."""
    lines = "0,0,100,0,100,20,0,20,####exit\n0,50,100,50,100,70,0,70,#####\n"
    gt = make_zip(tmp_path / "gt.zip", {"0000001.txt": lines})
    found = make_zip(tmp_path / "s.zip", {"img1.txt": "20,6,70,6,70,14,20,14,exit\n0,36,80,36,80,52,0,52,x\n"})
    for protocol, matched, detections in (("totaltext", 0, 2), ("mango", 1, 1)):
        score = run(tmp_path, gt, found, protocol=protocol)["results"]["e2e"]["none"]
        assert (score["matched"], score["detections"]) == (matched, detections)


def test_words_can_be_handed_in_without_punctuation(tmp_path):
    gt = make_zip(tmp_path / "gt.zip", {"0000001.txt": "0,0,100,0,100,20,0,20,####Joes\n0,50,100,50,100,70,0,70,####leave\n"})
    found = make_zip(tmp_path / "s.zip", {"img1.txt": "0,0,100,0,100,20,0,20,JOE'S\n0,50,100,50,100,70,0,70,leave.\n"})
    (tmp_path / "GenericVocabulary.txt").write_text("JOES\nLEAVE\n")
    zipped = tmp_path / "out.zip"
    for rule, right in {"kept": 0, "inner": 1, "none": 2}.items():
        options = ("--punctuation", rule, "--write-submission", str(zipped))
        document = run(tmp_path, gt, found, *options, protocol="totaltext")
        assert document["protocol"]["punctuation"] == rule
        assert document["results"]["e2e"]["none"]["matched"] == right
        # what is written needs no rule
        assert run(tmp_path, gt, str(zipped), protocol="totaltext")["results"] == document["results"]
        options = ("--punctuation", rule, "--lexicon", "generic", "--lexicon-dir", str(tmp_path))
        assert run(tmp_path, gt, found, *options, protocol="totaltext")["results"]["e2e"]["generic"]["matched"] == 2


def test_words_of_a_lexicon_keep_their_punctuation(tmp_path):
    gt = make_zip(tmp_path / "gt.zip", {"0000001.txt": "0,0,100,0,100,20,0,20,####DON'T\n"})
    found = make_zip(tmp_path / "s.zip", {"img1.txt": "0,0,100,0,100,20,0,20,DONT.\n"})
    (tmp_path / "GenericVocabulary.txt").write_text("DON'T\nHELLO\n")
    zipped = tmp_path / "out.zip"
    options = (
        "--punctuation",
        "none",
        "--lexicon",
        "generic",
        "--lexicon-dir",
        str(tmp_path),
        "--write-submission",
        str(zipped),
    )
    assert run(tmp_path, gt, found, *options, protocol="totaltext")["results"]["e2e"]["generic"]["matched"] == 1
    with zipfile.ZipFile(zipped) as archive:
        assert archive.read(archive.namelist()[0]).decode().strip().endswith("####DON'T")


def test_own_annotations_as_ground_truth(tmp_path, files):
    word = {"polygon": [[0, 0], [100, 0], [100, 20], [0, 20]], "text": "Exit", "ignore": False}
    images = [
        {"file_name": f"img_{n}.jpg", "id": f"img_{n}", "width": 640, "height": 480, "words": [word] * (2 - n)} for n in (1, 2)
    ]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"schema": "dld-text/1", "name": "x", "images": images}))
    assert run(tmp_path, str(path), files[1])["results"]["e2e"]["none"]["matched"] == 1


def test_registered_data_set_brings_its_protocol(tmp_path, files):
    polygon = np.array([[0, 0], [100, 0], [100, 20], [0, 20]], dtype=np.float32)
    item = {"annotations": [{"polygon": polygon, "text": "Exit", "ignore": False}]}
    DatasetCatalog.register("evaluate_words", lambda: [{**item, "image_id": f"img_{n}"} for n in (1, 2)])
    MetadataCatalog.get("evaluate_words").set(protocol="ctw1500")
    try:
        output = tmp_path / "scores.json"
        arguments = ["--dataset", "evaluate_words", "--predictions", str(tmp_path / "r.json"), "--output", str(output)]
        write_results(tmp_path / "r.json", [SpottingResult("img_2", None, 9, 9, [Word("EXIT", polygon)])])
        assert evaluate.main(arguments) == 0
        document = json.loads(output.read_text())
        assert document["protocol"]["name"] == "ctw1500" and document["dataset"] == "evaluate_words"
        assert document["results"]["e2e"]["none"]["recall"] == 0.5
    finally:
        DatasetCatalog.remove("evaluate_words")
        MetadataCatalog.remove("evaluate_words")


@pytest.mark.parametrize(
    "change, options, message",
    [
        ({"res_img_9.txt": ""}, [], "submission.zip:res_img_9.txt: no such image in the ground truth"),
        ({"res_img_1.txt": "1,2,3,a"}, [], "submission.zip:res_img_1.txt, line 1: expected x1,y1"),
        ({"res_img_1.txt": "0,0,9,0,9,9,0,9"}, ["--task", "e2e"], "res_img_1.txt, line 1: no transcription"),
        ({"res_img_1.txt": "0,0,9,9,9,0,0,9,a"}, ["--strict"], "res_img_1.txt, line 1: self-intersecting polygon"),
        ({"res_img_1.txt": "0,0,0,9,9,9,9,0,a"}, ["--strict"], "res_img_1.txt, line 1: not clockwise polygon"),
        ({"res_img_1.txt": "0,0,0,0,0,0,0,0,a"}, ["--strict"], "res_img_1.txt, line 1: degenerate polygon"),
        ({}, ["--lexicon", "weak"], "lexicon 'weak' needs a lexicon folder"),
        ({}, ["--lexicon", "none", "weak", "--write-submission", "x.zip"], "takes one --lexicon"),
    ],
)
def test_mistakes_end_with_a_message_not_a_traceback(tmp_path, files, capsys, change, options, message):
    predictions = make_zip(tmp_path / "submission.zip", {**FOUND, **change})
    arguments = ["--gt", files[0], "--predictions", predictions, "--protocol", "icdar2015", *options]
    assert evaluate.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_broken_polygons_are_scored_with_a_warning(tmp_path, files, caplog):
    twisted = {**FOUND, "res_img_1.txt": "0,0,100,20,100,0,0,20,EXIT\n0,0,0,0,0,0,0,0,x\n"}
    document = run(tmp_path, files[0], make_zip(tmp_path / "twisted.zip", twisted))
    assert document["problems"] == {"self_intersecting": 1, "degenerate": 1, "not_clockwise": 0}
    assert "1 self-intersecting predictions" in caplog.text and "res_img_1.txt, line 2" in caplog.text
    assert document["results"]["detection"]["none"]["detections"] == 4


def test_protocol_and_data_set_must_be_known(tmp_path, files, capsys):
    assert evaluate.main(["--gt", files[0], "--predictions", files[1]]) == 2
    assert "--gt needs --protocol, one of icdar2013" in capsys.readouterr().err
    assert evaluate.main(["--dataset", "icdar1998", "--predictions", files[1]]) == 2
    assert "unknown data set 'icdar1998'; known:" in capsys.readouterr().err
    assert evaluate.main(["--gt", "nowhere", "--predictions", files[1], "--protocol", "icdar2015"]) == 2
    assert "no such file or folder: nowhere" in capsys.readouterr().err


def test_scores_are_returned_to_python(files, capsys):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    scores = evaluate.run(parser.parse_args(["--gt", files[0], "--predictions", files[1], "--protocol", "icdar2015"]))
    assert asdict(scores["e2e"]["none"].score)["matched"] == 1
