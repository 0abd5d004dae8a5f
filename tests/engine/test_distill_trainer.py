"""Facts about distillation runs: where they start, what they anneal, what a checkpoint holds, how they go on."""

import json
import logging
import math
import os
import subprocess
import sys

import cv2
import pytest
import torch
from detectron2.engine import HookBase
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from distilling import as_distiller

from dld.cli.train import main
from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.distill_trainer import DistillTrainer, ScaleHistogram
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN


@pytest.fixture
def cfg(tiny_cfg, small_set, tmp_path):
    """A distillation of the small model on four pictures, and its teacher's checkpoint."""
    torch.manual_seed(1)
    teacher = build_model(tiny_cfg)
    SpotterCheckpointer(teacher, str(tmp_path), extra={"config": tiny_cfg.dump()}).save("teacher")
    as_distiller(tiny_cfg)
    tiny_cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / "teacher.pth")
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    return tiny_cfg


class Notes(HookBase):
    """What a run is like after each step."""

    def __init__(self):
        self.losses, self.temperatures, self.scales = [], [], []

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.losses.append({k: v[0] for k, v in latest.items() if "loss" in k})
        selector = self.trainer.unwrapped_model.selector
        self.temperatures.append(None if selector is None else selector.objective.gumbel_temperature)
        self.scales.append(self.trainer.last_scales)


class Stopped(Exception):
    pass


def train(cfg, resume=False, stop_before=None):
    torch.manual_seed(0)
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.notes = Notes()
    trainer.register_hooks([trainer.notes])
    step = trainer.run_step

    def stop():
        if trainer.iter == stop_before:
            raise Stopped
        step()

    trainer.run_step = stop
    if stop_before is None:
        trainer.train()
    else:
        with pytest.raises(Stopped):
            trainer.train()
    return trainer


def stored(cfg, name="model_final.pth"):
    return torch.load(os.path.join(cfg.OUTPUT_DIR, name), weights_only=True)


@pytest.mark.parametrize(("config", "size"), [("dld_tiny", "tiny"), ("dld_R50", "R50"), ("ablations/skd_only", "tiny")])
def test_without_a_teacher_the_message_has_the_command_that_trains_one(config, size, capsys, tmp_path):
    assert main(["--config-file", f"configs/{config}.yaml", "OUTPUT_DIR", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    command = f"python projects/DLD/train_net.py --config-file configs/teacher_{size}.yaml"
    assert "MODEL.DISTILLATION.TEACHER_WEIGHTS is empty" in message and command in message
    assert os.path.isfile("projects/DLD/train_net.py") and os.path.isfile(f"configs/teacher_{size}.yaml")


def test_a_teacher_that_is_not_there_is_named(cfg):
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = "nowhere/teacher.pth"
    with pytest.raises(FileNotFoundError, match="TEACHER_WEIGHTS: weights nowhere/teacher.pth do not exist"):
        DistillTrainer(cfg)


def test_weights_that_do_not_fit_make_no_teacher(cfg, tmp_path):
    path = cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS
    whole = torch.load(path, weights_only=True)
    for name, state in {
        "part": {k: v for k, v in whole["model"].items() if "decoder" not in k},
        "student": {f"student.{k}": v for k, v in whole["model"].items()},
        "wide": {k: torch.cat([v, v]) if k == "backbone.fpn_output2.weight" else v for k, v in whole["model"].items()},
    }.items():
        cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / f"{name}.pth")
        torch.save({"model": state}, tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=rf"{name}\.pth: not a spotter of this configuration"):
            DistillTrainer(cfg)
    # the CTC head is no part of what a teacher does
    torch.save({"model": {k: v for k, v in whole["model"].items() if "ctc" not in k}}, tmp_path / "no_ctc.pth")
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / "no_ctc.pth")
    DistillTrainer(cfg)
    # unless its beams are asked for
    cfg.MODEL.DISTILLATION.BEAMS = "ctc"
    with pytest.raises(ValueError, match=r"no_ctc\.pth: these weights have no CTC head, of which MODEL.DISTILLATION.BEAMS"):
        DistillTrainer(cfg)
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = path
    DistillTrainer(cfg)


