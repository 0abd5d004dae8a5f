"""A folder that is not what was written is refused, and the message says what is wrong."""

import builtins
import json
import re
import shutil

import pytest

from dld.runtime.bundle import GRAPHS, REQUIRED, GraphRunner, read_settings, write_settings
from dld.strips.heights import strip_graph


@pytest.fixture
def folder(tmp_path):
    """Of a spotter that reads crops, and as it was written before there were strips."""
    return written(tmp_path, "crops", 1)


def written(folder, how, reading):
    names = (*GRAPHS[how], *(map(strip_graph, reading.get("rows", [48])) if how == "strips" else ()))
    for name in names:
        (folder / f"{name}.onnx").write_bytes(name.encode())
    graphs = {name: f"{name}.onnx" for name in names}
    write_settings(folder, {**dict.fromkeys(REQUIRED, 1), "reading": reading, "graphs": graphs})
    return folder


def change(folder, **values):
    path = folder / "spotter.json"
    settings = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def test_what_was_written_is_read(folder, tmp_path_factory):
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.copytree(folder, moved)
    settings = read_settings(moved)
    assert settings["graphs"]["boxes"]["file"] == "boxes.onnx" and settings["charset"] == 1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: `dld export"):
        read_settings(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no spotter.json"):
        read_settings(tmp_path)


def test_a_file_that_is_not_ours(folder):
    change(folder, schema="other/3")
    with pytest.raises(ValueError, match='expected "schema": "dld-onnx/1", found \'other/3\''):
        read_settings(folder)
    (folder / "spotter.json").write_text("{")
    with pytest.raises(ValueError, match=r"spotter\.json: not a json file"):
        read_settings(folder)


def test_missing_keys_are_named(folder):
    graphs = json.loads((folder / "spotter.json").read_text())["graphs"]
    change(folder, charset=None, graphs={k: v for k, v in graphs.items() if k != "masks"})
    with pytest.raises(ValueError, match=r"lacks charset, graphs\.masks: export the weights again"):
        read_settings(folder)


def test_which_graphs_are_needed_depends_on_how_words_are_read(tmp_path):
    folder = written(tmp_path, "strips", {"how": "strips", "min_score": 0.5})
    assert set(read_settings(folder)["graphs"]) == {"detector", "boxes", "masks", "strips"}
    (tmp_path / "heights").mkdir()
    heights = written(tmp_path / "heights", "strips", {"how": "strips", "min_score": 0.5, "rows": [32, 24]})
    assert set(read_settings(heights)["graphs"]) == {"detector", "boxes", "masks", "strips32", "strips24"}
    change(heights, reading={"how": "strips", "min_score": 0.5, "rows": [48, 24]})
    with pytest.raises(ValueError, match=r"lacks graphs\.strips: export"):
        read_settings(heights)
    for reading in ({"how": "crops"}, {"max_length": 25}):
        change(folder, reading=reading)
        with pytest.raises(ValueError, match=r"lacks graphs\.reader, graphs\.characters: export"):
            read_settings(folder)
    change(folder, reading={"how": "strips"})
    with pytest.raises(ValueError, match=r"lacks reading\.min_score: export"):
        read_settings(folder)
    for how in ("waves", ["strips"], None):
        change(folder, reading={"how": how})
        with pytest.raises(ValueError, match=re.escape(f"words are read from one of crops, strips, found {how!r}")):
            read_settings(folder)


def test_graphs_that_are_missing_or_changed(folder):
    (folder / "reader.onnx").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"reader\.onnx has SHA-256 [0-9a-f]{64}, .*spotter\.json says [0-9a-f]{64}"):
        read_settings(folder)
    (folder / "reader.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="graph 'reader' is missing"):
        read_settings(folder)


def test_without_onnxruntime_the_message_says_what_to_install(folder, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'needs onnxruntime: pip install "dld\[export\]"'):
        GraphRunner(folder, read_settings(folder))


def test_devices_that_are_not_there(folder):
    onnxruntime = pytest.importorskip("onnxruntime", reason='needs: pip install "dld[export]"')
    with pytest.raises(ValueError, match="device must be one of cpu, cuda, got 'tpu'"):
        GraphRunner(folder, read_settings(folder), "tpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ValueError, match="this onnxruntime has no CUDAExecutionProvider, only .*CPU"):
            GraphRunner(folder, read_settings(folder), "cuda")
