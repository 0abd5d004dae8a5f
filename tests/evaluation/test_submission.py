import logging
import zipfile

import numpy as np
import pytest

from dld.benchmark.scoring import random_scenes
from dld.evaluation.matching import score_dataset
from dld.evaluation.overlap import is_clockwise, measure_overlap
from dld.evaluation.protocol import TASKS, ctw1500, icdar2013, icdar2015, totaltext
from dld.evaluation.submission import check_predictions, read_submission, to_quadrilateral, write_submission
from dld.structures.words import SpottingResult, Word, write_results

SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=np.float32)
BOW_TIE = SQUARE[[0, 2, 1, 3]]


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("name", ["res_img_3.txt", "img_3.txt", "gt_img_3.txt", "0000003.txt"])
def test_file_names_of_submissions(tmp_path, name):
    (tmp_path / name).write_text("0,0,9,0,9,9,0,9,EXIT\n")
    submission = read_submission(tmp_path, icdar2015, ["img_3", "img_4"])
    assert [word.text for word in submission.words["img_3"]] == ["EXIT"] and "img_4" not in submission.words
    assert submission.with_text and submission.without_text is None
    assert submission.places["img_3"][0].endswith(f"{name}, line 1")


def test_lines_without_text_are_known(tmp_path):
    (tmp_path / "res_img_1.txt").write_text("0,0,9,0,9,9,0,9\n")
    submission = read_submission(tmp_path, icdar2015, ["img_1"])
    assert not submission.with_text and submission.without_text.endswith("res_img_1.txt, line 1")


def test_results_json(tmp_path):
    results = [
        SpottingResult("img_1", None, 20, 20, [Word("a", SQUARE)]),
        SpottingResult(None, "x/img_2.jpg", 9, 9, []),
    ]
    write_results(tmp_path / "r.json", results)
    assert list(read_submission(tmp_path / "r.json", icdar2015, ["img_1", "img_2"]).words) == ["img_1", "img_2"]
    with pytest.raises(ValueError, match=r"r\.json: image 1 \('x/img_2.jpg'\) is not in the ground truth"):
        read_submission(tmp_path / "r.json", icdar2015, ["img_1"])
    write_results(tmp_path / "r.json", results[:1] * 2)
    with pytest.raises(ValueError, match="stands there before"):
        read_submission(tmp_path / "r.json", icdar2015, ["img_1"])


def test_results_of_several_folders_belong_to_images_of_their_paths(tmp_path):
    files = ["photos/day1/img_1.jpg", "photos/day2/img_1.jpg", r"day3\img_1.JPG", "photos/img_1.jfif"]
    write_results(tmp_path / "r.json", [SpottingResult(None, name, 9, 9, [Word(name, SQUARE)]) for name in files])
    ids = ["day2/img_1", "day1/img_1", "day3/img_1", "img_1"]
    words = read_submission(tmp_path / "r.json", icdar2015, ids).words
    assert {image: found[0].text for image, found in words.items()} == {
        "day1/img_1": files[0],
        "day2/img_1": files[1],
        "day3/img_1": files[2],
        "img_1": files[3],
    }
    # without folders in the ids two of them are one image, which is said
    with pytest.raises(ValueError, match=r"image 1 \('photos/day2/img_1.jpg'\) is image 'img_1', which stands there before"):
        read_submission(tmp_path / "r.json", icdar2015, ["img_1"])


@pytest.mark.parametrize("protocol", [icdar2015, icdar2013, ctw1500])
def test_a_column_of_confidence_is_named_and_not_taken_for_text_without_a_word(tmp_path, caplog, protocol):
    corners = "0,0,9,9" if protocol is icdar2013 else "0,0,9,0,9,9,0,9"

    def warned(*ends):
        caplog.clear()
        (tmp_path / "res_img_1.txt").write_text("".join(f"{corners},{end}\n" for end in ends))
        read_submission(tmp_path, protocol, ["img_1"])
        return [record.message for record in caplog.records]

    (said,) = warned("0.98", ".5")
    assert "a column of confidence stands in every line instead of the text ('0.98'), so only detection counts" in said
    assert warned("0.98", "Slow") == warned("12.50") == []
    if protocol is ctw1500:
        with pytest.raises(ValueError, match="got 9 numbers in .*; a column of confidence before the text"):
            warned("0.98,####Slow")
        return
    for ends in (("0.98,Slow", "1.0,Down, 5"), ("98.2,Slow",)):
        (said,) = warned(*ends)
        assert f"a column of confidence stands in every line before the text ({ends[0]!r})" in said
    assert warned("0.98,Slow", "Down") == warned("1", "0") == warned("Slow") == []


def test_mistakes_name_file_and_line(tmp_path):
    (tmp_path / "res_img_1.txt").write_text("0,0,9,0,9,9,0,9,a\n0,0,9,0\n")
    with pytest.raises(ValueError, match=r"res_img_1\.txt, line 2: expected x1,y1"):
        read_submission(tmp_path, icdar2015, ["img_1"])
    with pytest.raises(ValueError, match=r"res_img_1\.txt: no such image in the ground truth"):
        read_submission(tmp_path, icdar2015, ["img_2"])
    (tmp_path / "img_1.txt").write_text("")
    (tmp_path / "res_img_1.txt").write_text("")
    with pytest.raises(ValueError, match="a second file for image 'img_1'"):
        read_submission(tmp_path, icdar2015, ["img_1"])


