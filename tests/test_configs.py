"""Facts about configs/: every file loads, builds what it names, and differs from its base in what it says."""

import re
from pathlib import Path

import pytest
import yaml
from detectron2.modeling import build_model

import dld.modeling  # noqa: F401  only registration
from dld.config import chooses_scale, distils, read_without_teacher
from dld.engine.setup import load_config
from dld.modeling.flops import spotter_flops
from dld.modeling.meta_arch.distill import DistillMetaArch

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
ABLATIONS = [p for p in CONFIGS if p.parent.name == "ablations"]
# of a configuration, and its part of the name of the student's
SPOTTERS = {"teacher": "", "text_perceptron": "text_perceptron_", "mango": "mango_"}
NAMES = {"ids": lambda path: path.stem}


def differences(a, b, prefix="") -> dict:
    """Keys in which two configurations differ -> value in the first."""
    found = {}
    for key in a:
        name = f"{prefix}{key}"
        if hasattr(a[key], "keys"):
            found.update(differences(a[key], b[key], f"{name}."))
        elif a[key] != b[key]:
            found[name] = a[key]
    return found


@pytest.mark.parametrize("path", CONFIGS, **NAMES)
def test_every_file_loads(path):
    cfg = load_config(str(path))
    known = ("TextSpottingRCNN", "TextPerceptron", "Mango", "DistillMetaArch", "StripDistiller")
    assert cfg.MODEL.META_ARCHITECTURE in known
    # a flip destroys text; words that cannot be read must still be seen
    assert cfg.INPUT.RANDOM_FLIP == "none" and cfg.INPUT.FORMAT == "BGR" and not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    assert all(step < cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS)
    assert cfg.MODEL.DISTILLATION.BEAM_WIDTH >= cfg.MODEL.DISTILLATION.NUM_SEQUENCES == 3


def test_runs_do_not_overwrite_each_other():
    runs = [p for p in CONFIGS if not p.name.startswith("Base")]
    folders = [load_config(str(p)).OUTPUT_DIR for p in runs]
    assert len(set(folders)) == len(folders)
    for path, folder in zip(runs, folders, strict=True):
        assert folder == "output/" + str(path.relative_to(ROOT / "configs").with_suffix(""))


@pytest.mark.parametrize("path", CONFIGS, **NAMES)
def test_the_commands_in_the_comments_name_files_that_exist(path):
    for name in re.findall(r"(?:configs|projects)/[\w./]+\.(?:yaml|py)", path.read_text()):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("path", ABLATIONS, **NAMES)
def test_an_ablation_changes_what_it_names_and_no_training_length(path):
    """Every compared student continues from the same teacher for the same number of steps."""
    own, base = load_config(str(path)), load_config(str(ROOT / "configs" / "dld_tiny.yaml"))
    changed = differences(own, base)
    assert changed.pop("OUTPUT_DIR")
    assert changed and all(name.startswith(("MODEL.DISTILLATION.", "MODEL.SELECTOR.")) for name in changed)
    assert own.SOLVER == base.SOLVER
    assert set(yaml.safe_load(path.read_text())) == {"_BASE_", "MODEL", "OUTPUT_DIR"}


