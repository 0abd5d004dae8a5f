"""Runs of the Text Perceptron, its student and a student of another architecture: they take steps, resume, evaluate."""

import os
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from tiny_settings import TINY

from dld.config import get_dld_cfg
from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.distill_trainer import DistillTrainer
from dld.engine.trainer import SpotterTrainer
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def configured(small_set, tmp_path):
    def configured(name, *opts):
        cfg = get_dld_cfg()
        cfg.merge_from_file(str(CONFIGS / f"{name}.yaml"))
        small = [*TINY, "MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone", "MODEL.FPN.NORM", "BN"]
        cfg.merge_from_list([*small, "DATASETS.TRAIN", (small_set,), "OUTPUT_DIR", str(tmp_path / name), *opts])
        os.makedirs(cfg.OUTPUT_DIR)
        return cfg

    return configured


def train(cfg, trainer=SpotterTrainer, resume=False):
    torch.manual_seed(0)
    trainer = trainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def test_a_run_is_resumed_and_scored(configured, small_set):
    cfg = configured("text_perceptron_tiny", "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.MAX_ITER", 2)
    whole = train(cfg).unwrapped_model.state_dict()
    os.remove(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("model_0000000.pth")
    cfg.DATASETS.TEST = (small_set,)
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 1
    for name, value in resumed.unwrapped_model.state_dict().items():
        torch.testing.assert_close(value, whole[name], msg=name)
    assert {"detection", "e2e"} <= set(resumed._last_eval_results)


def test_a_student_is_distilled_from_a_teacher_of_its_kind(configured, tmp_path):
    teacher = configured("text_perceptron_tiny")
    torch.manual_seed(1)
    SpotterCheckpointer(build_model(teacher), str(tmp_path), extra={"config": teacher.dump()}).save("teacher")
    cfg = configured(
        "dld_text_perceptron_tiny", "MODEL.DISTILLATION.TEACHER_WEIGHTS", str(tmp_path / "teacher.pth"),
        "MODEL.SELECTOR.SCALES", [0.5, 1.0],
    )  # fmt: skip
    trainer = train(cfg, DistillTrainer)
    assert trainer.unwrapped_model.cost_table.teacher == trainer.unwrapped_model.cost_table.student
    cfg.SOLVER.MAX_ITER = 3
    assert train(cfg, DistillTrainer, resume=True).start_iter == 2


def test_a_student_may_learn_from_a_spotter_with_proposals(configured, tmp_path, tiny_cfg, caplog):
    """Crops of both are 16 x 8 x 32; the student starts with the backbone and the recogniser of the teacher."""
    torch.manual_seed(1)
    teacher = build_model(tiny_cfg)
    assert isinstance(teacher, TextSpottingRCNN)
    SpotterCheckpointer(teacher, str(tmp_path), extra={"config": tiny_cfg.dump()}).save("teacher")
    cfg = configured(
        "dld_text_perceptron_tiny", "MODEL.DISTILLATION.TEACHER_WEIGHTS", str(tmp_path / "teacher.pth"),
        "MODEL.SELECTOR.SCALES", [0.5, 1.0],
    )  # fmt: skip
    torch.manual_seed(0)
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(False)
    student = trainer.unwrapped_model.student.state_dict()
    for name, value in teacher.roi_heads.recognizer.state_dict().items():
        assert torch.equal(student[f"recognizer.{name}"], value), name
    assert trainer.unwrapped_model.cost_table.teacher.per_image > 0 == trainer.unwrapped_model.cost_table.student.per_image
    trainer.train()
