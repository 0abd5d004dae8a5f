"""What `make demo` runs: its parts on little, and once from the beginning to the end."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch

from dld.data.annotation import read_annotations
from dld.data.samples import ANNOTATIONS
from dld.engine.distill_trainer import DistillTrainer
from dld.engine.setup import register_datasets
from dld.inference.predictor import TextSpotter
from dld.model_zoo import find_weights
from dld.structures.words import SpottingResult, Word
from dld.weights import load_weights_file

SCRIPT = Path(__file__).resolve().parents[2] / "projects" / "DLD" / "tools" / "run_demo.py"


@pytest.fixture(scope="module")
def demo():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("run_demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_demo"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["run_demo"]


class Perfect:
    """Reads what is written."""

    model = SimpleNamespace(selector=None)

    def __init__(self, wrong=()):
        self.wrong = set(wrong)

    def __call__(self, path, scale):
        assert scale == 1.0, "without a selector there is nothing to choose"
        image = next(im for im in read_annotations(ANNOTATIONS) if im.file_name == Path(path).name)
        words = [Word("?" if w.text in self.wrong else w.text, w.polygon) for w in image.words]
        result = SpottingResult(image.image_id, path, image.width, image.height, words, 1.0, 1.0, 2.5)
        result.pixels = lambda: cv2.imread(path)
        return result


def test_the_samples_are_read_counted_and_drawn(demo, tmp_path, capsys):
    first = read_annotations(ANNOTATIONS)[0]
    spotters = {"perfect": Perfect(), "blind": Perfect(wrong={w.text for w in first.words})}
    count = demo.read_samples(spotters, tmp_path, limit=1)
    words = len(first.words)
    assert count == {"perfect": (words, words), "blind": (0, words)}
    assert (tmp_path / "perfect" / first.file_name).is_file() and (tmp_path / "blind" / first.file_name).is_file()
    said = capsys.readouterr().out
    assert first.words[0].text in said and "scale 1.00,   2.5 GFLOPs, 100% of the teacher's cost" in said


def test_words_are_told_line_by_line(demo):
    def at(text, x, y):
        return Word(text, [[x, y], [x + 10, y], [x + 10, y + 4], [x, y + 4]])

    words = [at("world", 50, 12), at("again", 0, 60), at("hello", 0, 13)]
    assert demo.in_reading_order(words, 100) == "hello | world | again"
    assert demo.in_reading_order([], 100) == "(no words)"


def test_the_distillation_starts_from_the_student_and_ends_by_the_clock(demo, tmp_path):
    teacher, student = find_weights("teacher_tiny"), find_weights("dld_tiny")
    cfg = demo.distillation_config(teacher, student, 2, tmp_path, ["SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_MINUTES", "3"])
    assert cfg.MODEL.WEIGHTS == student and cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS == teacher
    assert cfg.SOLVER.MAX_MINUTES == 3.0 and cfg.SOLVER.IMS_PER_BATCH == 1
    # more steps than any machine does in the time: the limit is the clock
    assert cfg.SOLVER.MAX_ITER >= 1_000_000 and tuple(cfg.SOLVER.STEPS) == ()
    assert tuple(cfg.DATASETS.TRAIN) == ("synthwords_train",), "needs no data that would have to be downloaded"
    shipped = TextSpotter.from_checkpoint(student, device="cpu").cfg
    assert cfg.MODEL.SELECTOR == shipped.MODEL.SELECTOR and cfg.MODEL.RECOGNITION == shipped.MODEL.RECOGNITION


def test_student_and_selector_are_those_that_are_shipped(demo, tmp_path):
    """What the trainer starts from, before its first step."""
    teacher, student = find_weights("teacher_tiny"), find_weights("dld_tiny")
    cfg = demo.distillation_config(teacher, student, 1, tmp_path, ["DATALOADER.NUM_WORKERS", "0"])
    register_datasets(cfg)
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(resume=False)
    state, shipped = trainer.unwrapped_model.state_dict(), load_weights_file(student)["model"]
    for name, value in shipped.items():
        assert torch.equal(state[name], value.to(state[name].dtype)), name
    stored = load_weights_file(teacher)["model"]
    name = next(n for n in stored if n.endswith("decoder.output.weight"))
    assert torch.equal(trainer.unwrapped_model.teacher.state_dict()[name], stored[name].float())


def test_progress_is_told_from_the_first_step_on(demo, capsys):
    clock = demo.Progress(minutes=2, seconds=1000)
    latest = {"total_loss": (1.5, 0)}
    clock.trainer = SimpleNamespace(iter=0, storage=SimpleNamespace(latest=lambda: latest), last_scales=[0.4, 0.8])
    clock.before_train()
    clock.after_step()
    said = capsys.readouterr().out
    assert "0 of 120 s" in said and "step    1" in said and "1.500" in said and "0.4 0.8" in said
    clock.trainer.iter = 1
    clock.after_step()
    assert capsys.readouterr().out == ""
    clock.seconds = 0
    clock.after_step()
    assert "step    2" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "done"), [(1000, 12), (-1, 5)])
def test_a_slow_machine_compares_fewer_pictures(demo, seconds, done, capsys):
    """Of those that are done everything is measured, in order."""
    counts = []
    images = SimpleNamespace(count=12)
    study = SimpleNamespace(images=images, measure=lambda: counts.append(images.count))
    assert demo.measure_within(study, seconds) == done == images.count
    assert counts == [5, 10, 12][: len(counts)] and counts[-1] == done
    assert f"{done} of 12 pictures" in capsys.readouterr().out


def test_the_table_is_in_per_cent(demo):
    row = {"name": "x", "mean_scale": 0.5, "total_gflops": 3.14159, "teacher_share": 0.25, "detection_hmean": 0.5,
           "e2e_hmean": 0.4, "e2e_interval": [0.3, 0.5], "word_spotting_hmean": 0.2, "ms_per_image": 12.3}  # fmt: skip
    cells = demo.table([row]).splitlines()[-1].split("  ")
    assert [c.strip() for c in cells if c.strip()] == ["x", "0.50", "3.1", "25%", "50.0", "40.0 [30, 50]", "20.0", "12"]


@pytest.mark.slow
def test_from_the_beginning_to_the_end(demo, tmp_path, capsys):
    little = ["SOLVER.IMS_PER_BATCH", "1", "INPUT.MIN_SIZE_TRAIN", "(224,)", "DATALOADER.NUM_WORKERS", "0"]
    arguments = ["--output", str(tmp_path), "--minutes", "0.02", "--images", "2", "--samples", "1", "--opts", *little]
    assert demo.main(arguments) == 0
    said = capsys.readouterr().out
    rows = ("teacher @ 1", "teacher @ 0.5", "DLD as shipped @ 0.5", "DLD as shipped", "DLD after 0.02 more min")
    for part in ("1/3", "2/3", "3/3", "step    1", *rows):
        assert part in said
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [r["choice"] for r in rows] == ["fixed", "fixed", "fixed", "chosen", "chosen"]
    assert rows[0]["teacher_share"] == 1.0 and all(r["images"] == 2 and r["ms_per_image"] > 0 for r in rows)
    assert rows[1]["total_gflops"] < rows[0]["total_gflops"]
    assert (tmp_path / "table.txt").read_text().strip() in said
    assert (tmp_path / "training" / "model_final.pth").is_file() and (tmp_path / "training" / "log.txt").stat().st_size
    assert len(list((tmp_path / "samples" / "dld_tiny").iterdir())) == 1
