import numpy as np
import pytest

from dld.evaluation.ground_truth import ground_truth_of, read_ground_truth
from dld.evaluation.protocol import icdar2015, totaltext


def test_official_icdar_folder(tmp_path):
    (tmp_path / "gt_img_1.txt").write_text("\ufeff0,0,9,0,9,9,0,9,EXIT\r\n0,0,9,0,9,9,0,9,###\r\n", encoding="utf-8")
    (tmp_path / "gt_img_2.txt").write_text("")
    (tmp_path / "readme.txt").write_text("Thank you for downloading")
    words = read_ground_truth(tmp_path, icdar2015)
    assert {image: [word.text for word in items] for image, items in words.items()} == {
        "img_1": ["EXIT", "###"],
        "img_2": [],
    }


def test_both_total_text_layouts(tmp_path):
    (tmp_path / "poly_gt_img1.txt").write_text("x: [[0 9 9]], y: [[0 0 9]], ornt: [u'h'], transcriptions: [u'EXIT']")
    (tmp_path / "0000002.txt").write_text("0,0,9,0,9,9,####EXIT\n")
    words = read_ground_truth(tmp_path, totaltext)
    assert set(words) == {"img1", "0000002"}
    assert np.array_equal(words["img1"][0].polygon, words["0000002"][0].polygon)
    assert words["img1"][0].text == words["0000002"][0].text == "EXIT"


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="no .txt file of ground truth"):
        read_ground_truth(tmp_path, icdar2015)
    (tmp_path / "gt_img_1.txt").write_text("0,0,9,0,9,9,0,9\n")
    with pytest.raises(ValueError, match=r"gt_img_1\.txt, line 1: ground truth without a transcription"):
        read_ground_truth(tmp_path, icdar2015)
    (tmp_path / "gt_img_1.txt").write_text("0,0,9,0,9,9,0,9,a\n")
    (tmp_path / "img_1.txt").write_text("0,0,9,0,9,9,0,9,a\n")
    with pytest.raises(ValueError, match="a second file for image 'img_1'"):
        read_ground_truth(tmp_path, icdar2015)


def test_words_of_a_dataset_dict():
    words = ground_truth_of(
        {
            "annotations": [
                {"polygon": np.zeros((5, 2), np.float32), "text": "a", "ignore": True},
                {"segmentation": [[0, 0, 1, 0, 1, 1]]},
            ]
        }
    )
    assert [(word.polygon.shape, word.text, word.ignore) for word in words] == [
        ((5, 2), "a", True),
        ((3, 2), "", False),
    ]
