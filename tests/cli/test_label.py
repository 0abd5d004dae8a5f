"""`dld label` as a user meets it: what is written, what is skipped, and that labels and training agree on the pixels."""

import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from dld.cli import check, label, prepare
from dld.data.annotation import read_annotations
from dld.data.dataset_mapper import read_dict_image
from dld.data.datasets.text_json import load_text_json
from dld.data.label_formats.registry import LABEL_FORMATS
from dld.inference import predictor
from dld.structures.words import SpottingResult, Word

ROTATED = 6  # the camera was held upright: pixels are stored lying, viewers turn them by 90 degrees


class Reader:
    """Stands for a spotter: finds the brightest spot, a square, and reads it as "SPOT", as surely as it is told."""

    views_at_once = 2

    def __init__(self, sure: float) -> None:
        self.sure = sure

    def __call__(self, images, batch_size=1):
        return (self.read(image) for image in images)

    def read(self, pixels):
        ys, xs = np.nonzero(pixels[:, :, 1] > 200)
        words = [Word("dust", [[0, 0], [4, 0], [4, 4], [0, 4]], 0.4, [0.9] * 4)]
        if len(xs):
            x0, y0, x1, y1 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
            words.append(Word("SPOT", [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], self.sure, [1.0] * 4))
        return SpottingResult(None, None, pixels.shape[1], pixels.shape[0], words)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """In `photos/`: a white spot at (10, 20) - (30, 40) of 120 x 80, lying and turned by EXIF, and a dark photo."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    lying = np.zeros((80, 120, 3), np.uint8)
    lying[20:40, 10:30] = 255
    Image.fromarray(lying).save(tmp_path / "photos" / "lying.png")
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    Image.fromarray(lying).save(tmp_path / "photos" / "deep" / "turned.jpg", exif=exif, quality=100)
    Image.new("RGB", (50, 40)).save(tmp_path / "photos" / "dark.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.fixture
def run(photos, monkeypatch):
    def run(*arguments, sure=0.95, output="labels.json") -> int:
        monkeypatch.setattr(label, "load_spotter", lambda args: Reader(sure))
        return label.main(["--input", "photos", "--pretrained", "teacher_tiny", "--output", output, *arguments])

    return run


def test_labels_are_in_the_pixels_that_training_sees(run, photos, capsys):
    assert run() == 0
    assert "2 images, 2 words and 2 doubtful ones (ignore); 1 images without a sure word left out" in capsys.readouterr().out
    images = {image.file_name: image for image in read_annotations("labels.json")}
    assert set(images) == {"lying.png", "deep/turned.jpg"}
    assert [(w.text, w.ignore) for w in images["lying.png"].words] == [("dust", True), ("SPOT", False)]
    # turned clockwise by 90 degrees, (x, y) of the stored 120 x 80 comes to (80 - y, x)
    turned = images["deep/turned.jpg"]
    assert (turned.width, turned.height) == (80, 120)
    assert [*turned.words[1].polygon.min(0), *turned.words[1].polygon.max(0)] == pytest.approx([40, 10, 60, 30], abs=1)
    for record in load_text_json("labels.json", "photos"):
        pixels = read_dict_image(record).copy()  # what the training's mapper reads
        x0, y0, x1, y1 = (round(v) for v in record["annotations"][1]["bbox"])
        assert pixels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].min() > 200
        pixels[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 0
        assert pixels.max() < 60
    assert check.main(["--json", "labels.json", "--images", "photos"]) == 0


def test_the_threshold_decides(run, capsys):
    assert run("--min-score", "0.99") == 1
    said = capsys.readouterr()
    assert "no photo has a word of confidence 0.99 or more" in said.err and not os.path.exists("labels.json")
    assert run("--min-score", "0.99", "--keep-unsure") == 0
    assert "3 images, 0 words and 5 doubtful" in capsys.readouterr().out


def test_companions_of_macos_are_no_photos_and_other_files_are_counted(run, photos, capsys):
    (photos / "._dark.png").write_bytes(b"\0\5\x16\7")
    (photos / "notes.txt").touch()
    assert run() == 0
    assert capsys.readouterr().err.strip() == "1 file in the folders is passed over: 1 .txt"


def test_unreadable_photos_are_skipped_with_a_warning_and_exit_code_1(run, photos, capsys, caplog):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    assert run() == 1
    assert "skipped: cannot read image photos/broken.jpg" in caplog.text
    assert "1 photos could not be read" in capsys.readouterr().err
    assert len(read_annotations("labels.json")) == 2


def test_a_name_that_is_no_utf8_is_labelled_checked_and_trained_on(run, photos, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    os.rename("photos/lying.png", f"photos/{name}")
    assert run() == 0
    assert [image.file_name for image in read_annotations("labels.json")] == [name, "deep/turned.jpg"]
    assert check.main(["--json", "labels.json", "--images", "photos"]) == 0
    assert "no problems found" in capsys.readouterr().out
    (record,) = (r for r in load_text_json("labels.json", "photos") if r["file_name"].endswith(name))
    assert read_dict_image(record).shape == (80, 120, 3)


def test_labels_that_are_there_are_not_written_over_unasked(run, capsys):
    with open("labels.json", "w") as f:
        f.write("corrected by hand")
    assert run() == 2
    assert "labels.json exists" in capsys.readouterr().err and open("labels.json").read() == "corrected by hand"
    assert run("--force") == 0
    assert json.load(open("labels.json"))["schema"] == "dld-text/1"


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_labels_for_a_tool_come_back_as_a_data_set(run, name, capsys):
    output = "labels" if LABEL_FORMATS[name].per_image else f"labels{LABEL_FORMATS[name].ending}"
    assert run("--format", name, output=output) == 0
    assert run("--format", name, output=output) == 2 and "--force writes over it" in capsys.readouterr().err
    assert prepare.main(["mine", "--images", "photos", "--gt", output, "--output", "data"]) == 0
    assert f"format: {name}" in capsys.readouterr().out
    images = {image.file_name: image for image in read_annotations("data/mine/annotations.json")}
    assert [(w.text, w.ignore) for w in images["lying.png"].words] == [("dust", True), ("SPOT", False)]
    assert images["lying.png"].words[1].polygon.tolist() == [[10, 20], [30, 20], [30, 40], [10, 40]]
    turned = images["deep/turned.jpg"]  # upright in the tools, too
    assert [*turned.words[1].polygon.min(0), *turned.words[1].polygon.max(0)] == pytest.approx([40, 10, 60, 30], abs=1)


def test_two_photos_of_one_label_file_are_refused_before_they_are_read(run, photos, monkeypatch, capsys):
    Image.new("RGB", (50, 40)).save(photos / "dark.jpg")
    monkeypatch.setattr(Reader, "read", lambda self, pixels: pytest.fail("was read"))
    assert run("--format", "labelme", output="labels") == 2
    assert "labelme has one file for dark.jpg and dark.png" in capsys.readouterr().err


def test_an_interruption_keeps_what_was_read(run, monkeypatch, capsys):
    read = Reader.read

    def interrupted(self, pixels):
        if pixels.shape[:2] == (80, 120):
            raise KeyboardInterrupt
        return read(self, pixels)

    monkeypatch.setattr(Reader, "read", interrupted)
    assert run() == 130
    assert "interrupted" in capsys.readouterr().err
    assert [image.file_name for image in read_annotations("labels.json")] == ["deep/turned.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-score", "90"], "--min-score is a probability from 0 to 1, got 90"),
        (["--drop-below", "-1"], "--drop-below is a probability"),
        (["--input", "photos/dark.png"], "is no folder"),
        (["--output", "labels.txt"], "must end in .json"),
        (["--format", "voc"], "--format voc: unknown, expected one of dld, labelme, cvat"),
        (["--format", "cvat"], "must end in .xml"),
    ],
)
def test_mistakes_are_said_before_anything_is_read(run, capsys, arguments, message):
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_the_real_spotter_gives_its_doubtful_detections_too(photos, tiny_weights, monkeypatch, make_record):
    cv2.imwrite("photos/words.png", make_record(("stone", "river"))["image"])
    seen = {}
    load = predictor.TextSpotter.from_checkpoint

    def remember(path, opts, device):
        seen.update(dict(zip(opts[::2], opts[1::2], strict=True)))
        return load(path, opts, device)

    monkeypatch.setattr(predictor.TextSpotter, "from_checkpoint", remember)
    arguments = ["--input", "photos", "--weights", tiny_weights["teacher"], "--output", "labels.json", "--device", "cpu"]
    # an untrained spotter is sure of nothing, and finds something everywhere
    assert label.main([*arguments, "--drop-below", "0", "--min-score", "0", "--batch-size", "2"]) == 0
    assert seen["MODEL.ROI_HEADS.SCORE_THRESH_TEST"] == seen["MODEL.RECOGNITION.SCORE_THRESH_TEST"] == 0
    assert len(read_annotations("labels.json")) == 4
