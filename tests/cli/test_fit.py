"""The command `dld fit`: another selector in the same student."""

import json

import pytest
import torch
from detectron2.config import CfgNode

from dld.cli import fit
from dld.inference.predictor import TextSpotter
from dld.weights import config_from_checkpoint, load_weights_file


@pytest.fixture
def arguments(tiny_weights, tmp_path):
    return [
        "--student", tiny_weights["student"], "--teacher", tiny_weights["teacher"], "--images", "12", "--epochs", "1",
        "--gamma", "0.3", "--output", str(tmp_path / "fitted.safetensors"),
    ]  # fmt: skip


def test_only_the_selector_changes(arguments, tiny_weights, small_set, make_record, capsys):
    options = ["DATASETS.TRAIN", f"('{small_set}',)", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2"]
    assert fit.main([*arguments, "--opts", *options]) == 0
    assert "risk on 1 images held out" in capsys.readouterr().out
    before = load_weights_file(tiny_weights["student"])["model"]
    file = load_weights_file(arguments[-1])
    changed = {name for name, value in file["model"].items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("selector.") for name in changed)
    about = json.loads(file["selector"])
    assert about["gamma"] == 0.3 and about["images"] == 12 and about["datasets"] == [small_set]
    assert about["held_out"]["images"] == 1 and about["held_out"]["oracle"] <= about["held_out"]["best_constant"]
    cfg = config_from_checkpoint(arguments[-1])
    assert cfg.MODEL.DISTILLATION.GAMMA == 0.3 and cfg.MODEL.META_ARCHITECTURE == "DynamicSpotter"
    assert TextSpotter.from_checkpoint(arguments[-1])(make_record()["image"]).scale in (0.4, 0.6, 0.8)


def test_a_student_without_a_selector_gets_one(arguments, tiny_weights, small_set, make_record, tmp_path):
    """What `configs/ablations/skd_only.yaml` leaves behind: a student whose scales were drawn."""
    whole = load_weights_file(tiny_weights["student"])
    whole["model"] = {name: value for name, value in whole["model"].items() if not name.startswith("selector.")}
    cfg = CfgNode.load_cfg(whole["config"])
    cfg.MODEL.SELECTOR.ENABLED = False
    torch.save({**whole, "config": cfg.dump()}, tmp_path / "skd.pth")
    options = ["DATASETS.TRAIN", f"('{small_set}',)", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2"]
    options += ["MODEL.SELECTOR.NAME", "WordLossSelector", "MODEL.SELECTOR.WORDS.LOSS", "spotting"]
    assert fit.main([*arguments, "--student", str(tmp_path / "skd.pth"), "--opts", *options]) == 0
    file = load_weights_file(arguments[-1])["model"]
    assert all(torch.equal(value, file[name]) for name, value in whole["model"].items() if name.startswith("student."))
    assert file["mu"] == pytest.approx(0.3 / 0.1)
    # it stands on the stages of the student itself: their weights were trained on, their statistics are kept
    statistics = [name for name in file if name.startswith("selector.body.stem") and "running" in name]
    assert statistics and all(
        torch.equal(file[name], file[name.replace("selector.body.", "student.backbone.bottom_up.")]) for name in statistics
    )
    assert TextSpotter.from_checkpoint(arguments[-1])(make_record()["image"]).scale in (0.4, 0.6, 0.8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--output", "x.pth"], "--output must end in .safetensors, got x.pth"),
        (["--teacher", "nothing.pth"], "weights nothing.pth do not exist"),
        (["--gamma", "-1"], "--gamma must not be negative"),
    ],
)
def test_what_cannot_be_fitted_is_named(arguments, capsys, change, message):
    assert fit.main([*arguments, *change]) == 2
    assert message in capsys.readouterr().err


def test_a_teacher_has_no_selector(arguments, tiny_weights, capsys):
    assert fit.main([*arguments, "--student", tiny_weights["teacher"]]) == 2
    assert "has no resolution selector" in capsys.readouterr().err
