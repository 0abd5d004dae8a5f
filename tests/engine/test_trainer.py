import json
import logging
import math
import os

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils.events import EventStorage

from dld.engine.hooks import BestSpotter
from dld.engine.train_step import NonFiniteLossError
from dld.engine.trainer import SpotterTrainer, distribute, scaled_learning_rate


def train(cfg, resume=False):
    torch.manual_seed(0)
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def metrics(cfg):
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as f:
        return [json.loads(line) for line in f]


@pytest.fixture
def cfg(tiny_cfg, small_set):
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    return tiny_cfg


def test_linear_scaling_rule(cfg):
    assert scaled_learning_rate(1e-3, 3, 24) == pytest.approx(1e-3 / 8)
    assert scaled_learning_rate(1e-3, 48, 24) == pytest.approx(2e-3)
    assert scaled_learning_rate(1e-3, 48, 0) == 1e-3
    cfg.SOLVER.REFERENCE_BATCH, cfg.SOLVER.BASE_LR = 8, 0.004  # IMS_PER_BATCH is 2
    assert {g["lr"] for g in SpotterTrainer(cfg).optimizer.param_groups} == {0.001}


def test_the_rate_warms_up_and_steps_down(cfg):
    cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR = 2, 0.1
    cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA, cfg.SOLVER.BASE_LR = (3,), 0.1, 0.01
    cfg.SOLVER.MAX_ITER = 5
    trainer = SpotterTrainer(cfg)
    rates = []
    for _ in range(5):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.scheduler.step()
    assert rates == pytest.approx([0.001, 0.0055, 0.01, 0.001, 0.001])


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_norms_are_not_decayed(cfg, name):
    cfg.SOLVER.OPTIMIZER = name
    model = SpotterTrainer.build_model(cfg)
    optimizer = SpotterTrainer.build_optimizer(cfg, model)
    assert type(optimizer).__name__ == name
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == sum(p.requires_grad for p in model.parameters())
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert decay[id(module.weight)] == 0
        if isinstance(module, torch.nn.Linear):
            assert decay[id(module.weight)] == cfg.SOLVER.WEIGHT_DECAY


def test_an_unknown_optimizer_is_named(cfg):
    cfg.SOLVER.OPTIMIZER = "Lion"
    with pytest.raises(ValueError, match="AdamW or SGD, got 'Lion'"):
        SpotterTrainer.build_optimizer(cfg, torch.nn.Linear(1, 1))


def test_an_unknown_data_set_is_answered_with_the_known_ones(cfg):
    cfg.DATASETS.TRAIN = ("drawn_word",)
    with pytest.raises(KeyError, match="'drawn_word'.*drawn_words"):
        SpotterTrainer(cfg)


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_a_picture_seen_again_and_again_is_learned(cfg, register_records, make_record, amp):
    cfg.DATASETS.TRAIN = (register_records("one_picture", [make_record()]),)
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR = amp, 20, 0.005
    cfg.SOLVER.IMS_PER_BATCH = cfg.SOLVER.REFERENCE_BATCH = 1
    cfg.INPUT.JITTER_BRIGHTNESS = cfg.INPUT.JITTER_CONTRAST = cfg.INPUT.JITTER_SATURATION = 0.0
    trainer = train(cfg)
    history = {name: h.values() for name, h in trainer.storage.histories().items()}
    for name in ("total_loss", "loss_rec", "loss_rpn_cls", "loss_cls"):
        values = [v for v, _ in history[name]]
        assert sum(values[-5:]) < 0.8 * sum(values[:5]), name
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