def test_zip_with_something_else_in_it_is_refused_as_on_the_official_site(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("res_img_1.txt", "")
        archive.writestr("picture.png", "")
    with pytest.raises(ValueError, match=r"s\.zip:picture\.png: only \.txt files"):
        read_submission(tmp_path / "s.zip", icdar2015, ["img_1"])


def test_problems_are_counted_told_once_and_refused_under_strict(caplog):
    predictions = {"img_1": [Word("a", BOW_TIE), Word("b", SQUARE * 0), Word("c", SQUARE[::-1]), Word("d", SQUARE)]}
    with caplog.at_level(logging.WARNING):
        found = check_predictions(predictions, icdar2015)
    assert found == {"self_intersecting": 1, "degenerate": 1, "not_clockwise": 1}
    assert len(caplog.records) == 3 and "image img_1, word 1" in caplog.text and "row by row" not in caplog.text
    with caplog.at_level(logging.WARNING):
        check_predictions({"img_1": [Word("a", BOW_TIE)]}, icdar2015)
    assert "(top left, top right, bottom right, bottom left), not row by row" in caplog.text
    with pytest.raises(ValueError, match=r"s\.zip line 7: self-intersecting polygon"):
        check_predictions({"img_1": [Word("a", BOW_TIE)]}, icdar2015, {"img_1": ["s.zip line 7"]}, strict=True)
    assert check_predictions({"img_1": [Word("c", SQUARE[::-1])]}, totaltext, strict=True)["not_clockwise"] == 0


def test_four_points_stay_and_turn_clockwise():
    assert to_quadrilateral(SQUARE + 0.9, icdar2015).tolist() == SQUARE.tolist()
    assert to_quadrilateral(SQUARE[::-1], icdar2015).tolist() == SQUARE.tolist()


def test_more_points_become_the_smallest_rectangle():
    diamond = np.array([[50, 0], [75, 25], [100, 50], [50, 100], [0, 50]])
    corners = to_quadrilateral(diamond, icdar2015)
    assert is_clockwise(corners) and sorted(corners.tolist()) == [[0, 50], [50, 0], [50, 100], [100, 50]]
    assert to_quadrilateral([[0, 0], [5, 5], [9, 9]], icdar2015).shape == (4, 2)
    assert to_quadrilateral([[0, 0], [5, 5]], icdar2015) is None
    assert to_quadrilateral(SQUARE * np.nan, icdar2015) is None


def test_official_icdar_zip(tmp_path):
    words = [Word('"a", b\nc', SQUARE), Word("gone", SQUARE * np.nan), Word("", SQUARE + 5)]
    done = write_submission(tmp_path / "s.zip", {"img_2": words}, icdar2015, ["img_2", "img_10"])
    assert done == {"reduced": 0, "left_out": 1}
    assert members(tmp_path / "s.zip") == {
        "res_img_2.txt": '0,0,10,0,10,10,0,10,"a", b c\n5,5,15,5,15,15,5,15,\n',
        "res_img_10.txt": "",
    }
    write_submission(tmp_path / "t.zip", {"img_2": words[:1]}, icdar2013, ["img_2"], with_text=False)
    assert members(tmp_path / "t.zip") == {"res_img_2.txt": "0,0,10,0,10,10,0,10\n"}
    write_submission(tmp_path / "u.zip", {"img_2": words}, icdar2015, ["img_2", "img_10"])
    assert (tmp_path / "u.zip").read_bytes() == (tmp_path / "s.zip").read_bytes()


def test_polygon_zip(tmp_path):
    words = [Word("a", SQUARE[::-1] + np.float32(0.1))]
    write_submission(tmp_path / "s.zip", {"img7": words}, ctw1500, ["img7"])
    assert members(tmp_path / "s.zip") == {"0000007.txt": "0.1,0.1,10.1,0.1,10.1,10.1,0.1,10.1,####a\n"}


def test_image_without_official_number_cannot_be_submitted(tmp_path):
    with pytest.raises(ValueError, match="'holiday' gives no official file name"):
        write_submission(tmp_path / "s.zip", {}, icdar2015, ["holiday"])
    with pytest.raises(ValueError, match="'0000001' gives no official file name of its own"):
        write_submission(tmp_path / "s.zip", {}, icdar2015, ["img_1", "0000001"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol, points", [(icdar2015, 4), (totaltext, 9)])
def test_written_zip_scores_as_the_predictions_did(tmp_path, protocol, points):
    truth, predictions = random_scenes(5, 8, seed=3, points=points)
    write_submission(tmp_path / "s.zip", predictions, protocol, truth)
    read = read_submission(tmp_path / "s.zip", protocol, truth)
    before, after = (score_dataset(truth, items, protocol, TASKS) for items in (predictions, read.words))
    assert {task: item.per_image for task, item in before.items()} == {task: item.per_image for task, item in after.items()}


def test_rectangles_stay_close_to_their_polygons():
    truth, _ = random_scenes(1, 20, seed=0, points=10)
    polygons = [word.polygon for word in truth["img_1"]]
    quadrilaterals = [to_quadrilateral(polygon, icdar2015) for polygon in polygons]
    assert np.diag(measure_overlap(polygons, quadrilaterals, icdar2015).iou).min() > 0.6
