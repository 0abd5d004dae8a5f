"""Runs of MANGO and its student: they learn to read, take steps in both stages, resume, evaluate by their protocol."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from tiny_settings import TINY

from dld.config import get_dld_cfg
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.distill_trainer import DistillTrainer
from dld.engine.trainer import SpotterTrainer
from dld.evaluation.text_evaluator import TextSpottingEvaluator

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [*TINY, "MODEL.BACKBONE.NAME", "build_tiny_resnet_fpn_backbone", "MODEL.FPN.NORM", "BN", "MODEL.MANGO.GRID", 8]


def loaded(name, *opts):
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(CONFIGS / f"{name}.yaml"))
    cfg.merge_from_list([*SMALL, *opts])
    return cfg


@pytest.fixture
def configured(small_set, tmp_path):
    def configured(name, *opts, folder=None):
        cfg = loaded(name, "DATASETS.TRAIN", (small_set,), "OUTPUT_DIR", str(tmp_path / (folder or name)), *opts)
        os.makedirs(cfg.OUTPUT_DIR)
        return cfg

    return configured


def train(cfg, trainer=SpotterTrainer, resume=False):
    torch.manual_seed(0)
    trainer = trainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def test_a_few_pictures_are_learned_by_heart(make_record):
    """Found and read without a mistake, from nothing, within 160 steps."""
    still = ["INPUT.JITTER_BRIGHTNESS", 0.0, "INPUT.JITTER_CONTRAST", 0.0, "INPUT.JITTER_SATURATION", 0.0]
    size = ["INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64, "MODEL.RECOGNITION.MAX_LENGTH", 6]
    cfg = loaded("mango_tiny", *still, *size, "MODEL.FPN.OUT_CHANNELS", 32, "MODEL.RECOGNITION.WIDTH", 32)
    texts = ["river", "exit", "42"]
    records = [make_record((text,), 64, 96, seed=i, font=0.9) for i, text in enumerate(texts)]
    rng, mappers = np.random.default_rng(0), [TextDatasetMapper(cfg, train) for train in (True, False)]
    batch, pictures = [mappers[0](x, rng) for x in records], [mappers[1](x) for x in records]
    torch.manual_seed(0)
    model, read = build_model(cfg), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, 160)
    for step in range(1, 161):
        model.train()
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            with torch.no_grad():
                read = [x["instances"].pred_texts for x in model.eval()(pictures)]
            if read == [[text] for text in texts]:
                return
    raise AssertionError(f"read {read}")


def test_both_stages_are_run_and_the_second_is_resumed_and_scored(configured, small_set):
    first = configured("mango_tiny", "MODEL.MANGO.STAGE", "attention", folder="attention")
    attention = train(first).unwrapped_model.state_dict()
    weights = str(Path(first.OUTPUT_DIR) / "model_final.pth")
    cfg = configured("mango_tiny", "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.MAX_ITER", 2, "MODEL.WEIGHTS", weights)
    torch.manual_seed(0)
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(False)
    assert all(torch.equal(value, attention[name]) for name, value in trainer.unwrapped_model.state_dict().items())
    trainer.train()
    whole = trainer.unwrapped_model.state_dict()
    os.remove(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("model_0000000.pth")
    cfg.DATASETS.TEST = (small_set,)
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 1
    for name, value in resumed.unwrapped_model.state_dict().items():
        torch.testing.assert_close(value, whole[name], msg=name)
    assert {"detection", "e2e"} <= set(resumed._last_eval_results)


def test_test_sets_are_scored_by_the_protocol_of_the_configuration(configured, small_set):
    cfg = configured("mango_tiny")
    evaluator = SpotterTrainer.build_evaluator(cfg, small_set)
    assert isinstance(evaluator, TextSpottingEvaluator) and evaluator.protocol.name == "mango"
    cfg.TEST.PROTOCOL = ""
    assert SpotterTrainer.build_evaluator(cfg, small_set).protocol.name == "icdar2015"


def test_a_student_is_distilled_from_a_teacher_of_its_kind(configured, tmp_path):
    teacher = configured("mango_tiny")
    torch.manual_seed(1)
    SpotterCheckpointer(build_model(teacher), str(tmp_path), extra={"config": teacher.dump()}).save("teacher")
    cfg = configured(
        "dld_mango_tiny", "MODEL.DISTILLATION.TEACHER_WEIGHTS", str(tmp_path / "teacher.pth"),
        "MODEL.SELECTOR.SCALES", [0.5, 1.0],
    )  # fmt: skip
    trainer = train(cfg, DistillTrainer)
    law = trainer.unwrapped_model.cost_table.teacher
    assert law == trainer.unwrapped_model.cost_table.student and law.per_word_pixel > 0
    cfg.SOLVER.MAX_ITER = 3
    assert train(cfg, DistillTrainer, resume=True).start_iter == 2
