"""Searches of widths: as a training, resumed, distilled; what they leave behind, and runs that start from it."""

import json
import logging
import os
import subprocess
import sys

import cv2
import pytest
import torch
from detectron2.modeling import build_model
from distilling import as_distiller
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.cli.train import main
from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.distill_trainer import DistillTrainer
from dld.engine.search_options import SearchOptions, validation_config
from dld.engine.trainer import SpotterTrainer
from dld.engine.width_search import CutWidths, SearchWidths, renew_norms
from dld.inference.predictor import TextSpotter
from dld.modeling.compression.widths import configured_widths
from dld.weights import config_from_checkpoint, load_weights_file, stored_config


@pytest.fixture
def cfg(tiny_cfg, small_set):
    """A search of four steps on four pictures; it is in a hurry."""
    tiny_cfg.merge_from_list(
        ["MODEL.RPN.CONV_DIMS", [32], "MODEL.ROI_MASK_HEAD.CONV_DIM", 32, "MODEL.RECOGNITION.WIDTH", 32,
         "MODEL.COMPRESSION.ENABLED", True, "MODEL.COMPRESSION.WARMUP", 0.25, "MODEL.COMPRESSION.NORM_BATCHES", 2,
         "MODEL.COMPRESSION.RHO", 0.8, "MODEL.COMPRESSION.ALPHA_LR", 1.5, "SOLVER.MAX_ITER", 4]
    )  # fmt: skip
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    return tiny_cfg


def trainer_of(cfg, resume=False):
    torch.manual_seed(0)
    trainer = (DistillTrainer if cfg.MODEL.META_ARCHITECTURE == "DistillMetaArch" else SpotterTrainer)(cfg)
    trainer.resume_or_load(resume)
    return trainer


def search_of(trainer) -> SearchWidths:
    return next(hook for hook in trainer._hooks if isinstance(hook, SearchWidths))


def cut_file(cfg) -> str:
    return os.path.join(cfg.OUTPUT_DIR, "model_cut.pth")


def test_a_search_leaves_a_narrower_spotter_that_reads(cfg, make_record, caplog):
    with caplog.at_level(logging.INFO):
        trainer = trainer_of(cfg)
        trainer.train()
    search, path = search_of(trainer), cut_file(cfg)
    assert not any(module._forward_hooks for module in trainer.unwrapped_model.modules()), "the gates are out"
    assert (
        "searching the widths of 12 layers" in caplog.text and "roi_heads.box_head.fc1: 16 of 32 channels stay" in caplog.text
    )
    stored = config_from_checkpoint(path)
    widths = configured_widths(stored)
    kept = search.indicators.kept()
    assert widths == {name: len(index) for name, index in kept.items()} and len(widths) >= 3
    assert not stored.MODEL.COMPRESSION.ENABLED
    # the weights of what stays, and new statistics of batch norm
    before, after = trainer.unwrapped_model.state_dict(), load_weights_file(path)["model"]
    name = "roi_heads.box_head.fc1"
    assert torch.equal(after[f"{name}.weight"], before[f"{name}.weight"][kept[name]])
    lateral = "backbone.fpn_lateral5.weight"
    assert torch.equal(after[lateral], before[lateral])
    assert int(after["backbone.bottom_up.stem.conv1.norm.num_batches_tracked"]) == 2
    spotter = TextSpotter.from_checkpoint(path, ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0], "cpu")
    assert spotter.model.roi_heads.box_head.fc1.out_features == 16
    spotter(make_record()["image"])
    # what it leaves beside is not of use without the gates
    with pytest.raises(ValueError, match="is of a search of widths and lacks the gates .* model_cut.pth"):
        TextSpotter.from_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))