def test_the_student_starts_as_its_teacher(cfg):
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(False)
    model, file = trainer.unwrapped_model, torch.load(cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS, weights_only=True)["model"]
    assert len(file) == len(model.student.state_dict())
    for name, value in file.items():
        assert torch.equal(model.teacher.state_dict()[name], value) and torch.equal(model.student.state_dict()[name], value)


@pytest.mark.parametrize("kind", ["spotter", "student"])
def test_the_student_may_start_from_other_weights(cfg, tmp_path, kind):
    torch.manual_seed(5)
    other = TextSpottingRCNN(cfg)
    state = other.state_dict()
    if kind == "student":
        trainer = DistillTrainer(cfg)
        state = dict(trainer.unwrapped_model.state_dict())
        state.update({f"student.{k}": v for k, v in other.state_dict().items()})
        state["selector.head.bias"] = torch.tensor([1.0, 2.0, 3.0])
    torch.save({"model": state}, tmp_path / "other.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "other.pth")
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(False)
    model = trainer.unwrapped_model
    for name, value in other.state_dict().items():
        assert torch.equal(model.student.state_dict()[name], value), name
    assert not torch.equal(model.teacher.backbone.fpn_output2.weight, other.backbone.fpn_output2.weight)
    assert model.selector.head.bias.tolist() == ([1.0, 2.0, 3.0] if kind == "student" else [0.0, 0.0, 0.0])


@pytest.mark.parametrize("weights", ["", "other.pth"], ids=["teacher's", "a spotter's"])
def test_a_selector_of_backbone_stages_starts_as_its_student(cfg, tmp_path, weights):
    cfg.MODEL.SELECTOR.NAME = "BackboneSelector"
    if weights:
        torch.save({"model": TextSpottingRCNN(cfg).state_dict()}, tmp_path / weights)
        cfg.MODEL.WEIGHTS = str(tmp_path / weights)
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(False)
    student = trainer.unwrapped_model.student.backbone.bottom_up.state_dict()
    for name, value in trainer.unwrapped_model.selector.body.state_dict().items():
        assert torch.equal(value, student[name]), name


def test_a_run_step_by_step(cfg, caplog):
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.OPTIMIZER, cfg.MODEL.SELECTOR.RESOLUTION.FORM = 4, "SGD", "gumbel"
    with caplog.at_level(logging.INFO, logger="dld.engine"):
        trainer = train(cfg)
    assert "the student starts from the teacher's weights" in caplog.text
    # 5.0 x 0.965^(50 p) at p = 0, 1/4, 1/2, 3/4: by hand 5, 3.203, 2.052, 1.314
    assert trainer.notes.temperatures == pytest.approx([5.0 * 0.965 ** (50 * i / 4) for i in range(4)])
    assert trainer.notes.temperatures == pytest.approx([5.0, 3.203, 2.052, 1.314], rel=1e-3)
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as f:
        logged = [json.loads(line) for line in f][-1]
    assert {"selector/temperature", "selector/kl", "selector/cost", "loss_selector", "loss_kd_sequence"} <= set(logged)
    assert {"grad_norm", "grad_norm/1"} <= set(logged)

    file, teacher = stored(cfg), trainer.unwrapped_model.teacher.state_dict()
    assert {n.split(".")[0] for n in file["model"]} == {"student", "selector", "mu"}
    assert sum(n.startswith("student.") for n in file["model"]) == len(teacher)
    given = torch.load(cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS, weights_only=True)["model"]
    assert all(torch.equal(teacher[n], v) for n, v in given.items())
    changed = [n for n, v in given.items() if not torch.equal(file["model"][f"student.{n}"], v)]
    assert changed and not any("running_" in n for n in changed)
    assert file["model"]["selector.head.bias"].abs().max() > 0
    assert sum(len(g["params"]) for g in trainer.optimizer.param_groups) == len(list(trainer.model.parameters()))


def test_the_selector_learns_at_a_rate_of_its_own(cfg):
    cfg.SOLVER.BASE_LR, cfg.SOLVER.REFERENCE_BATCH, cfg.MODEL.SELECTOR.LR_FACTOR = 0.01, 0, 5.0
    cfg.SOLVER.BIAS_LR_FACTOR = 1.0
    trainer = DistillTrainer(cfg)
    selector = {id(p) for p in trainer.unwrapped_model.selector.parameters()}
    for group in trainer.optimizer.param_groups:
        for p in group["params"]:
            assert group["initial_lr"] == pytest.approx(0.05 if id(p) in selector else 0.01)


def test_student_and_selector_are_clipped_apart(cfg):
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE, cfg.MODEL.SELECTOR.CLIP_VALUE = 35.0, 5.0
    trainer = DistillTrainer(cfg)
    model = trainer.unwrapped_model
    student, selector = trainer._trainer.clip_groups
    assert {id(p) for p in student} == {id(p) for p in model.student.parameters()}
    assert {id(p) for p in selector} == {id(p) for p in model.selector.parameters()}
    assert trainer._trainer.clip_norms == [35.0, 5.0]
    for p in student:
        p.grad = torch.ones_like(p)
    for p in selector:
        p.grad = torch.full_like(p, 1000.0)

    def norm(group):
        return math.sqrt(sum(float(p.grad.square().sum()) for p in group))

    def clip():
        with EventStorage(0):
            trainer._trainer._clip({}, [])

    # a huge gradient of the selector shrinks nothing of the student's
    clip()
    assert norm(student) == pytest.approx(35, rel=1e-3) and norm(selector) == pytest.approx(5, rel=1e-3)
    for p in student:
        p.grad = torch.full_like(p, 1e-3)
    before = norm(student)
    clip()
    assert norm(student) == before
    cfg.MODEL.SELECTOR.ENABLED = False
    alone = DistillTrainer(cfg)._trainer
    assert len(alone.clip_groups) == 1 and alone.clip_norms == [35.0]


class Loop:
    """As much of a trainer as the histogram looks at."""

    def __init__(self, storage):
        self.storage, self.iter = storage, 0


def test_the_histogram_counts_shares_between_two_logs(caplog):
    hook = ScaleHistogram((0.4, 0.7), period=2)
    with EventStorage(0) as storage, caplog.at_level(logging.INFO, logger="dld.engine.distill_trainer"):
        hook.trainer = loop = Loop(storage)
        for loop.iter, loop.last_scales in enumerate([[0.4, 0.7], [0.4, 0.4], [0.7, 0.7]]):
            hook.after_step()
        latest = {k: v for k, (v, _) in storage.latest().items()}
        assert latest == {"scale/0.4": 0.75, "scale/0.7": 0.25}, "the third step belongs to the next log"
        assert "mean 0.475  0.4: 75%  0.7: 25%" in caplog.text
        loop.iter, loop.last_scales = 3, [0.55, 0.7]  # a scale that is no candidate is counted too
        hook.after_step()
        latest = {k: v for k, (v, _) in storage.latest().items()}
        assert latest == {"scale/0.4": 0.0, "scale/0.7": 0.75, "scale/0.55": 0.25}


@pytest.mark.parametrize("form", ["soft_target", "gumbel"])
def test_a_resumed_run_is_the_unbroken_one(cfg, tmp_path, form):
    """To the last bit: every random number follows from seed and iteration."""
    cfg.MODEL.SELECTOR.RESOLUTION.FORM, cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD = form, 4, 2
    cfg.SOLVER.WARMUP_ITERS = 3
    whole = train(cfg)
    broken = cfg.clone()
    broken.OUTPUT_DIR = str(tmp_path / "broken")
    os.makedirs(broken.OUTPUT_DIR)
    first = train(broken, stop_before=2)
    again = train(broken, resume=True)
    assert first.iter == again.start_iter == 2 and again.iter == whole.iter == 4
    for name in ("losses", "temperatures", "scales"):
        assert getattr(first.notes, name) + getattr(again.notes, name) == getattr(whole.notes, name), name
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert ours.keys() == theirs.keys() and not [n for n, v in theirs.items() if not torch.equal(ours[n], v)]
    assert len(whole.optimizer.state) == len(again.optimizer.state) == len(list(whole.model.parameters()))
    for a, b in zip(whole.optimizer.state.values(), again.optimizer.state.values(), strict=True):
        assert torch.equal(a["exp_avg"], b["exp_avg"]) and torch.equal(a["exp_avg_sq"], b["exp_avg_sq"]) and a["step"] == 4
    teacher = torch.load(cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS, weights_only=True)["model"]
    assert all(torch.equal(again.unwrapped_model.teacher.state_dict()[n], v) for n, v in teacher.items())


def test_a_search_among_layers_goes_on_where_it_was_broken_off(cfg, tmp_path, caplog):
    """Two steps of the weights and two of beta take turns, then two of stage 2; shares of the gradient are balanced."""
    node = cfg.MODEL.DISTILLATION
    node.AGGREGATION.ENABLED, node.AGGREGATION.BY_SCALE, node.AGGREGATION.SEARCH_STEPS, node.ROI_WEIGHT = True, True, 4, 0.0
    node.GRADIENT_SHARES_PERIOD, node.BALANCE, node.BALANCE_SHARES = 2, "gradient_share", [["loss_kd_sequence", 0.25]]
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.MODEL.SELECTOR.ENABLED = 6, 2, False
    weights, seen = {}, {}

    class Watch(HookBase):
        def after_step(self):
            state, i = self.trainer.unwrapped_model.state_dict(), self.trainer.iter
            weights[i] = {n: v.clone() for n, v in state.items() if n.startswith(("student.", "aggregation."))}
            seen[i] = {name for name, (_, at) in self.trainer.storage.latest().items() if at == i}

    def run(cfg, **options):
        DistillTrainer.build_hooks, build = lambda self: [*build(self), Watch()], DistillTrainer.build_hooks
        try:
            return train(cfg, **options)
        finally:
            DistillTrainer.build_hooks = build

    with caplog.at_level(logging.INFO, logger="dld.engine"):
        whole = run(cfg)
    name = "aggregation.beta_columns"

    def changed(i):
        return {n for n, v in weights[i].items() if not torch.equal(v, weights[i - 1][n])}

    assert changed(1) == changed(3) == {name} and name not in changed(2) | changed(4) | changed(5)
    assert "aggregation.to_student.columns.weight" in changed(2) and any("backbone" in n for n in changed(2))
    assert weights[0][name].shape == (3, 3) and not weights[0][name].any()
    bridge, final = {"loss_kd_st", "loss_kd_ts_rec"}, "loss_kd_columns"
    assert all(bridge <= seen[i] and final not in seen[i] for i in range(4))
    assert "loss_rpn_cls" in seen[2] and "loss_rpn_cls" not in seen[3]
    assert all(final in seen[i] and not bridge & seen[i] for i in (4, 5))
    assert {"gradient_share/rec", "gradient_share/cls", "balance/kd_sequence"} <= seen[4]
    assert not any(n.startswith("gradient_share") for n in seen[1] | seen[5])
    assert {"layers/columns/0.4/1", "layers/columns/1/3"} <= seen[3] and "layers of the columns at scale 0.7: " in caplog.text
    file = stored(cfg)
    assert torch.equal(file["model"][name], weights[5][name]) and file["model"][name].any()

    broken = cfg.clone()
    broken.OUTPUT_DIR = str(tmp_path / "broken")
    os.makedirs(broken.OUTPUT_DIR)
    train(broken, stop_before=2)
    broken.SOLVER.MAX_ITER = 4
    assert train(broken, resume=True).start_iter == 2
    # losses of the search are in the log of what goes on, but do not come again
    broken.SOLVER.MAX_ITER = 6
    again = train(broken, resume=True)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert again.start_iter == 4 and not [n for n, v in theirs.items() if not torch.equal(ours[n], v)]
    assert again._trainer.balance.state_dict() == whole._trainer.balance.state_dict()


def test_a_distilled_checkpoint_is_scored_without_its_teacher(cfg, small_set, tmp_path):
    train(cfg)
    cfg.DATASETS.TEST = (small_set,)
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = ""
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    weights, cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "model_final.pth"), str(tmp_path / "scores")
    (tmp_path / "distilled.yaml").write_text(cfg.dump())
    assert main(["--eval-only", "--config-file", str(tmp_path / "distilled.yaml"), "MODEL.WEIGHTS", weights]) == 0
    results = json.loads(next((tmp_path / "scores").glob("*_results.json")).read_text())
    assert len(results["images"]) == 4
    for image in results["images"]:
        assert image["scale"] in (0.4, 0.7, 1.0) and image["cost"] > 0
    assert list((tmp_path / "scores").glob("*_scores.json"))


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ["", "selector_gumbel", "skd_only", "vanilla_multiscale", "dfa"])
def test_two_processes_distil(cfg, make_record, tmp_path, ablation):
    """One of the two sees a picture without words at every step: no weight may wait for a gradient."""
    images = []
    for i, words in enumerate([("stone", "river"), ()]):
        record = make_record(words, seed=i)
        cv2.imwrite(str(tmp_path / f"{i}.png"), record["image"])
        words = [{"polygon": a["polygon"].tolist(), "text": a["text"], "ignore": False} for a in record["annotations"]]
        images.append({"file_name": f"{i}.png", "id": str(i), "width": 128, "height": 96, "words": words})
    (tmp_path / "own.json").write_text(json.dumps({"schema": "dld-text/1", "name": "own", "images": images}))
    cfg.DATASETS.REGISTER = [["own_pair", str(tmp_path / "own.json"), str(tmp_path)]]
    cfg.DATASETS.TRAIN = ("own_pair",)
    cfg.SOLVER.MAX_ITER = 3
    kinds = {"": [], "selector_gumbel": ["MODEL.SELECTOR.RESOLUTION.FORM", "gumbel"]}
    options = kinds.get(ablation, ["MODEL.SELECTOR.ENABLED", "False"])
    if ablation == "vanilla_multiscale":
        options += [v for n in ("ROI", "CONTEXT", "SEQUENCE") for v in (f"MODEL.DISTILLATION.{n}_WEIGHT", "0.0")]
    if ablation == "dfa":
        node = "MODEL.DISTILLATION"
        options += [f"{node}.AGGREGATION.ENABLED", "True", f"{node}.AGGREGATION.SEARCH_STEPS", "4"]
        options += [f"{node}.GRADIENT_SHARES_PERIOD", "1", f"{node}.BALANCE", "gradient_share"]
        options += [f"{node}.BALANCE_SHARES", "[['loss_kd_sequence', 0.2]]"]
    (tmp_path / "pair.yaml").write_text(cfg.dump())
    command = [sys.executable, "projects/DLD/train_net.py", "--config-file", str(tmp_path / "pair.yaml")]
    environment = dict(os.environ, PYTHONPATH=os.getcwd(), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    for resume, iterations in ((False, "3"), (True, "5")):
        done = subprocess.run(
            [*command, *(["--resume"] if resume else []), "--num-gpus", "2", "--dist-url", "auto", *options,
             "SOLVER.MAX_ITER", iterations],
            env=environment, capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        file = stored(cfg)
        assert file["iteration"] == int(iterations) - 1
        assert not any(n.startswith("teacher") for n in file["model"])
