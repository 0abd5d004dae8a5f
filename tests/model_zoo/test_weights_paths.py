"""`dld://NAME`: shipped weights wherever a path of weights is asked for, never without a look at their hash."""

import json

import pytest
import torch
from detectron2.utils.file_io import PathManager

from dld import model_zoo
from dld.cli.train import main as train
from dld.inference.predictor import TextSpotter
from dld.model_zoo import find_weights, paths
from dld.weights import load_weights_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "index.json").write_text(json.dumps({"first": {"file": "a.safetensors", "sha256": digest}}))
    monkeypatch.setattr(model_zoo, "FOLDER", tmp_path)
    return tmp_path


def test_a_path_may_name_shipped_weights(folder):
    assert paths.PREFIX == "dld://"
    assert PathManager.get_local_path("dld://first") == str(folder / "a.safetensors")
    assert PathManager.isfile("dld://first") and PathManager.exists("dld://first")
    with PathManager.open("dld://first", "rb") as f:
        assert f.read() == b"abc"
    with pytest.raises(ValueError, match="only read"):
        PathManager.open("dld://first", "wb")


def test_what_is_wrong_with_them_is_said(folder):
    with pytest.raises(KeyError, match="frist.*there are: first"):
        PathManager.isfile("dld://frist")
    (folder / "a.safetensors").write_bytes(b"abd")
    with pytest.raises(ValueError, match="SHA-256"):
        PathManager.get_local_path("dld://first")


def test_the_file_is_the_shipped_one():
    named, direct = load_weights_file("dld://teacher_tiny"), load_weights_file(find_weights("teacher_tiny"))
    assert named["config"] == direct["config"] and named["model"].keys() == direct["model"].keys()
    assert all(torch.equal(value, direct["model"][name]) for name, value in named["model"].items())
    assert TextSpotter.from_checkpoint("dld://teacher_tiny", device="cpu").cfg.MODEL.WEIGHTS == "dld://teacher_tiny"


@pytest.mark.parametrize(
    ("config", "key"),
    [("configs/teacher_tiny.yaml", "MODEL.WEIGHTS"), ("configs/dld_tiny.yaml", "MODEL.DISTILLATION.TEACHER_WEIGHTS")],
)
def test_training_names_the_known_ones_for_an_unknown_name(config, key, tmp_path, capsys):
    small = ["DATASETS.SYNTHWORDS.SIZE", "[64, 64]", "DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"]
    assert train(["--config-file", config, key, "dld://large", "OUTPUT_DIR", str(tmp_path), *small]) == 2
    error = capsys.readouterr().err
    assert "large" in error and "teacher_tiny" in error