def test_weights_learn_first_and_indicators_by_the_cost(cfg):
    """The first step is of the weights alone; of the others a heavy cost moves every indicator down, and no weight."""
    cfg.MODEL.COMPRESSION.COST_WEIGHT, cfg.MODEL.COMPRESSION.ALPHA_LR = 1e4, 0.5
    trainer = trainer_of(cfg)
    search, seen = search_of(trainer), []
    learn = search.learn

    def noted(data):
        weights = {n: p.detach().clone() for n, p in trainer.unwrapped_model.named_parameters()}
        gradients = {n: None if p.grad is None else p.grad.clone() for n, p in trainer.unwrapped_model.named_parameters()}
        alpha = search.indicators.alpha.detach().clone()
        learn(data)
        seen.append((trainer.iter, search.indicators.alpha.detach() - alpha))
        for n, p in trainer.unwrapped_model.named_parameters():
            assert torch.equal(p, weights[n]) and (p.grad is None) == (gradients[n] is None)
            assert p.grad is None or torch.equal(p.grad, gradients[n])

    search.learn = noted
    trainer.train()
    assert [step for step, _ in seen] == [1, 2, 3]
    # the first step of Adam is the rate
    torch.testing.assert_close(seen[0][1], torch.full_like(seen[0][1], -0.5))
    assert float(search.indicators.alpha.detach().max()) < 2
    history = trainer.storage.histories()
    cost = [value for value, _ in history["widths/cost"].values()]
    assert cost[1] < cost[0] < 1
    assert history["widths/temperature"].values()[-1][0] == pytest.approx(cfg.MODEL.COMPRESSION.TEMPERATURE)
    assert {"widths/kept", "widths/undecided", "widths/loss"} <= set(history)


