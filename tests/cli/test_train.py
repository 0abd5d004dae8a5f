"""`train_net.py` as a user meets it: messages for mistakes, and whole runs in one and in two processes."""

import json
import os
import subprocess
import sys

import cv2
import pytest
import torch

from dld.cli.train import main


@pytest.fixture
def data(tmp_path, make_record):
    """Four pictures on disk in our layout, a small model's configuration, and the arguments that use both."""
    images = []
    for i, words in enumerate([("stone", "river"), ("Blue", "42"), ("exit", "Cafe"), ()]):
        record = make_record(words, seed=i)
        cv2.imwrite(str(tmp_path / f"{i}.png"), record["image"])
        images.append(
            {
                "file_name": f"{i}.png",
                "id": str(i),
                "width": record["width"],
                "height": record["height"],
                "words": [
                    {"polygon": a["polygon"].tolist(), "text": a["text"], "ignore": False} for a in record["annotations"]
                ],
            }
        )
    content = {"schema": "dld-text/1", "name": "own", "images": images}
    (tmp_path / "own.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def arguments(tiny_cfg, data):
    tiny_cfg.MODEL.DEVICE = "cpu"
    name = f"own_{data.name}"
    tiny_cfg.DATASETS.REGISTER = [[name, str(data / "own.json"), str(data)]]
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = (name,), (name,)
    (data / "tiny.yaml").write_text(tiny_cfg.dump())
    return ["--config-file", str(data / "tiny.yaml")]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config-file", "configs/none.yaml"], "configs/none.yaml does not exist"),
        (["--config-file", "configs/teacher_tiny.yaml", "SOLVER.BASE_RATE", "1"], "SOLVER.BASE_RATE"),
        (["--config-file", "configs/teacher_tiny.yaml", "SOLVER.BASE_LR"], "odd number of words"),
        (["--num-gpus", "-2"], "--num-gpus -2"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(capsys, argv, message):
    assert main(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["DATASETS.TRAIN", "('icdar2051_train',)"], "'icdar2051_train'; registered text data sets: "),
        (["DATASETS.TRAIN", "('icdar2015_train',)"], "icdar2015_train is not prepared"),
        (["MODEL.WEIGHTS", "nowhere.pth"], "nowhere.pth"),
        (["MODEL.RECOGNITION.CHARSET_FILE", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_mistakes_found_later_end_the_same_way(capsys, monkeypatch, tmp_path, arguments, override, message):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "no_data"))
    assert main([*arguments, *override]) == 2
    assert message in capsys.readouterr().err


def test_a_json_of_the_wrong_shape_is_named(capsys, data, arguments):
    (data / "own.json").write_text('{"schema": "dld-text/1", "images": [{"file_name": 3}]}')
    assert main(arguments) == 2
    assert "own.json" in capsys.readouterr().err


def test_pictures_that_are_gone_are_named(capsys, data, arguments):
    for i in range(4):
        (data / f"{i}.png").unlink()
    assert main([*arguments, "DATASETS.TEST", "()"]) == 2
    error = capsys.readouterr().err
    assert "10 training images in a row" in error and ".png" in error


def test_train_resume_and_evaluate(data, arguments, capsys):
    output = data / "output"
    assert main(arguments) == 0
    assert {"config.yaml", "log.txt", "model_final.pth", "last_checkpoint"} <= set(os.listdir(output))
    assert main(["--resume", *arguments, "SOLVER.MAX_ITER", "3"]) == 0
    assert torch.load(output / "model_final.pth", weights_only=True)["iteration"] == 2
    assert "resuming after iteration 2" in (output / "log.txt").read_text()
    assert main(["--eval-only", *arguments, "MODEL.WEIGHTS", str(output / "model_final.pth")]) == 0
    assert list(output.glob("*_results.json")) and list(output.glob("*_scores.json"))


def test_a_checkpoint_of_another_charset_is_refused(data, arguments, capsys):
    assert main([*arguments, "SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"]) == 0
    (data / "letters.txt").write_text("abcdefghijklmnopqrstuvwxyz")
    weights = str(data / "output" / "model_final.pth")
    other = ["--eval-only", *arguments, "MODEL.WEIGHTS", weights, "MODEL.RECOGNITION.CHARSET_FILE", str(data / "letters.txt")]
    assert main(other) == 2
    error = capsys.readouterr().err
    assert weights in error and "95 characters" in error and "26 characters" in error


def run(command, cwd):
    root = os.getcwd()
    environment = dict(os.environ, PYTHONPATH=root, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    command = [part.replace("train_net.py", os.path.join(root, "projects/DLD/train_net.py")) for part in command]
    return subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["train_net", "torchrun"])
@pytest.mark.parametrize("only", [False, True], ids=["all", "recognition only"])
def test_two_processes_train_and_score_together(data, arguments, start, only):
    if start == "train_net":
        command = ["train_net.py", "--num-gpus", "2", "--dist-url", "auto"]
    else:
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train_net.py"]
    done = run([*command, *arguments, "MODEL.RECOGNITION.ONLY", str(only), "SOLVER.MAX_ITER", "3"], data)
    assert done.returncode == 0, done.stderr[-3000:]
    output = data / "output"
    assert torch.load(output / "model_final.pth", weights_only=True)["iteration"] == 2
    results = json.loads(next(output.glob("*_results.json")).read_text())
    assert sorted(image["image_id"] for image in results["images"]) == ["0", "1", "2", "3"]
    assert (output / "log.txt.rank1").exists()
    # each line of the log once: the second process has a file of its own
    assert (output / "log.txt").read_text().count("MODEL.WEIGHTS is empty") == 1


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(data, arguments):
    """One process with two images, two with one each: gradients are averaged and the images are the same."""
    content = json.loads((data / "own.json").read_text())
    for image in content["images"]:
        # one word of five letters each: then the mean over a batch is the mean of its images' means
        image["words"] = [{"polygon": [[5, 5], [60, 5], [60, 30], [5, 30]], "text": f"word{image['id']}"}]
    (data / "own.json").write_text(json.dumps(content))
    plain = ["DATASETS.TEST", "()", "SOLVER.MAX_ITER", "1", "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", "10.0",
             "MODEL.RECOGNITION.ONLY", "True", "MODEL.TINY_RESNET.NORM", "FrozenBN", "MODEL.FPN.NORM", "FrozenBN",
             "MODEL.RECOGNITION.NORM", "FrozenBN"]  # fmt: skip
    weights = []
    for count in (1, 2):
        output = data / f"out{count}"
        command = ["train_net.py", "--num-gpus", str(count), "--dist-url", "auto", *arguments, *plain]
        done = run([*command, "OUTPUT_DIR", str(output)], data)
        assert done.returncode == 0, done.stderr[-3000:]
        weights.append(torch.load(output / "model_final.pth", weights_only=True)["model"])
    one, two = weights
    # initial values lie within 1 / sqrt(16): the step at this rate is far larger than the tolerance
    assert one["roi_heads.recognizer.decoder.output.bias"].abs().max() > 0.5
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4, msg=name)
