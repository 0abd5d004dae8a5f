"""The page on a spotter of one's own: its files are written, and its commands run in its order, as a reader would do."""

import json
import math
import re
import shlex
import sys

import numpy as np
import pytest
import torch
from checkout import ROOT, picture
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from markdown_commands import commands_of
from run_settings import TWO
from running import record, start

import dld.config
from dld import TextSpotter
from dld.cli.main import main
from dld.config_files import merge_overrides
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.setup import load_config
from dld.modeling.flops import count_flops
from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.resolution.cost import SpotterCost
from dld.weights import load_weights_file

PAGE = ROOT / "projects" / "DLD" / "docs" / "own_spotter.md"
TEXT = PAGE.read_text(encoding="utf-8")
# the block behind a paragraph that names a file and ends with a colon
FILES = dict(re.findall(r"`(\w+\.(?:py|yaml))`(?:(?!\n\n).)*:\n\n```\w+\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
COMMANDS = [c for c in commands_of(PAGE) if c.text not in {text.rstrip("\n") for text in FILES.values()}]
TEACHER, STUDENT = "output/cell_teacher/model_best.pth", "output/cell_student/model_best.pth"
SMALL = "MODEL.CELL_SPOTTER.WIDTH 8 MODEL.RECOGNITION.MAX_LENGTH 10 MODEL.SELECTOR.RESOLUTION.CHANNELS [8,16]"
TRAINING = f"{TWO} {SMALL} SOLVER.CHECKPOINT_PERIOD 1 MODEL.SELECTOR.SCALES [0.5,1.0] MODEL.DISTILLATION.SEQUENCE_TARGETS beams"
# what the runs of the suite add to a command; the resumed one takes a second step
ADDED = {
    "train": TRAINING,
    "--resume": "SOLVER.MAX_ITER 2",
    "analyze": "--limit 1 --opts INPUT.MIN_SIZE_TEST 96 DATASETS.SYNTHWORDS.SIZE [96,128]",
}
STEPS = {"loss_score", "loss_box", "loss_rec", "loss_kd_roi", "loss_kd_context", "loss_kd_sequence", "loss_selector"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page leaves behind in a folder with the configurations of a checkout and a photo."""
    folder, patch = tmp_path_factory.mktemp("own"), pytest.MonkeyPatch()
    sets = set(DatasetCatalog.list())
    (folder / "configs").symlink_to(ROOT / "configs")
    picture().save(folder / "photo.jpg", quality=95)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    patch.chdir(folder)
    patch.syspath_prepend(folder)
    try:
        for command in COMMANDS:
            if command.language == "python":
                exec(compile(command.text, PAGE.name, "exec"), {"__name__": "documented"})
                continue
            added = [words for part, words in ADDED.items() if part in command.text]
            started, stdin = record(" ".join([command.text, *added]), folder)
            assert [start(argv, stdin, patch) for argv in started] == [0], command.text
        yield folder
    finally:
        patch.undo()
        sys.modules.pop("cell_spotter", None)
        META_ARCH_REGISTRY._obj_map.pop("CellSpotter", None)
        dld.config._ADDED.pop("CELL_SPOTTER", None)
        for name in set(DatasetCatalog.list()) - sets:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def configured(folder, name: str, *more):
    """The configuration of a file of the page, as small as the suite runs it."""
    cfg = load_config(str(folder / f"{name}.yaml"), shlex.split(TRAINING))
    merge_overrides(
        cfg, ["OUTPUT_DIR", str(folder / "more"), "MODEL.DISTILLATION.TEACHER_WEIGHTS", str(folder / TEACHER), *more]
    )
    return cfg


def test_the_page_has_its_files_and_its_commands():
    assert list(FILES) == ["cell_spotter.py", "cell_teacher.yaml", "cell_student.yaml", "own.py"]
    verbs = [command.text.split()[2] for command in COMMANDS if command.language == "bash"]
    assert verbs == ["train", "train", "train", "analyze", "spot"]
    assert len(COMMANDS) == len(verbs) + 1


def test_the_page_names_what_no_spotter_can_do_without():
    section = TEXT[TEXT.index("## What it must have") : TEXT.index("## What more it may have")]
    assert Spotter.__abstractmethods__ == {"losses", "recognize", "spot"} <= set(re.findall(r"`(\w+)`", section))


def test_every_loss_taught_teacher_or_student(folder):
    rows = [json.loads(line) for line in (folder / "output/cell_student/metrics.json").read_text().splitlines()]
    assert set().union(*rows) >= STEPS and all(math.isfinite(row[name]) for row in rows for name in STEPS & set(row))
    first = load_weights_file(str(folder / "output/cell_student/model_0000000.pth"))["model"]
    last = load_weights_file(str(folder / "output/cell_student/model_final.pth"))["model"]
    assert {name for name in first if not torch.equal(first[name], last[name])} >= {
        *(f"student.{part}.weight" for part in ("backbone.0", "backbone.2", "cells", "columns", "decoder.output")),
        "selector.head.weight",
    }


def test_a_resumed_run_ends_as_the_unbroken_one(folder):
    options = f"{TRAINING} {ADDED['--resume']} DATASETS.TEST '()' OUTPUT_DIR output/unbroken"
    command = f"train --config-file cell_student.yaml MODEL.DISTILLATION.TEACHER_WEIGHTS {TEACHER} {options}"
    assert main(shlex.split(command)) == 0
    resumed, unbroken = (load_weights_file(f"output/{name}/model_final.pth") for name in ("cell_student", "unbroken"))
    assert resumed["iteration"] == unbroken["iteration"] == 1
    for name, value in resumed["model"].items():
        torch.testing.assert_close(value, unbroken["model"][name], msg=name)


def test_the_law_is_what_its_layers_cost(folder):
    """Of 3 x 3 convolutions of width 8 the first sees 3 channels at half the resolution, the last has 5 at a quarter."""
    model = build_model(configured(folder, "cell_teacher"))
    law = SpotterCost.measure(model)
    assert law.per_pixel == 2 * 9 * (3 * 8 / 4 + 8 * 8 / 16 + 8 * 5 / 16)
    context = model.read(torch.zeros(1, 8, 16, 16), [torch.tensor([[0.0, 0.0, 32.0, 16.0]])]).context
    counted = count_flops(lambda: model.decoder(context, torch.zeros(1, 6, dtype=torch.int64))).total_flops
    keys = 2 * 32 * 8 * 8
    assert law.per_word == 2 * 4 * 4 * 8 * 8 * 32 + 2 * 8 * 8 * 8 * 3 * 32 + keys and law.per_step * 6 == counted - keys


def test_pictures_are_read_at_a_scale_of_its_own(folder):
    spotter = TextSpotter.from_checkpoint(folder / STUDENT, device="cpu")
    image = np.asarray(picture())[:, :, ::-1].copy()
    result, full = spotter(image, scale=0.5), spotter(image, scale=1.0)
    assert result.words and 0 < result.cost < full.cost
    for word in result.words:
        (left, top), (right, bottom) = np.min(word.polygon, 0), np.max(word.polygon, 0)
        assert 0 <= left < right <= 256 and 0 <= top < bottom <= 96 and len(word.text) == len(word.char_scores)
    written = json.loads((folder / "out" / "results.json").read_text())["images"]
    assert len(written) == 1 and {"scale", "cost", "words"} <= set(written[0])


def test_words_are_found_by_what_it_spots(folder, make_record):
    model = build_model(configured(folder, "cell_teacher", "MODEL.CELL_SPOTTER.SCORE_THRESH_TEST", 0.0)).train()
    batch = [TextDatasetMapper(configured(folder, "cell_teacher"), True)(make_record(seed=seed)) for seed in (0, 1)]
    images = model.preprocess_image(batch)
    held = model.eval().spot(images)[0].pred_boxes.tensor[:1]
    words = [x["instances"] for x in batch]
    words[0].gt_boxes.tensor[1] = held + 1.0
    assert model.train().find_and_recognize(images, words)[1].tolist() == [False, True, False, False]
    assert model.training and model.backbone.training


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["MODEL.DISTILLATION.FINDING.CLASS_WEIGHT", 1.0], r"CellSpotter has no proposals .*MODEL\.DISTILLATION\.FINDING must"),
        (["MODEL.DISTILLATION.AGGREGATION.ENABLED", True], r"CellSpotter keeps no layers .*AGGREGATION\.ENABLED must be False"),
        (["MODEL.DISTILLATION.BEAMS", "ctc"], r"MODEL\.DISTILLATION\.BEAMS ctc needs a teacher with a CTC head"),
    ],
)
def test_a_loss_that_it_cannot_give_is_refused_when_it_is_built(folder, more, message):
    with pytest.raises(ValueError, match=message):
        build_model(configured(folder, "cell_student", *more))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"export --weights {TEACHER} --output graphs", "a CellSpotter cannot be exported"),
        (
            "train --config-file cell_teacher.yaml MODEL.RECOGNITION.READER StripRecognizer",
            "MODEL.RECOGNITION.READER must be empty, got 'StripRecognizer': a CellSpotter reads no strips",
        ),
        (f"spot --input photo.jpg --weights {TEACHER} --opts MODEL.RECOGNITION.CHARACTERS abc", "was trained on"),
        (
            f"train --config-file cell_student.yaml MODEL.DISTILLATION.TEACHER_WEIGHTS {TEACHER} {SMALL} MODEL.DEVICE cpu "
            "MODEL.SELECTOR.NAME WordLossSelector",
            "MODEL.SELECTOR.NAME ResolutionSelector starts from nothing",
        ),
    ],
)
def test_a_command_that_it_cannot_run_ends_with_one_line(folder, command, message, capsys):
    assert main(shlex.split(command)) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error:"))
    assert message in line


def test_a_spotter_whose_parts_are_not_named_has_no_cost(folder, costs_counted_once, monkeypatch):
    costs_counted_once.clear()
    monkeypatch.delattr(META_ARCH_REGISTRY.get("CellSpotter"), "run_parts")
    with pytest.raises(ValueError, match="CellSpotter does not say how its parts are run: its cost cannot be counted"):
        build_model(configured(folder, "cell_student"))
    assert isinstance(build_model(configured(folder, "cell_teacher")), Spotter)