def test_a_resumed_search_goes_on_as_the_unbroken_one(cfg):
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    whole = trainer_of(cfg)
    whole.train()
    wanted = load_weights_file(cut_file(cfg))
    os.remove(cut_file(cfg))
    for name in ("model_final.pth", "model_0000003.pth", "model_0000002.pth"):
        path = os.path.join(cfg.OUTPUT_DIR, name)
        if os.path.exists(path):
            os.remove(path)
    with open(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint"), "w") as f:
        f.write("model_0000001.pth")
    again = trainer_of(cfg, resume=True)
    assert again.start_iter == 2 and float(search_of(again).indicators.alpha.detach().std()) > 0
    again.train()
    assert torch.equal(search_of(again).indicators.alpha, search_of(whole).indicators.alpha)
    found = load_weights_file(cut_file(cfg))
    assert found["config"] == wanted["config"]
    assert all(torch.equal(value, wanted["model"][name]) for name, value in found["model"].items())


def test_a_search_goes_on_with_its_own_channels_at_the_rate_of_the_configuration(cfg):
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    trainer_of(cfg).train()
    cfg.SOLVER.MAX_ITER, cfg.MODEL.COMPRESSION.ALPHA_LR = 6, 0.25
    again = search_of(trainer_of(cfg, resume=True))
    assert again.optimizer.param_groups[0]["lr"] == 0.25 and again.optimizer.state[again.indicators.alpha]
    cfg.MODEL.COMPRESSION.WHERE, cfg.MODEL.COMPRESSION.RHO = ["box"], 0.999
    with pytest.raises(ValueError, match="MODEL.COMPRESSION.WHERE must stay .* it searched 12 layers, this one searches 2"):
        trainer_of(cfg, resume=True)
    with pytest.raises(ValueError, match=r"a search of an earlier version, .* begin it anew \(MODEL.COMPRESSION\)"):
        again.load_state_dict({"alpha": again.indicators.alpha.detach()})


def test_what_is_left_of_a_search_is_read_and_trained_on_by_no_one_else(cfg, tmp_path, capsys, small_set):
    """Its checkpoints go on with --resume alone; without their gates they are other spotters."""
    trainer_of(cfg).train()
    (tmp_path / "search.yaml").write_text(cfg.dump())
    command = ["--config-file", str(tmp_path / "search.yaml"), "DATASETS.TEST", f"('{small_set}',)"]
    weights = ["MODEL.WEIGHTS", os.path.join(cfg.OUTPUT_DIR, "model_final.pth")]
    elsewhere = ["OUTPUT_DIR", str(tmp_path / "on")]
    plain = ["MODEL.COMPRESSION.ENABLED", "False"]
    for arguments in (
        ["--eval-only", *weights, *elsewhere],
        ["--eval-only", "--resume"],
        [*weights, *elsewhere],
        [*weights, *elsewhere, *plain],
        ["--resume", "SOLVER.MAX_ITER", "5", *plain],
    ):
        flags = [x for x in arguments if x.startswith("--")]
        assert main([*flags, *command, *(x for x in arguments if x not in flags)]) == 2
        said = capsys.readouterr().err
        assert "model_final.pth is of a search of widths and lacks the gates" in said and "Traceback" not in said


def test_a_plain_training_does_not_go_on_as_a_search(cfg):
    cfg.MODEL.COMPRESSION.ENABLED = False
    trainer_of(cfg).train()
    cfg.MODEL.COMPRESSION.ENABLED, cfg.SOLVER.MAX_ITER = True, 6
    with pytest.raises(ValueError, match=r"model_final.pth is of a training without a search of widths: MODEL.COMPRESSION"):
        trainer_of(cfg, resume=True)
    cfg.MODEL.WEIGHTS = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    assert trainer_of(cfg).start_iter == 0


def test_a_student_is_searched_in_a_distillation_and_distilled_on(cfg, tmp_path):
    plain = cfg.clone()
    plain.MODEL.COMPRESSION.ENABLED = False
    torch.manual_seed(1)
    SpotterCheckpointer(build_model(plain), str(tmp_path), extra={"config": plain.dump()}).save("teacher")
    as_distiller(cfg)
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / "teacher.pth")
    cfg.MODEL.DISTILLATION.FINDING.FEATURE_WEIGHT = cfg.MODEL.DISTILLATION.FINDING.CLASS_WEIGHT = 1.0
    trainer = trainer_of(cfg)
    trainer.train()
    stored = stored_config(cut_file(cfg))
    assert configured_widths(stored) and stored.MODEL.DISTILLATION.TEACHER_COST
    # shares of the cost stay shares of what the teacher costs
    read = TextSpotter.from_checkpoint(cut_file(cfg), device="cpu").model.cost_table
    assert read.teacher == trainer.unwrapped_model.cost_table.teacher
    assert read.student.per_image < read.teacher.per_image
    # the cut student goes on from its weights, beside the teacher that it had
    cfg.MODEL.COMPRESSION.ENABLED = False
    cfg.SOLVER.MAX_ITER = 1
    cfg.OUTPUT_DIR = str(tmp_path / "on")
    (tmp_path / "on.yaml").write_text(cfg.dump())
    assert main(["--config-file", str(tmp_path / "on.yaml"), "MODEL.WEIGHTS", str(tmp_path / "output" / "model_cut.pth")]) == 0
    own = stored_config(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))
    assert configured_widths(own) == configured_widths(stored)
    cfg.MODEL.PRUNED_WIDTHS, cfg.MODEL.WEIGHTS = own.MODEL.PRUNED_WIDTHS, str(tmp_path / "output" / "model_cut.pth")
    model = trainer_of(cfg).unwrapped_model
    assert model.teacher.roi_heads.box_head.fc1.out_features == 32
    assert model.student.roi_heads.box_head.fc1.out_features == 16
    given = load_weights_file(cfg.MODEL.WEIGHTS)["model"]
    assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items() if name.startswith("student."))


