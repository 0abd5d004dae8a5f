"""The command `dld calibrate`: the stored weights choose as was calibrated, and nothing else of them changes."""

import json

import pytest
import torch

from dld.cli import calibrate
from dld.data import dataset_mapper
from dld.data.dataset_mapper import read_dict_image
from dld.inference.predictor import TextSpotter
from dld.weights import config_from_checkpoint, load_weights_file


@pytest.fixture
def arguments(tiny_weights, small_set, tmp_path):
    return {
        "--weights": tiny_weights["student"],
        "--dataset": small_set,
        "--budget": "0.7",
        "--output": str(tmp_path / "budget.safetensors"),
    }


def run(arguments) -> int:
    return calibrate.main([word for pair in arguments.items() for word in pair])


def test_the_stored_weights_keep_to_the_budget(arguments, tiny_weights, small_set, make_record, capsys):
    # the cheapest budget that exists: the message of an unreachable one names it
    assert run({**arguments, "--budget": "0.0001"}) == 2
    message = capsys.readouterr().err
    assert "below what the candidate scales allow" in message
    least = float(message.rsplit(":", 1)[1].split(" to ")[0])
    assert run({**arguments, "--budget": str(least * 1.0001)}) == 0
    assert "scale 0.4: 100% of the images" in capsys.readouterr().out
    stored = load_weights_file(arguments["--output"])
    about = json.loads(stored["budget"])
    assert about["images"] == 4 and about["dataset"] == small_set and about["mean_cost"] == pytest.approx(least, rel=1e-3)
    assert float(stored["model"]["mu"]) == pytest.approx(about["mu"], rel=1e-6)
    assert config_from_checkpoint(arguments["--output"]).MODEL.SELECTOR.MU == pytest.approx(about["mu"])
    before = load_weights_file(tiny_weights["student"])["model"]
    assert before.keys() == stored["model"].keys()
    assert all(torch.equal(before[name], value) for name, value in stored["model"].items() if name != "mu")
    spotter = TextSpotter.from_checkpoint(arguments["--output"])
    assert spotter(make_record()["image"]).scale == 0.4


def test_weights_of_a_distiller_need_no_teacher_any_more(arguments, tiny_weights):
    loaded = torch.load(tiny_weights["student"], weights_only=True)
    loaded["config"] = loaded["config"].replace("META_ARCHITECTURE: DynamicSpotter", "META_ARCHITECTURE: DistillMetaArch")
    loaded["config"] = loaded["config"].replace("TEACHER_WEIGHTS: ''", "TEACHER_WEIGHTS: teacher.pth")
    torch.save(loaded, tiny_weights["student"])
    assert run(arguments) == 0
    node = config_from_checkpoint(arguments["--output"]).MODEL
    assert node.META_ARCHITECTURE == "DynamicSpotter" and not node.DISTILLATION.TEACHER_WEIGHTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--budget": "some"}, "budget 'some' is neither"),
        ({"--budget": "9999G"}, "above what the candidate scales allow"),
        ({"--output": "x.pth"}, "--output must end in .safetensors, got x.pth"),
        ({"--weights": "missing.pth"}, "missing.pth"),
        ({"--dataset": "nothing"}, "unknown data set 'nothing'"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(arguments, capsys, change, message):
    assert run({**arguments, **change}) == 2
    assert message in capsys.readouterr().err


def test_a_plain_spotter_has_no_budget(arguments, tiny_weights, capsys):
    assert run({**arguments, "--weights": tiny_weights["teacher"]}) == 2
    assert "has no resolution selector" in capsys.readouterr().err


def test_a_budget_over_scales_and_heights_of_strips(small_set, register_records, make_record, tmp_path, capsys, monkeypatch):
    words = register_records("words_of_heights", [make_record(seed=seed) for seed in (7, 8)])
    weights = {"--weights": "dld_tiny", "--dataset": small_set, "--rows-from": words, "--budget": "0.6"}
    outputs = {name: str(tmp_path / f"{name}.safetensors") for name in ("both", "scales")}
    decoded = []
    with monkeypatch.context() as patch:
        patch.setattr(dataset_mapper, "read_dict_image", lambda x: decoded.append(x["image_id"]) or read_dict_image(x))
        assert run({**weights, "--output": outputs["both"]}) == 0
    assert sorted(decoded) == [f"drawn_{i}" for i in range(4)], "each image of --dataset once"
    node = config_from_checkpoint(outputs["both"]).MODEL
    assert {int(losses[0]) for losses in node.STRIPS.ROWS_LOSSES} == {48, 32, 24, 16} and len(node.STRIPS.HEIGHT_SHARES) == 7
    about = json.loads(load_weights_file(outputs["both"])["budget"])
    assert about["rows_from"] == words and sum(about["words_of_heights"]) > 0 and about["mean_cost"] <= 0.6
    both, mus = TextSpotter.from_checkpoint(outputs["both"]), [about["mu"]]
    assert both.model.prices_rows and both.model.mu > 0
    del weights["--rows-from"]
    assert run({**weights, "--output": outputs["scales"]}) == 0
    mus.append(json.loads(load_weights_file(outputs["scales"])["budget"])["mu"])
    assert mus[0] <= mus[1], "what strips save is spent on scales"
    # at a price at which any loss is worth it, the lowest strips are read
    both.model.mu.fill_(1e4)
    read = both(make_record(words=("stone", "river"), height=240, width=640, font=2.0)["image"]).words
    assert read and {w.rows for w in read} == {16}
    assert run({**weights, "--rows-from": "nothing", "--output": outputs["both"]}) == 2
    assert "unknown data set 'nothing'" in capsys.readouterr().err


def test_heights_are_only_chosen_where_strips_are_read(arguments, small_set, capsys):
    assert run({**arguments, "--rows-from": small_set}) == 2
    assert f"--rows-from must be another data set than --dataset, {small_set}" in capsys.readouterr().err
    assert run({**arguments, "--rows-from": "dld_samples"}) == 2
    assert "--rows-from is for spotters that read strips" in capsys.readouterr().err