@pytest.mark.parametrize("path", [p for p in CONFIGS if "tiny" in p.stem or p in ABLATIONS], **NAMES)
def test_small_models_build(path):
    cfg = load_config(str(path), ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    selects = "DistillMetaArch" == cfg.MODEL.META_ARCHITECTURE and cfg.MODEL.SELECTOR.ENABLED
    assert (getattr(model, "selector", None) is not None) == selects


def test_the_papers_model_builds():
    model = build_model(load_config(str(ROOT / "configs" / "dld_R50.yaml"), ["MODEL.DEVICE", "cpu"]))
    assert isinstance(model, DistillMetaArch) and model.scales == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    # 187,839 MAC per padded pixel in backbone, pyramid and proposals, with a stride on the 3x3 convolutions
    assert model.cost_table.student.per_pixel / 2 == pytest.approx(187_839, rel=0.01)
    costs = model.cost_table.costs([(896, 1600)], [8])[0]
    assert bool((costs.diff() > 0).all()) and 0.09 < costs[0] < 0.3 and 0.64 < costs[-1] < 0.75


def test_the_published_text_perceptron_costs_what_its_layers_say():
    """MAC per padded pixel: ResNet-50, pyramid down to P2, heads; and the recogniser's convolution."""
    model = build_model(load_config(str(ROOT / "configs" / "text_perceptron_R50.yaml"), ["MODEL.DEVICE", "cpu"]))
    parts = model.count_parts((64, 96), 1, 2)
    per_pixel = [n / 2 / (64 * 96) for n in (parts.backbone, parts.fpn, parts.rpn, parts.stem)]
    assert per_pixel[1:] == pytest.approx([7_680 + 36_864, 205_056, 36_864], rel=0.001)
    assert per_pixel[0] == pytest.approx(81_456, rel=0.01)
    assert parts.boxes == parts.masks == 0


def test_the_published_mango_costs_what_its_layers_say():
    """MAC per padded pixel: pyramid down to P2, segmentation with the pooling to 40 x 40; towers of maps and reading; and of
    each of two cells a word, twice 25 positions of 256 channels. Per image: two towers on the grid."""
    model = build_model(load_config(str(ROOT / "configs" / "mango_R50.yaml"), ["MODEL.DEVICE", "cpu"]))
    parts, pixels = model.count_parts((64, 96), 1, 2), 64 * 96
    per_pixel = [n / 2 / pixels for n in (parts.backbone, parts.fpn, parts.stem, parts.attention)]
    assert per_pixel == pytest.approx([81_456, 7_680 + 36_864, 151_840 + 147_456, 2 * 2 * 25 * 256 / 16], rel=0.01)
    pooling = 40 * (16 * 24 + 40 * 24) * 256
    assert parts.rpn / 2 == pytest.approx(131_088 * pixels + pooling, rel=0.001)
    grid = 9 * 1600 * ((2 * 256 + 1) * 256 + (258 + 3 * 256) * 256)
    assert parts.boxes / 2 == pytest.approx(grid, rel=0.001)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_students_choose_their_scale_before_and_after_training(path):
    cfg = load_config(str(path), [])
    assert chooses_scale(cfg) == distils(cfg) == path.stem.startswith("dld_")
    read_without_teacher(cfg)
    assert chooses_scale(cfg) == path.stem.startswith("dld_") and not distils(cfg)


def test_the_tiny_teacher_is_small_and_worth_shrinking():
    cfg = load_config(str(ROOT / "configs" / "teacher_tiny.yaml"), ["MODEL.DEVICE", "cpu", "MODEL.RECOGNITION.READER", ""])
    model = build_model(cfg)
    assert 4e6 < sum(p.numel() for p in model.parameters()) < 6e6
    flops = spotter_flops(model, (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST), 8)
    assert flops.fixed <= 0.2 * flops.total
    assert cfg.MODEL.RPN.POST_NMS_TOPK_TEST <= 200 and cfg.INPUT.MIN_SIZE_TEST >= 640


def test_strips_make_words_cost_more_than_their_masked_crops():
    """Strips of 48 rows do not shrink with the picture: they bound what a smaller one saves."""
    shares = []
    for reader in ("", "StripRecognizer"):
        options = ["MODEL.DEVICE", "cpu", "MODEL.RECOGNITION.READER", reader]
        model = build_model(load_config(str(ROOT / "configs" / "teacher_tiny.yaml"), options))
        flops = spotter_flops(model, (640, 640), 8)
        shares.append(flops.fixed / flops.total)
    assert shares[0] <= 0.2 < shares[1] <= 0.42


def test_distillation_starts_from_its_teachers_model():
    pairs = [(f"{name}_{size}", f"dld_{other}{size}") for size in ("tiny", "R50") for name, other in SPOTTERS.items()]
    for teacher, student in pairs:
        teacher, student = (load_config(str(ROOT / "configs" / f"{name}.yaml")) for name in (teacher, student))
        changed = differences(student.MODEL, teacher.MODEL)
        spotter = {key for key in changed if not key.startswith("SELECTOR.")}
        assert spotter <= {"META_ARCHITECTURE", "DISTILLATION.GAMMA", "DISTILLATION.SEQUENCE_TARGETS", "CHANNELS_LAST"}
    assert load_config(str(ROOT / "configs" / "dld_tiny.yaml")).INPUT.TEXT_CROP.ENABLED is False
