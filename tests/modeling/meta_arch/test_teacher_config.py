"""A teacher that is built from a configuration of its own."""

import pytest
import torch
from detectron2.modeling import build_model
from distilling import SCENES, build, check_losses_and_gradients

from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.distill_trainer import DistillTrainer
from dld.modeling.meta_arch.teacher_config import teacher_config
from dld.modeling.resolution.cost import stored_cost


@pytest.fixture
def wide_teacher(cfg, tmp_path):
    """Weights of a spotter with twice the student's box head and another backbone; features of words are of one shape."""
    own = cfg.clone()
    own.MODEL.META_ARCHITECTURE = "TextSpottingRCNN"
    own.MODEL.ROI_BOX_HEAD.FC_DIM = 64
    own.MODEL.TINY_RESNET.WIDTHS = [16, 24, 40, 64]
    torch.manual_seed(3)
    SpotterCheckpointer(build_model(own), str(tmp_path), extra={"config": own.dump()}).save("wide")
    return str(tmp_path / "wide.pth")


def test_a_teacher_of_the_students_architecture_is_no_other(cfg, tmp_path):
    assert teacher_config(cfg) is None
    own = cfg.clone()
    own.MODEL.META_ARCHITECTURE, own.MODEL.RECOGNITION.READER = "TextSpottingRCNN", "StripRecognizer"
    own.MODEL.DISTILLATION.GAMMA, own.SOLVER.MAX_ITER = 0.3, 77
    SpotterCheckpointer(torch.nn.Linear(1, 1), str(tmp_path), extra={"config": own.dump()}).save("like")
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / "like.pth")
    assert teacher_config(cfg) is None, "how it reads and was trained does not make it another network"


def test_the_encoder_of_strips_is_the_teachers_own_where_it_is_a_part_of_it(cfg, tmp_path):
    own = cfg.clone()
    own.MODEL.META_ARCHITECTURE, own.MODEL.STRIPS.ENCODER.NAME = "TextSpottingRCNN", "stem"
    for name, encoder in (("TextRecognizer", None), ("StripRecognizer", "stem")):
        own.MODEL.RECOGNITION.NAME = cfg.MODEL.RECOGNITION.NAME = name
        SpotterCheckpointer(torch.nn.Linear(1, 1), str(tmp_path), extra={"config": own.dump()}).save(name)
        cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / f"{name}.pth")
        other = teacher_config(cfg)
        assert encoder == (None if other is None else other.MODEL.STRIPS.ENCODER.NAME)
    assert cfg.MODEL.STRIPS.ENCODER.NAME == "ppocr"


def test_weights_without_configuration_are_of_the_students_architecture(cfg, tmp_path):
    torch.save({"model": {"weight": torch.zeros(1)}}, tmp_path / "bare.pth")
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = str(tmp_path / "bare.pth")
    assert teacher_config(cfg) is None
    cfg.MODEL.DISTILLATION.TEACHER_CONFIG = str(tmp_path / "bare.pth")
    with pytest.raises(ValueError, match="TEACHER_CONFIG: .*bare.pth holds no configuration"):
        teacher_config(cfg)


def test_a_wider_teacher_teaches_and_its_cost_is_remembered(cfg, wide_teacher, make_batch, storage):
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = wide_teacher
    model = build(cfg)
    assert model.teacher.roi_heads.box_head.fc1.out_features == 64
    assert model.student.roi_heads.box_head.fc1.out_features == 32
    assert model.cost_table.teacher.per_pixel > model.cost_table.student.per_pixel
    assert {"loss_kd_roi", "loss_selector"} <= set(check_losses_and_gradients(model, make_batch(*SCENES["words"])))
    assert stored_cost(model.cost_table.teacher.numbers()) == model.cost_table.teacher


def test_a_run_with_a_wider_teacher(cfg, wide_teacher, small_set, caplog):
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS, cfg.DATASETS.TRAIN = wide_teacher, (small_set,)
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(False)
    model = trainer.unwrapped_model
    assert "teacher and student differ" in caplog.text
    name = "roi_heads.recognizer.decoder.output.weight"
    assert torch.equal(model.student.state_dict()[name], model.teacher.state_dict()[name])
    trainer.train()
    # what reads later has no teacher at hand, and still knows its cost
    from dld.inference.predictor import TextSpotter
    from dld.weights import config_from_checkpoint

    spotter = TextSpotter(config_from_checkpoint(f"{cfg.OUTPUT_DIR}/model_final.pth"))
    assert spotter.model.cost_table.teacher == model.cost_table.teacher


def test_a_yaml_file_says_what_the_teacher_is(cfg, tmp_path):
    own = cfg.clone()
    own.MODEL.META_ARCHITECTURE, own.MODEL.ROI_BOX_HEAD.FC_DIM = "TextSpottingRCNN", 48
    (tmp_path / "teacher.yaml").write_text(own.dump())
    cfg.MODEL.DISTILLATION.TEACHER_CONFIG = str(tmp_path / "teacher.yaml")
    assert build(cfg).teacher.roi_heads.box_head.fc1.out_features == 48


def test_a_teacher_of_other_characters_is_refused(cfg, tmp_path):
    own = cfg.clone()
    own.MODEL.META_ARCHITECTURE, own.MODEL.RECOGNITION.CHARACTERS = "TextSpottingRCNN", "abc"
    (tmp_path / "teacher.yaml").write_text(own.dump())
    cfg.MODEL.DISTILLATION.TEACHER_CONFIG = str(tmp_path / "teacher.yaml")
    with pytest.raises(ValueError, match="the teacher reads .*, the student .*"):
        build(cfg)


def test_an_unknown_spotter_is_named(cfg):
    with pytest.raises(ValueError, match="MODEL.SPOTTER must be one of .*TextSpottingRCNN.*, got 'Tesseract'"):
        build(cfg, "MODEL.SPOTTER", "Tesseract")
