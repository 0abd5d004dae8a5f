"""`dld spot` as a user meets it: what is printed, what is written, what is skipped, and the exit code."""

import csv
import io
import json
import os
import shutil
import sys
import types
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dld.cli import spot
from dld.inference import video
from dld.inference.predictor import TextSpotter
from dld.inference.video import VideoReader, VideoWriter
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.structures.words import read_results
from dld.text.charset import Charset


@pytest.fixture
def folder(tmp_path, make_record, monkeypatch):
    """Three pictures (two of one stem, one deep), a film of three frames, a damaged file; the working folder."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, words in (("in/a.png", ("stone",)), ("in/b.png", ("river",)), ("in/deep/a.png", ("north", "42"))):
        cv2.imwrite(str(tmp_path / name), make_record(words)["image"])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with VideoWriter(tmp_path / "clip.mp4", 12.5, (128, 96)) as writer:
        for k in range(3):
            writer.write(make_record((f"frame{k}",), seed=k)["image"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(tiny_weights, folder):
    def run(*arguments, kind="student") -> int:
        return spot.main(["--weights", tiny_weights[kind], *arguments])

    return run


def lines(path="out/results.jsonl"):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def test_a_folder_of_pictures(run, folder, tiny_weights, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert run("--input", "in", "--output", "out", "--batch-size", "2") == 0
    assert {path: path.read_bytes() for path in before} == before
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:3]] == ["in/a.png", "in/b.png", "in/deep/a.png"]
    assert printed[3] == f"3 images, {sum(len(r['words']) for r in lines())} words -> out/results.json"
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "a.jpg",
        "a_1.jpg",
        "b.jpg",
        "results.json",
        "results.jsonl",
    ]
    assert [(line["file_name"], line.pop("drawing")) for line in lines()] == [
        ("in/a.png", "a.jpg"),
        ("in/b.png", "b.jpg"),
        ("in/deep/a.png", "a_1.jpg"),
    ]
    document = read_results("out/results.json")
    alone = TextSpotter.from_checkpoint(tiny_weights["student"], device="cpu")
    for line, result in zip(lines(), document, strict=True):
        line.pop("drawing")
        assert result.to_dict() == line
        expected = alone(result.file_name)
        assert [w.text for w in result.words] == [w.text for w in expected.words] and result.scale == expected.scale
    drawn, plain = np.asarray(Image.open("out/b.jpg")).astype(int), np.asarray(Image.open("in/b.png")).astype(int)
    assert drawn.shape == plain.shape and np.abs(drawn - plain).max() > 100


def test_what_a_folder_holds_besides_pictures_is_counted(run, folder, capsys):
    (folder / "in" / "notes.txt").touch()
    (folder / "in" / "._a.png").write_bytes(b"\0\5\x16\7")  # beside every file that macOS writes on a foreign disk
    shutil.copy("clip.mp4", "in/deep/clip.mp4")
    assert run("--input", "in", "--quiet") == 0
    said = capsys.readouterr().err
    assert "3 images, " in said and "2 files in the folders are passed over: 1 .txt, 1 .mp4" in said


def test_unreadable_files_are_skipped_with_a_warning_and_exit_code_1(run, capsys, caplog):
    assert run("--input", "broken.jpg", "in/a.png", "--output", "out", "--no-pictures", "--quiet") == 1
    assert "skipped: cannot read image broken.jpg" in caplog.text
    said = capsys.readouterr()
    assert "1 input could not be read" in said.err and said.out.startswith("1 image, ")
    assert [line["file_name"] for line in lines()] == ["in/a.png"]
    assert "drawing" not in lines()[0] and sorted(os.listdir("out")) == ["results.json", "results.jsonl"]


def test_a_film_has_a_line_and_a_drawing_for_every_frame(run, folder, capsys):
    assert run("--input", "clip.mp4", "in/a.png", "--output", "out") == 0
    picture, *frames = lines()
    assert picture["file_name"] == "in/a.png"
    assert [(f["file_name"], f["image_id"], f["frame"], f["seconds"]) for f in frames] == [
        ("clip.mp4", "clip_000000", 0, 0.0),
        ("clip.mp4", "clip_000001", 1, 0.08),
        ("clip.mp4", "clip_000002", 2, 0.16),
    ]
    assert all(f["scale"] in (0.4, 0.6, 0.8) for f in frames)
    assert [r.image_id for r in read_results("out/results.json")] == [line["image_id"] for line in lines()]
    with VideoReader("out/clip.mp4") as reader, VideoReader("clip.mp4") as source:
        assert (reader.fps, reader.size, reader.count) == (12.5, (128, 96), 3)
        change = np.abs(next(iter(reader)).pixels.astype(int) - next(iter(source)).pixels)
        assert change.max() > 100
    assert "clip.mp4 0.00 s: " in capsys.readouterr().out


def test_scale_budget_and_frames_are_passed_on(run):
    assert run("--input", "clip.mp4", "--output", "o1", "--scale", "0.5", "--max-frames", "2", "--no-pictures") == 0
    assert [line["scale"] for line in lines("o1/results.jsonl")] == [0.5, 0.5]
    assert run("--input", "in", "--output", "o2", "--budget", "0.05", "--no-pictures") == 0
    assert {line["scale"] for line in lines("o2/results.jsonl")} == {0.4}
    assert run("--input", "in/a.png", "--output", "o3", "--no-pictures", kind="teacher") == 0
    assert lines("o3/results.jsonl")[0]["scale"] is None
    assert run("--input", "in/a.png", "--output", "o4", "--opts", "TEST.DETECTIONS_PER_IMAGE", "1") == 0
    assert len(lines("o4/results.jsonl")[0]["words"]) == 1


def test_documents_of_every_format(run, folder, capsys):
    formats = ["txt", "csv", "hocr", "alto"]
    assert run("--input", "in", "clip.mp4", "--output", "out", "--output-format", *formats, "--no-pictures", "--quiet") == 0
    read = [line for line in lines() if "frame" not in line]
    assert [line["documents"] for line in read] == [
        {"txt": f"{n}.txt", "hocr": f"{n}.hocr", "alto": f"{n}.alto.xml"} for n in ("a", "b", "a_1")
    ]
    with open("out/words.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    for line in read:
        expected = [" ".join(line["words"][i]["text"] for i in indices) for indices in line["lines"]]
        own = [row for row in rows if row["file"] == line["file_name"]]
        assert [row["text"] for row in own] == [line["words"][i]["text"] for indices in line["lines"] for i in indices]
        assert (folder / "out" / line["documents"]["txt"]).read_text(encoding="utf-8").splitlines() == expected
        for name in ("hocr", "alto"):
            assert (
                ET.parse(folder / "out" / line["documents"][name])
                .getroot()
                .tag.endswith({"hocr": "html", "alto": "alto"}[name])
            )
    assert {row["file"] for row in rows} <= {"in/a.png", "in/b.png", "in/deep/a.png"}


def test_a_searchable_pdf(run, folder):
    pytest.importorskip("reportlab")
    assert run("--input", "in/a.png", "--output", "in", "--output-format", "pdf") == 0
    assert (folder / "in" / "a.pdf").read_bytes().startswith(b"%PDF-")


def test_formats_that_cannot_be_written_are_said_before_anything_is_read(run, folder, monkeypatch, capsys):
    assert run("--input", "in", "--output", "out", "--output-format", "txt", "docx") == 2
    assert "--output-format must be of txt, csv, hocr, alto, pdf, got docx" in capsys.readouterr().err
    assert run("--input", "in", "--output-format", "txt") == 2
    assert "give --output, too" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "reportlab", None)
    assert run("--input", "in", "--output", "out", "--output-format", "pdf") == 2
    assert 'pip install "dld[pdf]"' in capsys.readouterr().err
    (folder / "out").mkdir()
    (folder / "out" / "words.csv").write_text("mine")
    assert run("--input", "out/words.csv", "in/a.png", "--output", "out", "--output-format", "csv") == 2
    assert (folder / "out" / "words.csv").read_text() == "mine"


def test_pages_are_read_when_they_are_asked_for_and_else_counted(run, folder, capsys, caplog):
    pages = [Image.open(f"in/{name}.png").convert("RGB") for name in ("a", "b", "deep/a")]
    pages[0].save("scan.tif", save_all=True, append_images=pages[1:])
    assert run("--input", "scan.tif", "--output", "o1", "--no-pictures") == 0
    assert "scan.tif: 2 more pages not read; --pages reads them" in caplog.text and len(lines("o1/results.jsonl")) == 1
    capsys.readouterr()
    assert run("--input", "scan.tif", "in/b.png", "--output", "o2", "--pages", "--output-format", "txt", "csv") == 0
    found = lines("o2/results.jsonl")
    assert [(f["image_id"], f.get("page"), f["drawing"]) for f in found] == [
        ("scan_page1", 1, "scan.jpg"),
        ("scan_page2", 2, "scan_1.jpg"),
        ("scan_page3", 3, "scan_2.jpg"),
        (None, None, "b.jpg"),
    ]
    assert [f["documents"]["txt"] for f in found] == ["scan.txt"] * 3 + ["b.txt"]
    assert (folder / "o2" / "scan.txt").read_text(encoding="utf-8").count("\f") == 2
    assert "scan.tif page 2: " in capsys.readouterr().out
    with open("o2/words.csv", encoding="utf-8", newline="") as f:
        assert {(row["file"], row["page"]) for row in csv.DictReader(f)} <= {
            ("in/b.png", "1"),
            *(("scan.tif", k) for k in "123"),
        }


def test_turns_and_tiles_are_passed_on(run, capsys):
    assert run("--input", "in/a.png", "--output", "o1", "--rotation", "90", "--no-pictures") == 0
    assert lines("o1/results.jsonl")[0]["rotation"] == 90
    assert run("--input", "in/a.png", "--output", "o2", "--rotation", "auto", "--tile", "64", "--no-pictures") == 0
    assert run("--input", "in/a.png", "--output", "o3", "--tile", "off", "--no-pictures") == 0
    (found,), (plain,) = lines("o2/results.jsonl"), lines("o3/results.jsonl")
    assert found["gflops"] > 2 * plain["gflops"] and "rotation" not in plain
    capsys.readouterr()
    for option, value, said in (("--rotation", "45", "rotation must be"), ("--tile", "9", "tile must be")):
        assert run("--input", "in/a.png", option, value) == 2
        assert capsys.readouterr().err.startswith(f"error: {said}")


def test_standard_input_and_no_output_folder(run, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO((folder / "in/a.png").read_bytes())))
    before = sorted(folder.rglob("*"))
    assert run("--input", "-") == 0
    said = capsys.readouterr()
    assert said.out.startswith("-: ") and said.out.count("\n") == 1 and said.err.endswith("words\n")
    assert sorted(folder.rglob("*")) == before
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"")))
    assert run("--input", "-", "--output", "out") == 1
    assert lines() == [] and read_results("out/results.json") == []


def test_reading_a_folder_into_itself_leaves_its_pictures_alone(run, folder):
    jpeg = folder / "in" / "c.jpg"
    Image.open("in/a.png").convert("RGB").save(jpeg)
    before = jpeg.read_bytes()
    assert run("--input", "in/c.jpg", "--output", "in") == 0
    assert jpeg.read_bytes() == before and (folder / "in" / "c_1.jpg").exists()
    assert run("--input", "in/results.jsonl", "in/a.png", "--output", "in") == 2
    assert len(lines("in/results.jsonl")) == 1


def test_a_camera_is_read_until_ctrl_c(run, monkeypatch, make_record):
    class Camera:
        def __init__(self, number):
            self.frames = iter([make_record(seed=k)["image"] for k in range(3)])

        def isOpened(self):
            return True

        def get(self, key):
            return 0.0

        def read(self):
            try:
                return True, next(self.frames)
            except StopIteration:
                raise KeyboardInterrupt from None

        def release(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(video.cv2, "VideoCapture", Camera)
        assert run("--camera", "0", "--output", "out") == 0
    assert [(line["file_name"], line["frame"]) for line in lines()] == [("camera 0", 0), ("camera 0", 1), ("camera 0", 2)]
    assert len(read_results("out/results.json")) == 3
    with VideoReader("out/camera0.mp4") as reader:
        assert reader.fps == 25 and reader.count == 3


def test_an_interruption_keeps_what_was_read(run, monkeypatch, capsys):
    from dld.data import picture

    read = picture.read_picture

    def interrupted(source, *arguments):
        if str(source).endswith("b.png"):
            raise KeyboardInterrupt
        return read(source, *arguments)

    monkeypatch.setattr(picture, "read_picture", interrupted)
    assert run("--input", "in", "--output", "out") == 130
    assert [r.file_name for r in read_results("out/results.json")] == ["in/a.png"]
    assert "interrupted" in capsys.readouterr().err


def test_mistakes_end_with_a_message_and_code_2(run, folder, capsys):
    (folder / "file").write_text("")
    for arguments, message in (
        ((), "nothing to read: give --input or --camera"),
        (("--input", "missing/*.jpg"), "input missing/*.jpg is no file"),
        (("--input", "in", "--scale", "half"), "got 'half'"),
        (("--input", "in", "--budget", "-1"), "budget must be a share"),
        (("--input", "in", "--batch-size", "0"), "batch_size must be a whole number from 1"),
        (("--input", "in", "--max-frames", "0"), "--max-frames must be at least 1"),
        (("--input", "in", "--device", "gpu"), "device 'gpu' cannot be used"),
        (("--input", "in", "--config-file", "configs/none.yaml"), "configs/none.yaml does not exist"),
        (("--input", "in", "--output", "file"), "file"),
    ):
        assert run(*arguments) == 2, arguments
        assert message in capsys.readouterr().err
    assert not (folder / "out").exists()
    assert spot.main(["--input", "in", "--pretrained", "large"]) == 2
    assert "no shipped weights are called 'large'" in capsys.readouterr().err


def test_a_film_that_cannot_be_read_or_written_is_said(run, folder, monkeypatch, caplog, capfd):
    (folder / "notes.mp4").write_text("no film")
    assert run("--input", "notes.mp4", "--output", "out") == 1
    assert "skipped: cannot read film notes.mp4" in caplog.text
    monkeypatch.setattr(video, "CODECS", {".mp4": ("XXXX",)})
    assert run("--input", "clip.mp4", "--output", "out") == 1
    assert "OpenCV has no encoder XXXX here" in caplog.text


def test_a_configuration_file_goes_before_the_one_inside(run, tiny_cfg, tmp_path):
    tiny_cfg.MODEL.META_ARCHITECTURE = "TextSpottingRCNN"
    tiny_cfg.TEST.DETECTIONS_PER_IMAGE = 2
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    (tmp_path / "own.yaml").write_text(tiny_cfg.dump())
    arguments = ("--input", "in/a.png", "--output", "out", "--config-file", "own.yaml")
    assert run(*arguments, kind="teacher") == 0
    assert len(lines()[0]["words"]) == 2


def test_names_that_are_no_utf8_or_that_the_terminal_cannot_print_are_read_like_all_others(run, folder, monkeypatch):
    odd = os.fsdecode(b"in/caf\xe9.png"), "in/菜单.png", os.fsdecode(b"in/caf\xe9.mp4")
    for source, name in (("in/a.png", odd[0]), ("in/b.png", odd[1]), ("clip.mp4", odd[2])):
        shutil.copy(source, name)
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="cp1252"))  # as consoles of Windows are
    assert run("--input", *odd, "--output", "out", "--max-frames", "1") == 0
    sys.stdout.flush()
    said = printed.getvalue().decode("cp1252").splitlines()
    assert [line.split(":")[0] for line in said] == [
        "in/caf\\udce9.png",
        "in/\\u83dc\\u5355.png",
        "in/caf\\udce9.mp4 0.00 s",
        "3 images, " + said[3].split(", ")[1],
    ]
    # the files are UTF-8, and what json reads from them opens the picture
    assert [line["file_name"] for line in lines()] == [r.file_name for r in read_results("out/results.json")] == list(odd)
    names = "caf\\udce9.jpg", "caf\\udce9.mp4", "results.json", "results.jsonl", "菜单.jpg"
    assert sorted(path.name for path in (folder / "out").iterdir()) == list(names)
    assert [line.get("drawing") for line in lines()] == ["caf\\udce9.jpg", "菜单.jpg", None]
    assert json.loads(read_results("out/results.json")[0].to_json().encode("utf-8"))["file_name"] == odd[0]


@pytest.fixture
def reader_file(tmp_path):
    """A reader of random weights whose decoder has learned to read "no" from any strip, as a file."""
    torch.manual_seed(0)
    reader = StripRecognizer(charset=Charset.default(), decoder_width=16)
    weights = list(reader.decoder.parameters())
    for p in weights:
        p.requires_grad_(True)
    optimizer, text = torch.optim.Adam(weights, 0.02), reader.charset.encode("no", 2)[None].repeat(4, 1)
    columns = reader.columns(torch.rand(4, 3, 48, 96) * 2 - 1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = reader.column_losses(columns, text)["loss_attention"]
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    save_file({k: v.contiguous() for k, v in reader.state_dict().items()}, tmp_path / "reader.safetensors")
    return str(tmp_path / "reader.safetensors")


def test_strips_are_read_with_the_attention_head(run, reader_file, capsys):
    strips = ["MODEL.RECOGNITION.READER", "StripRecognizer", "MODEL.STRIPS.WEIGHTS", reader_file]
    strips += ["MODEL.STRIPS.SCORE_THRESH", "0.0", "MODEL.STRIPS.DETECTION_THRESH", "0.0"]
    for head in ("attention", "ctc"):
        assert run("--input", "in", "--output", head, "--opts", *strips, "MODEL.STRIPS.HEAD", head) == 0
        words = [word for line in lines(f"{head}/results.jsonl") for word in line["words"]]
        assert words and all((word["text"] == "no") == (head == "attention") for word in words)
    capsys.readouterr()
    other = StripRecognizer(charset=Charset.default())
    save_file({k: v.contiguous() for k, v in other.state_dict().items()}, reader_file)
    assert run("--input", "in", "--output", "no", "--opts", *strips, "MODEL.STRIPS.HEAD", "attention") == 2
    error = capsys.readouterr().err
    assert "MODEL.STRIPS.HEAD attention: MODEL.STRIPS.WEIGHTS hold no attention decoder" in error
    assert "Traceback" not in error and len(error.strip().splitlines()) == 1
