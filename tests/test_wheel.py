"""What a wheel holds is enough: `dld spot`, `dld evaluate` and `dld train` run without the checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow

SMALL = [
    "MODEL.DEVICE", "cpu", "DATASETS.TRAIN", "('own_words',)", "DATASETS.TEST", "()", "INPUT.MIN_SIZE_TRAIN", "(96,)",
    "INPUT.TEXT_CROP.SIZE", "[96, 96]", "SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()", "SOLVER.IMS_PER_BATCH", "1",
    "SOLVER.WARMUP_ITERS", "0", "DATALOADER.NUM_WORKERS", "0", "TEST.PICTURE_PERIOD", "0", "OUTPUT_DIR", "trained",
]  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that a wheel would be unpacked into: what setup.py builds, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(folder), "build", "--build-base", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "lib"


@pytest.fixture
def dld(installed, tmp_path):
    """Runs a verb of the built package in another folder."""

    def run(*arguments) -> str:
        environment = {**os.environ, "PYTHONPATH": str(installed), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "dld.cli.main", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
        return done.stdout

    return run


def test_the_package_that_runs_is_the_built_one(installed, tmp_path):
    command = [sys.executable, "-c", "import dld; print(dld.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_every_configuration_is_in_it(installed):
    source, packaged = ROOT / "configs", installed / "dld" / "configs"
    names = {path.relative_to(source) for path in source.rglob("*.yaml")}
    assert {path.relative_to(packaged) for path in packaged.rglob("*.yaml")} == names


def test_weights_of_teacher_student_and_readers_are_in_it(installed):
    sizes = {path.name: path.stat().st_size for path in (installed / "dld").rglob("*.safetensors")}
    spotters, readers = ("teacher_tiny", "dld_tiny"), ("strip_reader", "strip_reader_low")
    assert sizes.keys() == {f"{name}.safetensors" for name in (*spotters, *readers)}
    assert sum(sizes[f"{name}.safetensors"] for name in spotters) < 20.5e6
    assert sum(sizes[f"{name}.safetensors"] for name in readers) < 12.5e6


def test_spot_evaluate_and_train(dld, tmp_path, make_record):
    record = make_record(("stone", "river"), height=192, width=256, font=1.2)
    cv2.imwrite(str(tmp_path / "drawn.png"), record["image"])
    words = [{"polygon": a["polygon"].tolist(), "text": a["text"], "ignore": False} for a in record["annotations"]]
    image = {"file_name": "drawn.png", "id": "drawn", "width": 256, "height": 192, "words": words}
    own = {"schema": "dld-text/1", "name": "own_words", "images": [image]}
    (tmp_path / "own.json").write_text(json.dumps(own))

    said = dld(
        "spot", "--input", "drawn.png", "--output", "out", "--pretrained", "teacher_tiny", "--opts", "INPUT.MIN_SIZE_TEST", 192
    )
    assert "drawn.png: " in said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    results["images"][0]["image_id"] = "drawn"
    (tmp_path / "results.json").write_text(json.dumps(results))
    said = dld("evaluate", "--gt", "own.json", "--predictions", "results.json", "--protocol", "icdar2015")
    assert "1 images, protocol icdar2015" in said
    register = ["DATASETS.REGISTER", f"[['own_words', '{tmp_path}/own.json', '{tmp_path}']]"]
    dld("train", "--config-file", "configs/teacher_tiny.yaml", *register, *SMALL)
    assert (tmp_path / "trained" / "model_final.pth").is_file()
