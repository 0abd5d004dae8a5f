"""Tiny releases, laid out and named as the official ones, and what `prepare` makes of them."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import read_image
from PIL import Image

from dld.cli.prepare import main
from dld.data.annotation import read_annotations
from dld.data.datasets.builtin import register_all

LINE = "10,10,30,10,30,20,10,20,OPEN, 24h\n"


def image(path, width=64, height=48, orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), (90, 120, 50)).save(path, exif=exif)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def total_text(*points, transcription="u'a'"):
    x, y = (" ".join(str(p[i]) for p in points) for i in (0, 1))
    return f"x: [[{x}]], y: [[{y}]], ornt: [u'c'], transcriptions: [{transcription}]\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    return tmp_path / "downloads"


def prepared(root, name):
    return read_annotations(root.parent / "datasets" / name / "annotations.json")


RELEASES = {
    "icdar2013_train": ("Challenge2_Training_Task12_Images/100.jpg", "Challenge2_Training_Task1_GT/gt_100.txt"),
    "icdar2013_test": ("Challenge2_Test_Task12_Images/img_1.jpg", "Challenge2_Test_Task1_GT/gt_img_1.txt"),
    "icdar2015_train": ("ch4_training_images/img_1.jpg", "ch4_training_localization_transcription_gt/gt_img_1.txt"),
    "icdar2015_test": ("ch4_test_images/img_1.jpg", "Challenge4_Test_Task4_GT/gt_img_1.txt"),
    "icdar2017_mlt_train": (
        "ch8_training_images_3/img_1.png",
        "ch8_training_localization_transcription_gt_v2/gt_img_1.txt",
    ),
    "totaltext_train": ("Total-Text/Images/Train/img11.jpg", "Total-Text/gt/Train/poly_gt_img11.txt"),
    "totaltext_test": ("Images/Test/img11.JPG", "txt_format/Test/poly_gt_img11.txt"),
    "ctw1500_train": ("train_images/0001.jpg", "ctw1500_train_labels/0001.xml"),
    "ctw1500_test": ("test_images/1001.jpg", "gt_ctw1500/0001001.txt"),
}
SEGMENTS = "10,10,20,10,30,10,30,20,20,20,10,20"
CONTENTS = {
    "icdar2013_train": '10 10 30 20 "OPEN, 24h"\n',
    "icdar2013_test": '10, 10, 30, 20, "OPEN, 24h"\r\n',
    "icdar2015_train": "\ufeff" + LINE,
    "icdar2015_test": LINE,
    "icdar2017_mlt_train": LINE.replace("OPEN", "Latin,OPEN"),
    "totaltext_train": total_text((10, 10), (30, 10), (30, 20), (10, 20), transcription="u'OPEN, 24h'"),
    "totaltext_test": total_text((10, 10), (30, 10), (30, 20), (10, 20), transcription="u'OPEN, 24h'"),
    "ctw1500_train": f"<a><image><box><label>OPEN, 24h</label><segs>{SEGMENTS}</segs></box></image></a>",
    "ctw1500_test": f"{SEGMENTS},####OPEN, 24h\n",
}


@pytest.mark.parametrize("name", RELEASES)
def test_official_folders_become_a_data_set_that_loads(root, name, capsys):
    photo, gt = RELEASES[name]
    image(root / photo)
    text(root / gt, CONTENTS[name])
    assert main([name, "--root", str(root)]) == 0
    assert f"{name}: 1 images, 1 words of which 0 are don't-care" in capsys.readouterr().out
    register_all()
    (record,) = DatasetCatalog.get(name)
    (word,) = record["annotations"]
    assert word["text"] == "OPEN, 24h" and word["bbox"] == [10, 10, 30, 20]
    assert (record["width"], record["height"]) == (64, 48)
    assert read_image(record["file_name"]).shape == (48, 64, 3)


def test_total_texts_later_matlab_files_are_found_and_read(root, capsys):
    io = pytest.importorskip("scipy.io")
    rows = np.empty((1, 6), dtype=object)
    rows[0] = ["x:", np.array([[5, 25, 25, 5]]), "y:", np.array([[5, 5, 15, 15]]), np.array(["OPEN"]), np.array(["h"])]
    image(root / "Images" / "Train" / "img11.jpg")
    (root / "gt" / "Polygon" / "Train").mkdir(parents=True)
    io.savemat(root / "gt" / "Polygon" / "Train" / "gt_img11.mat", {"gt": rows})
    assert main(["totaltext_train", "--root", str(root)]) == 0
    assert "totaltext_train: 1 images, 1 words of which 0 are don't-care" in capsys.readouterr().out
    assert prepared(root, "totaltext_train")[0].words[0].polygon.tolist() == [[5, 5], [25, 5], [25, 15], [5, 15]]
    where = ["--images", str(root / "Images" / "Train"), "--gt", str(root / "gt" / "Polygon" / "Train")]
    assert main(["mine", "--format", "totaltext", *where]) == 0
    assert prepared(root, "mine")[0].words[0].text == "OPEN"


def test_total_texts_tenth_is_held_out_and_its_odd_words_are_counted(root, capsys):
    for i in (9, 10, 20, 101):
        image(root / f"Images/Train/img{i}.jpg")
        content = total_text((5, 5), (25, 25)) + total_text((1, 1), (9, 9), (9, 1), (1, 9)) if i == 9 else ""
        text(root / f"gt/Train/poly_gt_img{i}.txt", content + total_text((1, 1), (9, 1), (5, 6)))
    assert main(["totaltext_train", "--root", str(root)]) == 0
    assert [i.image_id for i in prepared(root, "totaltext_train")] == ["img9", "img101"]
    assert [i.image_id for i in prepared(root, "totaltext_val")] == ["img10", "img20"]
    images = sorted(p.name for p in (root.parent / "datasets" / "totaltext_val" / "images").iterdir())
    assert images == ["img10.jpg", "img20.jpg"]
    said = capsys.readouterr().out
    assert "0 invalid polygons repaired, 1 without an area" in said and "1 outlines of four corners crossed" in said
    assert [w.ignore for w in prepared(root, "totaltext_train")[0].words] == [True, False, False]


def test_corners_in_row_order_are_put_around_the_word_and_rows_of_three_points_are_refused(root, capsys):
    image(root / "photos" / "a.png")
    where = ["mine", "--images", str(root / "photos"), "--gt", str(root / "labels"), "--format"]
    text(root / "labels" / "a.txt", "10,10,30,10,10,20,30,20,OPEN\n5,5,9,5,5,8,9,8,24h\n")
    assert main([*where, "icdar2015"]) == 0
    assert "2 outlines of four corners crossed themselves and go around the word now" in capsys.readouterr().out
    assert [w.polygon.tolist() for w in prepared(root, "mine")[0].words] == [
        [[10, 10], [30, 10], [30, 20], [10, 20]],
        [[5, 5], [9, 5], [9, 8], [5, 8]],
    ]
    text(root / "labels" / "poly_gt_a.txt", total_text((10, 10), (20, 10), (30, 10), (10, 20), (20, 20), (30, 20)))
    assert main([*where, "totaltext"]) == 2
    assert "mine: the outlines of 1 of 1 words cross or touch themselves; their points must go" in capsys.readouterr().err


def test_folders_by_hand_and_a_format_for_ones_own_data(root):
    image(root / "photos" / "a.png")
    text(root / "labels" / "a.txt", LINE)
    where = ["--images", str(root / "photos"), "--gt", str(root / "labels")]
    assert main(["icdar2015_val", *where, "--output", str(root / "out")]) == 0
    assert (root / "out" / "icdar2015_val" / "images" / "a.png").is_file()
    assert main(["my_signs", "--format", "icdar2015", *where]) == 0
    assert prepared(root, "my_signs")[0].words[0].text == "OPEN, 24h"


def test_polygons_turn_with_images_that_carry_a_rotation(root, capsys):
    image(root / "photos" / "a.jpg", orientation=6)  # stored 64 x 48, shown 48 x 64, turned clockwise
    text(root / "labels" / "gt_a.txt", LINE)
    command = ["icdar2015_val", "--images", str(root / "photos"), "--gt", str(root / "labels")]
    assert main(command) == 0
    (shown,) = prepared(root, "icdar2015_val")
    assert (shown.width, shown.height) == (48, 64)
    assert shown.words[0].polygon.tolist() == [[38, 10], [38, 30], [28, 30], [28, 10]]
    assert "1 images carry an EXIF rotation (a.jpg)" in capsys.readouterr().out
    assert main([*command, "--upright-pixels"]) == 0
    assert prepared(root, "icdar2015_val")[0].words[0].polygon[0].tolist() == [10, 10]


def test_images_without_ground_truth_are_named_or_left_out(root, capsys):
    for i in (1, 2, 3):
        image(root / f"ch4_training_images/img_{i}.jpg")
    text(root / "ch4_training_localization_transcription_gt/gt_img_2.txt", LINE)
    text(root / "ch4_training_localization_transcription_gt/gt_img_77.txt", LINE)
    assert main(["icdar2015_train", "--root", str(root)]) == 2
    assert "2 of 3 images have no ground-truth file gt_{stem}.txt" in capsys.readouterr().err
    assert not (root.parent / "datasets").exists()
    assert main(["icdar2015_train", "--root", str(root), "--allow-missing"]) == 0
    assert [i.image_id for i in prepared(root, "icdar2015_train")] == ["img_2"]
    out = capsys.readouterr().out
    assert "left out: img_1.jpg, img_3.jpg" in out and "belong to no image: gt_img_77.txt" in out


def test_a_malformed_line_and_an_unreadable_image_are_named(root, capsys):
    image(root / "ch4_training_images/img_1.jpg")
    text(root / "ch4_training_localization_transcription_gt/gt_img_1.txt", LINE + "1,2,3\n")
    assert main(["icdar2015_train", "--root", str(root)]) == 2
    assert "gt_img_1.txt:2: expected x1,y1,x2,y2,x3,y3,x4,y4,transcription, got '1,2,3'" in capsys.readouterr().err
    (root / "ch4_training_images/img_1.jpg").write_bytes(b"<html>404</html>")
    assert main(["icdar2015_train", "--root", str(root)]) == 2
    assert "cannot read image" in (err := capsys.readouterr().err) and "img_1.jpg" in err
    assert not (root.parent / "datasets").exists()


def test_nothing_found_lists_what_was_searched_for(root, capsys):
    image(root / "pictures/img_1.jpg")
    assert main(["icdar2015_train", "--root", str(root)]) == 2
    err = capsys.readouterr().err
    assert "no images in folders named ch4_training_images" in err
    assert "ch4_training_localization_transcription_gt" in err and str(root) in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["icdar2015_trian", "--root", "."], "did you mean icdar2015_train?"),
        (["icdar2015_train"], "either --root DIR, or both --images DIR and --gt DIR"),
        (["icdar2015_train", "--images", "."], "either --root DIR"),
        (["icdar2015_train", "--root", "no/such/folder"], "no/such/folder does not exist"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_preparing_again_replaces(root):
    image(root / "ch4_training_images/img_1.jpg")
    gt = root / "ch4_training_localization_transcription_gt/gt_img_1.txt"
    for content in (LINE + LINE, LINE):
        text(gt, content)
        assert main(["icdar2015_train", "--root", str(root)]) == 0
    assert len(prepared(root, "icdar2015_train")[0].words) == 1


def test_coco_text(root, capsys):
    name = "COCO_train2014_000000000009.jpg"
    image(root / "train2014" / name)
    document = {
        "imgs": {"9": {"id": 9, "file_name": name, "width": 64, "height": 48, "set": "train"}},
        "anns": {"1": {"image_id": 9, "mask": [1, 1, 9, 1, 9, 5, 1, 5], "utf8_string": "a", "legibility": "legible"}},
    }
    text(root / "cocotext.v2.json", json.dumps(document))
    assert main(["cocotext_train", "--root", str(root)]) == 0
    assert prepared(root, "cocotext_train")[0].words[0].text == "a"
    (root / "train2014" / name).unlink()
    image(root / "train2014" / "other.jpg")
    assert main(["cocotext_train", "--root", str(root)]) == 2
    assert name in capsys.readouterr().err


def test_synth_text_is_converted_and_its_images_linked(root, capsys):
    io = pytest.importorskip("scipy.io")
    image(root / "SynthText/8/a.jpg")
    cells = {key: np.empty((1, 1), dtype=object) for key in ("imnames", "wordBB", "txt")}
    cells["imnames"][0, 0] = np.array(["8/a.jpg"])
    cells["wordBB"][0, 0] = np.array([[1.0, 9, 9, 1], [1, 1, 5, 5]])
    cells["txt"][0, 0] = np.array(["word  "])
    io.savemat(root / "SynthText/gt.mat", cells)
    for _ in range(2):
        assert main(["synthtext_train", "--root", str(root)]) == 0
    register_all()
    record = DatasetCatalog.get("synthtext_train")[0]
    assert record["annotations"][0]["text"] == "word" and read_image(record["file_name"]).shape == (48, 64, 3)
    assert "synthtext_train: 1 images, 1 words" in capsys.readouterr().out


LABELS = {
    "Label.txt": 'photos/a.png\t[{"transcription": "OPEN", "points": [[10, 10], [30, 10], [30, 20]], "difficult": false}]',
    "annotations.xml": '<annotations><image name="a.png" width="64" height="48"><polygon label="word" '
    'points="10,10;30,10;30,20"><attribute name="text">OPEN</attribute></polygon></image></annotations>',
    "a.json": '{"shapes": [{"label": "OPEN", "points": [[10, 10], [30, 10], [30, 20]]}], "imagePath": "a.png"}',
}


@pytest.mark.parametrize("file", LABELS)
def test_labels_of_tools_are_recognised(root, file, capsys):
    image(root / "photos" / "a.png")
    text(root / file, LABELS[file])
    assert main(["mine", "--images", str(root / "photos"), "--gt", str(root / file)]) == 0
    (found,) = prepared(root, "mine")
    assert [(w.text, w.polygon.tolist()) for w in found.words] == [("OPEN", [[10, 10], [30, 10], [30, 20]])]
    assert (root.parent / "datasets" / "mine" / "images" / "a.png").is_file()
    assert main(["mine", "--root", str(root)]) == 0
    assert prepared(root, "mine")[0].file_name == "photos/a.png"
    capsys.readouterr()
    assert main(["mine", "--format", "coco", "--root", str(root)]) == 2
    assert "no labels of the format coco" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["icdar2013_train", "icdar2015_train", "icdar2017_mlt_train", "totaltext_train", "ctw1500_test"]
)
def test_kinds_of_public_data_sets_are_recognised(root, name, capsys):
    image(root / "photos" / "1.png")
    text(root / "labels" / "1.txt", CONTENTS[name])
    assert main(["mine", "--images", str(root / "photos"), "--gt", str(root / "labels")]) == 0
    assert f"format: {name.rpartition('_')[0]}\n" in capsys.readouterr().out
    assert prepared(root, "mine")[0].words[0].text == "OPEN, 24h"


def test_labels_of_no_known_format_and_a_broken_entry_are_one_line(root, capsys):
    image(root / "photos" / "a.png")
    text(root / "labels" / "a.txt", "no labels")
    where = ["mine", "--images", str(root / "photos"), "--gt", str(root / "labels")]
    assert main(where) == 2
    assert "no labels of a known format" in (err := capsys.readouterr().err) and "cvat" in err and "icdar2015" in err
    text(root / "labels" / "a.json", '{"shapes": [{"label": "OPEN", "points": [[10, 10]]}], "imagePath": "a.png"}')
    assert main(where) == 2
    assert "a.json: shapes[0].points: expected 3 to 1000 points, got 1\n" in capsys.readouterr().err
    assert not (root.parent / "datasets").exists()