def test_runs_take_widths_from_their_weights(cfg, tmp_path, capsys, small_set):
    trainer_of(cfg).train()
    widths = configured_widths(stored_config(cut_file(cfg)))
    cfg.MODEL.COMPRESSION.ENABLED, cfg.SOLVER.MAX_ITER = False, 1
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = str(tmp_path / "on"), (small_set,)
    (tmp_path / "on.yaml").write_text(cfg.dump())
    command = ["--config-file", str(tmp_path / "on.yaml")]
    weights = ["MODEL.WEIGHTS", str(tmp_path / "output" / "model_cut.pth")]
    assert main([*command, *weights]) == 0
    assert configured_widths(stored_config(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))) == widths
    # goes on from there, whatever MODEL.WEIGHTS says
    assert main([*command, "--resume", "SOLVER.MAX_ITER", "2"]) == 0
    assert configured_widths(stored_config(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))) == widths
    assert main([*command, "--eval-only", *weights]) == 0
    capsys.readouterr()
    assert main([*command, *weights, "MODEL.PRUNED_WIDTHS", "[['roi_heads.box_head.fc1', 24]]"]) == 2
    assert "MODEL.PRUNED_WIDTHS names other widths than" in capsys.readouterr().err
    for name in ("TextPerceptron", "Mango"):
        other = ["MODEL.META_ARCHITECTURE", name, "INPUT.SIDE_POINTS", "7", "INPUT.CHARACTERS", "9"]
        assert main([*command, *weights, *other]) == 2
        assert f"model_cut.pth has searched widths (MODEL.PRUNED_WIDTHS), with which a {name} cannot" in capsys.readouterr().err


def test_a_plain_spotter_starts_from_a_student(tiny_weights):
    given = load_weights_file(tiny_weights["student"])["model"]
    model = build_model(stored_config(tiny_weights["teacher"]))
    SpotterCheckpointer(model).load(tiny_weights["student"])
    own = model.state_dict()
    assert all(torch.equal(value, given[f"student.{name}"]) for name, value in own.items())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("WHERE", ["backbone", "fpn"], "MODEL.COMPRESSION.WHERE must be of backbone, neck, rpn, box, mask, encoder, got 'fpn'"),
        ("RHO", 1.5, "MODEL.COMPRESSION.RHO must be between 0 and 1, got 1.5"),
        ("TEMPERATURE", 0.0, "MODEL.COMPRESSION.TEMPERATURE must be between 0 and 1, got 0"),
        ("WARMUP", 1.0, "MODEL.COMPRESSION.WARMUP must be from 0 to less than 1, got 1"),
        ("TOLERANCE", -0.1, "MODEL.COMPRESSION.TOLERANCE must be from 0 to less than 1, got -0.1"),
        ("ALPHA_LR", -0.1, "MODEL.COMPRESSION.ALPHA_LR must be at least 0, got -0.1"),
        ("NORM_BATCHES", -1, "MODEL.COMPRESSION.NORM_BATCHES must be at least 0, got -1"),
    ],
)
def test_mistakes_name_the_key(cfg, key, value, message):
    cfg.MODEL.COMPRESSION[key] = value
    with pytest.raises(ValueError, match=message) as error:
        SearchOptions.of(cfg)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.MAX_MINUTES", 5.0, "SOLVER.MAX_MINUTES must be 0 with MODEL.COMPRESSION.ENABLED"),
        ("MODEL.RECOGNITION.ONLY", True, "MODEL.RECOGNITION.ONLY must be False with MODEL.COMPRESSION.ENABLED"),
        ("MODEL.DISTILLATION.AGGREGATION.ENABLED", True, "AGGREGATION.ENABLED must be False with MODEL.COMPRESSION"),
        ("MODEL.META_ARCHITECTURE", "TextPerceptron", "TextPerceptron has no widths to search"),
        ("MODEL.META_ARCHITECTURE", "StripDistiller", "a reader of strips has no widths to search"),
    ],
)
def test_trainings_that_a_search_does_not_go_with(cfg, key, value, message):
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=message):
        SearchOptions.of(cfg)
    cfg.MODEL.COMPRESSION.ENABLED = False
    assert SearchOptions.of(cfg) is None


