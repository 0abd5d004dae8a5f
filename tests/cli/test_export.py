"""The command `dld export`: a folder that reads, a report that compares, and messages for what cannot be exported."""

import json

import pytest

from dld.cli import export

WEIGHTS = ["--pretrained", "teacher_tiny"]
# the graphs of the heights that it reads
STRIPS = ("strips", "strips32", "strips24", "strips16")


def test_the_folder_holds_graphs_settings_and_report(tmp_path, capsys):
    pytest.importorskip("onnx", reason='needs: pip install "dld[export]"')
    pytest.importorskip("onnxruntime", reason='needs: pip install "dld[export]"')
    from dld.runtime.onnx_spotter import OnnxTextSpotter

    folder = tmp_path / "exported"
    assert export.main([*WEIGHTS, "--output", str(folder), "--limit", "1", "--opts", "INPUT.MIN_SIZE_TEST", "320"]) == 0
    assert f"-> {folder}" in capsys.readouterr().out
    assert {p.name for p in folder.iterdir()} == {
        "detector.onnx",
        "boxes.onnx",
        "masks.onnx",
        *(f"{name}.onnx" for name in STRIPS),
        "spotter.json",
        "parity.json",
    }
    report = json.loads((folder / "parity.json").read_text())
    assert report["words"]["pictures"] == 1 and report["words"]["same_words"] == report["words"]["words"]
    assert set(report["graphs"]) == {"detector", "boxes", "masks", *STRIPS} and report["onnxruntime"]
    settings = OnnxTextSpotter(folder).settings
    assert settings["weights"]["file"] == "teacher_tiny.safetensors" and len(settings["weights"]["sha256"]) == 64
    assert settings["short_side"] == 320 and len(settings["charset"]) == 95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "missing.pth"], "missing.pth"),
        (["--pretrained", "nothing"], "no shipped weights are called 'nothing'"),
        ([*WEIGHTS, "--limit", "0"], "--limit must be at least 1, got 0"),
        ([*WEIGHTS, "--images", "nowhere/*.jpg"], "nowhere"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(arguments, message, tmp_path, capsys):
    assert export.main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_read_is_found_before_anything_is_written(tmp_path, capsys):
    (tmp_path / "notes.png").write_text("no picture")
    assert export.main([*WEIGHTS, "--images", str(tmp_path / "notes.png"), "--output", str(tmp_path / "out")]) == 2
    assert "notes.png" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_exit_code_says_that_words_differ(monkeypatch, capsys):
    words = {"words": 2, "same_words": 1, "pictures": 1, "polygons_within_half": 1, "polygon_pixels": 0.1, "score": 0.0}
    different = [{"picture": "a.jpg", "pytorch": ["exit", "in"], "onnx": ["exit", "on"]}]
    monkeypatch.setattr(export, "run", lambda args: {"graphs": {}, "words": {**words, "different": different}})
    assert export.main([*WEIGHTS, "--output", "x"]) == 1
    assert "a.jpg: ['exit', 'in'] became ['exit', 'on']" in capsys.readouterr().out