def test_a_resumed_run_ends_with_the_weights_of_the_unbroken_one(cfg, tmp_path):
    cfg.INPUT.ROTATION, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.MAX_ITER = 10.0, 3, 6
    cfg.SOLVER.CHECKPOINT_PERIOD = 3
    whole = train(cfg)

    broken = cfg.clone()
    broken.OUTPUT_DIR = str(tmp_path / "broken")
    os.makedirs(broken.OUTPUT_DIR)

    class Stopped(Exception):
        pass

    torch.manual_seed(0)
    trainer = SpotterTrainer(broken)
    trainer.resume_or_load(False)
    step = trainer.run_step

    def stop_at_5():
        if trainer.iter == 5:
            raise Stopped
        step()

    trainer.run_step = stop_at_5
    with pytest.raises(Stopped):
        trainer.train()
    again = SpotterTrainer(broken)
    again.resume_or_load(True)
    # the last checkpoint is that of iteration 2: iterations 3 and 4 are done once more
    assert again.start_iter == 3 and again.scheduler.last_epoch == 3
    again.train()
    assert again.iter == whole.iter == 6
    for (name, a), b in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for a, b in zip(whole.optimizer.state.values(), again.optimizer.state.values(), strict=True):
        assert torch.equal(a["exp_avg"], b["exp_avg"]) and a["step"] == b["step"]


def test_starting_from_weights_starts_at_the_first_iteration(cfg, tmp_path, caplog):
    first = train(cfg)
    cfg.MODEL.WEIGHTS = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    cfg.OUTPUT_DIR = str(tmp_path / "second")
    os.makedirs(cfg.OUTPUT_DIR)
    second = SpotterTrainer(cfg)
    with caplog.at_level(logging.INFO, logger="dld.engine.trainer"):
        second.resume_or_load(True)
    assert second.start_iter == 0 and f"starting from the weights {cfg.MODEL.WEIGHTS}" in caplog.text
    for a, b in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not second.optimizer.state


def test_starting_from_nothing_is_said(cfg, caplog):
    with caplog.at_level(logging.INFO, logger="dld.engine.trainer"):
        SpotterTrainer(cfg).resume_or_load(False)
    assert caplog.text.count("MODEL.WEIGHTS is empty: every layer, the backbone included, starts from random") == 1


def test_a_loss_of_nan_names_the_pictures_and_leaves_a_report(cfg, monkeypatch):
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(False)
    trainer.model.roi_heads.recognizer.decoder.output.bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"drawn_\d.png"):
        trainer.train()
    with open(os.path.join(cfg.OUTPUT_DIR, "non_finite_0000000_rank0.json")) as f:
        report = json.load(f)
    assert math.isnan(report["losses"]["loss_rec"]) and math.isfinite(report["losses"]["loss_cls"])
    assert len(report["images"]) == 2
    assert not os.path.exists(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))


def test_checkpoint_knows_its_configuration_and_holds_plain_values(cfg):
    train(cfg)
    stored = torch.load(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)
    assert "OUTPUT_DIR" in stored["config"] and stored["iteration"] == 1
    assert len(stored["model"]["roi_heads.recognizer.charset_codes"]) == 95


@pytest.mark.parametrize("limit", [0.0, 1e-6])
def test_training_ends_early_at_its_time_limit_and_writes_the_final_checkpoint_once(cfg, small_set, caplog, limit):
    cfg.SOLVER.MAX_MINUTES, cfg.SOLVER.MAX_ITER, cfg.DATASETS.TEST = limit, 3, (small_set,)
    with caplog.at_level(logging.INFO, logger="dld.engine.checkpoint"):
        trainer = train(cfg)
    last = 0 if limit else 2
    assert trainer.iter == last + 1 and set(trainer._last_eval_results) == {"detection", "e2e", "word_spotting"}
    assert torch.load(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)["iteration"] == last
    assert caplog.text.count("model_final.pth") == 1