def test_places_and_costs_that_this_spotter_does_not_have(cfg):
    cfg.MODEL.COMPRESSION.WHERE = ["box", "neck"]
    with pytest.raises(ValueError, match="MODEL.COMPRESSION.WHERE neck: this spotter has no channels there that can go"):
        SpotterTrainer(cfg)
    cfg.MODEL.COMPRESSION.WHERE, cfg.MODEL.COMPRESSION.RHO = ["box"], 0.2
    with pytest.raises(ValueError, match=r"MODEL.COMPRESSION.RHO: the fewest channels .* cost 0.\d+ of all, more than 0.2"):
        SpotterTrainer(cfg)


def test_the_preflight_says_it(cfg, tmp_path, capsys):
    cfg.MODEL.COMPRESSION.RHO = 2.0
    cfg.MODEL.COMPRESSION.VALIDATION = ["no_such_set"]
    (tmp_path / "search.yaml").write_text(cfg.dump())
    assert main(["--config-file", str(tmp_path / "search.yaml")]) == 2
    said = capsys.readouterr().err
    assert "MODEL.COMPRESSION.RHO must be between 0 and 1" in said and "no_such_set" in said


def test_validation_data_are_other_data(cfg):
    assert validation_config(cfg).DATASETS.TRAIN == cfg.DATASETS.TRAIN
    cfg.MODEL.COMPRESSION.VALIDATION, cfg.DATASETS.TRAIN_WEIGHTS = ["synthwords_val"], [1]
    own = validation_config(cfg)
    assert own.DATASETS.TRAIN == ("synthwords_val",) and own.DATASETS.TRAIN_WEIGHTS == []


def test_the_default_rate_moves_an_indicator_by_15(cfg):
    cfg.MODEL.COMPRESSION.ALPHA_LR, cfg.SOLVER.MAX_ITER, cfg.MODEL.COMPRESSION.WARMUP = 0.0, 1000, 0.1
    options = SearchOptions.of(cfg)
    assert options.first == 100 and options.steps == 900 and options.rate == pytest.approx(15 / 900)


def test_norms_get_the_mean_of_the_batches():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    net[2].eval()
    batches = [torch.randn(3, 1, 4, 4) * k + k for k in (1.0, 2.0, 5.0)]
    outputs = [net[0](x).detach() for x in batches]
    assert renew_norms(net, iter(batches), 3) == 1
    torch.testing.assert_close(net[1].running_mean, torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0))
    torch.testing.assert_close(net[1].running_var, torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0))
    assert net[1].momentum == 0.1 and int(net[2].num_batches_tracked) == 0
    assert renew_norms(net.eval(), iter(()), 3) == 0


def test_hooks_stand_in_front_of_checkpoints_and_behind_all(cfg):
    kinds = [type(hook) for hook in SpotterTrainer(cfg)._hooks]
    assert kinds.index(SearchWidths) == 2 and kinds[-1] is CutWidths


@pytest.mark.slow
def test_two_processes_search(cfg, make_record, tmp_path):
    """Both move their indicators alike: the cut of each is that of all."""
    images = []
    for i, words in enumerate([("stone", "river"), ()]):
        record = make_record(words, seed=i)
        cv2.imwrite(str(tmp_path / f"{i}.png"), record["image"])
        words = [{"polygon": a["polygon"].tolist(), "text": a["text"], "ignore": False} for a in record["annotations"]]
        images.append({"file_name": f"{i}.png", "id": str(i), "width": 128, "height": 96, "words": words})
    (tmp_path / "own.json").write_text(json.dumps({"schema": "dld-text/1", "name": "own", "images": images}))
    cfg.DATASETS.REGISTER, cfg.DATASETS.TRAIN = [["own_pair", str(tmp_path / "own.json"), str(tmp_path)]], ("own_pair",)
    (tmp_path / "pair.yaml").write_text(cfg.dump())
    done = subprocess.run(
        [sys.executable, "projects/DLD/train_net.py", "--config-file", str(tmp_path / "pair.yaml"), "--num-gpus", "2",
         "--dist-url", "auto"],
        env=dict(os.environ, PYTHONPATH=os.getcwd(), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""),
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert configured_widths(stored_config(cut_file(cfg)))