def test_scores_best_checkpoint_and_pictures(cfg, small_set):
    cfg.DATASETS.TEST = (small_set,)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.EVAL_PERIOD, cfg.TEST.PICTURE_PERIOD, cfg.TEST.PICTURES, cfg.SOLVER.MAX_ITER = 2, 3, 2, 3
    trainer = train(cfg)
    files = set(os.listdir(cfg.OUTPUT_DIR))
    assert {"model_best.pth", "model_final.pth", "metrics.json", "pictures"} <= files
    assert any(name.startswith("events.out.tfevents") for name in files)
    assert sorted(os.listdir(os.path.join(cfg.OUTPUT_DIR, "pictures"))) == ["0000003_0.jpg", "0000003_1.jpg"]
    scores = trainer._last_eval_results
    assert set(scores) == {"detection", "e2e", "word_spotting"}
    assert all(0 <= v <= 100 for v in scores["e2e"].values())
    assert metrics(cfg)[-1]["e2e/hmean"] == pytest.approx(scores["e2e"]["hmean"])
    assert trainer.model.training, "training goes on after an evaluation"
    # the best is kept beside, the run would be resumed from the last
    assert trainer.checkpointer.get_checkpoint_file().endswith("model_final.pth")


class Checkpoints:
    """A checkpointer that only takes note."""

    def __init__(self):
        self.saved, self.last = [], "/out/model_0000009.pth"

    def save(self, name, is_last=True, **_):
        self.saved.append(name)
        if is_last:
            self.last = f"/out/{name}.pth"


class Loop:
    def __init__(self, storage, iteration):
        self.storage, self.iter, self.max_iter = storage, iteration, 100


def test_the_best_is_the_highest_score_and_survives_a_restart():
    checkpoints = Checkpoints()
    hook = BestSpotter(10, checkpoints)

    def evaluated(hook, iteration, score):
        before = len(checkpoints.saved)
        with EventStorage(iteration) as storage:
            storage.put_scalar("e2e/hmean", score, smoothing_hint=False)
            hook.trainer = Loop(storage, iteration)
            hook.after_step()
        return len(checkpoints.saved) > before

    assert [evaluated(hook, i, s) for i, s in ((9, 30.0), (19, 20.0), (24, 90.0), (29, 40.0))] == [True, False, False, True]
    assert checkpoints.saved == ["model_best"] * 2 and checkpoints.last == "/out/model_0000009.pth"
    again = BestSpotter(10, checkpoints)
    again.load_state_dict(hook.state_dict())
    assert not evaluated(again, 39, 35.0) and evaluated(again, 49, 41.0)


def test_the_score_at_the_end_is_of_the_last_iteration():
    hook = BestSpotter(10, Checkpoints())
    with EventStorage(100) as storage:
        storage.put_scalar("e2e/hmean", 30.0, smoothing_hint=False)
        hook.trainer = Loop(storage, 100)
        hook.after_train()
    assert hook.state_dict() == {"best_metric": 30.0, "best_iter": 99}


def test_a_single_process_needs_no_wrapper():
    model = torch.nn.Linear(1, 1)
    assert distribute(model) is model


def test_an_evaluation_alone_leaves_the_model_as_it_was(cfg, small_set):
    cfg.DATASETS.TEST = (small_set,)
    model = SpotterTrainer.build_model(cfg)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    SpotterTrainer.test(cfg, model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert MetadataCatalog.get(small_set).evaluator_type == "text_spotting"


def test_a_checkpoint_at_an_evaluation_knows_its_score_and_the_log_does(cfg, small_set):
    cfg.DATASETS.TEST = (small_set,)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.EVAL_PERIOD = cfg.SOLVER.CHECKPOINT_PERIOD = 2
    cfg.SOLVER.MAX_ITER = 3
    train(cfg)
    periodic, best = (
        torch.load(os.path.join(cfg.OUTPUT_DIR, name), weights_only=True)["trainer"]
        for name in ("model_0000001.pth", "model_best.pth")
    )
    assert periodic["hooks"]["BestSpotter"]["best_iter"] == best["hooks"]["BestSpotter"]["best_iter"] == 1
    # not yet in metrics.json, which is written every 20 iterations: a resumed run will write it
    assert "e2e/hmean" in periodic["last_scalars"]


def test_logged_medians_reach_back_across_a_restart(cfg):
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD = 2, 1
    train(cfg)
    cfg.SOLVER.MAX_ITER = 3
    again = train(cfg, resume=True)
    history = again.storage.history("total_loss").values()
    assert [iteration for _, iteration in history] == [0, 1, 2]
