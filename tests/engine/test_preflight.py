"""What a run lacks is said before any process starts, and all of it at once."""

import json

import pytest
import torch

from dld.cli import train
from dld.cli.train import main
from dld.engine import launch
from dld.engine.preflight import check_output
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.recognizer import TextRecognizer

TAUGHT = ("MODEL.DISTILLATION.TEACHER_WEIGHTS", "teacher_tiny")
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")


@pytest.fixture
def launched(monkeypatch):
    """What would have been started."""
    started = []
    monkeypatch.setattr(launch, "launch", lambda *arguments: started.append(arguments))
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    return started


@pytest.fixture
def run(launched, tmp_path, monkeypatch, capsys):
    """Exit code and stderr of `dld train` on generated pictures, into a folder that is not there yet."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))

    def run(*argv, config="teacher_tiny", output=tmp_path / "out" / "run"):
        options = [word for word in argv if word.startswith("--")]
        # a value that belongs to an option stands directly behind it
        keys = [word for word in argv if not word.startswith("--")]
        code = main(["--config-file", f"configs/{config}.yaml", *options, "OUTPUT_DIR", str(output), *keys])
        return code, capsys.readouterr().err

    return run


def test_a_run_that_is_right_starts(run, launched, tmp_path):
    assert run("--num-gpus=2", "MODEL.WEIGHTS", "dld://teacher_tiny") == (0, "")
    assert run("MODEL.DISTILLATION.TEACHER_WEIGHTS", "teacher_tiny", config="dld_tiny") == (0, "")
    assert run("DATASETS.TRAIN", "('synthstrips_train',)", config="reader_ppocr") == (0, "")
    launched.pop()
    assert run("--eval-only", "MODEL.WEIGHTS", "teacher_tiny", config="dld_tiny") == (0, ""), "to score needs no teacher"
    assert [(work, gpus) for work, gpus, *_ in launched] == [(train.work, count) for count in (2, 1, 1)]
    assert not (tmp_path / "out").exists(), "looking writes nothing"


def test_a_locator_may_learn_from_a_reader_of_the_spotters_characters(run, launched):
    """The default characters are those of "ascii"; a locator that learns from sides, or is only asked, meets no reader."""
    latin = ["MODEL.STRIPS.CHARSET", "latin"]
    learns = ["MODEL.STRIPS.LOCATOR.NAME", "stn"]
    assert run(*learns, "MODEL.STRIPS.CHARSET", "ascii", config="locator_ppocr") == (0, "")
    assert run(*latin, config="locator_ppocr") == (0, "")
    assert run("--eval-only", *learns, *latin, config="locator_ppocr") == (0, "")
    assert len(launched) == 3


def test_layers_that_a_spotter_does_not_keep_cannot_be_aggregated(run, launched, monkeypatch):
    argv = [*TAUGHT, "MODEL.DISTILLATION.AGGREGATION.ENABLED", "True"]
    assert run(*argv, config="dld_tiny") == (0, "")
    launched.clear()
    for network in (TextRecognizer, TextSpottingRCNN):
        monkeypatch.delattr(network, "layer_groups")
        code, error = run(*argv, config="dld_tiny")
        assert code == 2 and error.count("\n") == 1 and not launched
        assert f"{network.__name__} keeps no layers to aggregate: MODEL.DISTILLATION.AGGREGATION.ENABLED must be False" in error


@pytest.mark.parametrize(
    ("argv", "config", "message"),
    [
        ([], "nothing", "configuration file configs/nothing.yaml does not exist"),
        (["SOLVER.BASE_RATE", "1"], "teacher_tiny", "SOLVER.BASE_RATE"),
        (["--num-gpus=-2"], "teacher_tiny", "--num-gpus -2"),
        ([], "dld_R50", "MODEL.DISTILLATION.TEACHER_WEIGHTS is empty. Train one with `python projects/DLD/train_net.py"),
        (["MODEL.DISTILLATION.TEACHER_WEIGHTS", "no/t.pth"], "dld_tiny", "TEACHER_WEIGHTS: weights no/t.pth do not exist"),
        (["MODEL.DISTILLATION.TEACHER_WEIGHTS", "dld://large"], "dld_tiny", "are called 'large'; there are: dld_tiny,"),
        (["MODEL.WEIGHTS", "no/w.pth"], "teacher_tiny", "MODEL.WEIGHTS: weights no/w.pth do not exist"),
        (["MODEL.META_ARCHITECTURE", "Spoter"], "teacher_tiny", "MODEL.META_ARCHITECTURE must be one of DistillMetaArch, "),
        (["MODEL.BACKBONE.NAME", "resnet"], "teacher_tiny", "MODEL.BACKBONE.NAME must be one of "),
        (
            ["MODEL.RECOGNITION.NAME", "Reader"],
            "teacher_tiny",
            "one of AnchorRecognizer, StripRecognizer, TextRecognizer, got",
        ),
        (["INPUT.CHARACTERS", "24"], "teacher_anchors_tiny", "MAX_LENGTH, 32, to train an AnchorRecognizer, got 24"),
        ([*TAUGHT, "MODEL.SPOTTER", "Spot"], "dld_tiny", "must be one of Mango, TextPerceptron, TextSpottingRCNN, got 'Spot'"),
        (
            ["TEST.PROTOCOL", "loose"],
            "teacher_tiny",
            "TEST.PROTOCOL must be one of icdar2013, icdar2015, totaltext, ctw1500, mango",
        ),
        (["MODEL.RECOGNITION.MAX_LENGTH", "0"], "teacher_tiny", "MODEL.RECOGNITION.MAX_LENGTH must be at least 1, got 0"),
        (["MODEL.RECOGNITION.WORDS_PER_CHUNK", "0"], "teacher_tiny", "WORDS_PER_CHUNK must be at least 1, got 0"),
        (["MODEL.RECOGNITION.LOSS_WEIGHT", "-1.0"], "teacher_tiny", "LOSS_WEIGHT must be at least 0, got -1.0"),
        ([], "dld_mango_tiny", "train_net.py --config-file configs/mango_tiny.yaml` and pass "),
        (["INPUT.SIDE_POINTS", "0"], "mango_tiny", "INPUT.SIDE_POINTS must be at least 2 to train a Mango, got 0"),
        (["INPUT.CHARACTERS", "0"], "mango_tiny", "INPUT.CHARACTERS must be at least 1 where MODEL.MANGO.CHARACTER_WEIGHT"),
        ([], "dld_text_perceptron_tiny", "train_net.py --config-file configs/text_perceptron_tiny.yaml` and pass "),
        (["INPUT.SIDE_POINTS", "5"], "text_perceptron_tiny", "must be MODEL.TEXT_PERCEPTRON.POINTS, 7, to train it, got 5"),
        ([*TAUGHT, "MODEL.SELECTOR.NAME", "Best"], "dld_tiny", "MODEL.SELECTOR.NAME must be one of BackboneSelector, "),
        ([*TAUGHT, "MODEL.DISTILLATION.TEACHER_CONFIG", "no/t.yaml"], "dld_tiny", "file no/t.yaml does not exist"),
        ([*TAUGHT, "MODEL.DISTILLATION.TEACHER_CONFIG", "no/t.pth"], "dld_tiny", "no/t.pth"),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "PN"], "teacher_tiny", "MODEL.PROPOSAL_GENERATOR.NAME must be one of "),
        (["MODEL.ROI_HEADS.NAME", "Heads"], "teacher_tiny", "MODEL.ROI_HEADS.NAME must be one of "),
        (["INPUT.SIDE_POINTS", "0"], "teacher_strips", "INPUT.SIDE_POINTS must be at least 2 where strips are read, got 0"),
        (
            ["MODEL.STRIPS.LOCATOR.NAME", "polygon"],
            "teacher_tiny",
            "NAME 'polygon' is unknown; there are mask, points, scrn, stn",
        ),
        (
            ["INPUT.SIDE_POINTS", "5"],
            "locator_ppocr",
            "INPUT.SIDE_POINTS must be MODEL.STRIPS.LOCATOR.POINTS, 7, to train it, got 5",
        ),
        (
            ["MODEL.STRIPS.LOCATOR.NAME", "stn", "MODEL.STRIPS.CHARSET", "latin"],
            "locator_ppocr",
            "MODEL.STRIPS.CHARSET must be empty to train a locator by reading, it gives Charset(",
        ),
        (
            ["MODEL.STRIPS.LOCATOR.NAME", "stn", "MODEL.RECOGNITION.CHARSET_FILE", "no.txt"],
            "locator_ppocr",
            "charset file no.txt does not exist",
        ),
        (
            [*TAUGHT, "MODEL.DISTILLATION.AGGREGATION.ENABLED", "True"],
            "dld_ppocr",
            "AGGREGATION.ENABLED needs MODEL.DISTILLATION.ROI_WEIGHT or CONTEXT_WEIGHT above 0",
        ),
        ([*TAUGHT, "MODEL.DISTILLATION.BALANCE", "share"], "dld_tiny", "BALANCE must be empty or gradient_share, got 'share'"),
        (["MODEL.STRIPS.TRAINING.ROWS", "[40]"], "teacher_strips", "STRIPS.TRAINING.ROWS must be of 48, 32, 24, 16, got [40]"),
        ([*TAUGHT, "MODEL.STRIPS.TRAINING.DECODER_WIDTH", "0"], "dld_strips", "DECODER_WIDTH must be positive: distillation"),
        (["MODEL.STRIPS.WEIGHTS", "no/r.safetensors"], "teacher_strips", "MODEL.STRIPS.WEIGHTS"),
        (["MODEL.STRIPS.ENCODER.NAME", "vit"], "teacher_strips", "ppocr, pyramid, stem, got 'vit'"),
        (["MODEL.STRIPS.ENCODER.NAME", "vit"], "reader_ppocr", "ppocr, pyramid, stem, got 'vit'"),
        (["MODEL.STRIPS.ENCODER.WEIGHTS", "no/s.pth"], "reader_stem", "MODEL.STRIPS.ENCODER.WEIGHTS: weights no/s.pth do not"),
        (["--eval-only"], "teacher_tiny", "--eval-only scores trained weights: give MODEL.WEIGHTS FILE, or --resume"),
        (["--eval-only", "--resume"], "teacher_tiny", "run has no last_checkpoint"),
        (["MODEL.RECOGNITION.CHARSET_FILE", "no.txt"], "teacher_tiny", "no.txt"),
        (["DATASETS.TRAIN", "('icdar2051_train',)"], "teacher_tiny", "unknown data set 'icdar2051_train'; registered"),
        (["DATASETS.TEST", "('icdar2015_val',)"], "teacher_tiny", "icdar2015_val is not prepared"),
        (["DATASETS.TRAIN", "()"], "teacher_tiny", "DATASETS.TRAIN is empty"),
        (
            ["DATASETS.TRAIN", "('synthwords_train', 'synthstrips_train')"],
            "teacher_tiny",
            "DATASETS.TRAIN: synthstrips_train holds strips of single words, not pictures",
        ),
        (
            ["--eval-only", "MODEL.WEIGHTS", "teacher_tiny", "DATASETS.TEST", "('synthstrips_val',)"],
            "teacher_tiny",
            "DATASETS.TEST: synthstrips_val holds strips of single words, not pictures",
        ),
        (["DATASETS.TRAIN_WEIGHTS", "[1, 2]"], "teacher_tiny", "DATASETS.TRAIN_WEIGHTS has 2 numbers for the 1 sets"),
        (["--num-gpus=3", "SOLVER.IMS_PER_BATCH", "4"], "teacher_tiny", "must be a multiple of the 3 processes"),
        (
            ["MODEL.RECOGNITION.READER", "StripRecognizer", "MODEL.STRIPS.WEIGHTS", "dld://strips"],
            "teacher_tiny",
            "MODEL.STRIPS.WEIGHTS: no shipped weights are called 'strips'; there are: dld_tiny",
        ),
        (
            ["MODEL.RECOGNITION.READER", "StripRecognizer", "MODEL.STRIPS.HEAD", "attention"],
            "teacher_tiny",
            "MODEL.STRIPS.HEAD attention: MODEL.STRIPS.WEIGHTS hold no attention decoder, only ctc can read",
        ),
        (
            ["MODEL.RECOGNITION.READER", "StripRecognizer", "MODEL.STRIPS.HEAD", "both"],
            "teacher_tiny",
            "MODEL.STRIPS.HEAD must be one of ctc, attention, joint, got 'both'",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_starts(run, launched, argv, config, message):
    code, error = run(*argv, config=config)
    assert code == 2 and not launched
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.yaml", b"[1, 2]", "list.yaml: it does not hold keys and their values"),
        ("open.yaml", b"MODEL: [1", "open.yaml: "),
        ("key.yaml", b"MODEL: {BACKBON: {}}", "key.yaml: "),
        ("latin.yaml", b"MODEL: \xff\xfe", "latin.yaml: "),
        ("junk.safetensors", b"junk", "junk.safetensors"),
    ],
)
def test_a_configuration_of_the_teacher_that_cannot_be_read(run, launched, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    code, said = run(*TAUGHT, "MODEL.DISTILLATION.TEACHER_CONFIG", str(tmp_path / name), config="dld_tiny")
    assert code == 2 and not launched
    assert said.startswith("error: MODEL.DISTILLATION.TEACHER_CONFIG: ") and message in said and said.count("\n") == 1


def test_unknown_weights_of_a_reader_are_answered_with_the_readers(run):
    argv = ["MODEL.RECOGNITION.READER", "StripRecognizer", "MODEL.STRIPS.WEIGHTS", "strips"]
    assert "readers of strips: strip_reader" in run(*argv)[1]
    assert "strip_reader" not in run("MODEL.WEIGHTS", "strips")[1]


def test_more_gpus_than_present(run, launched, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    code, error = run("--num-gpus=4")
    assert code == 2 and not launched and "--num-gpus 4 asked for, 2 GPU(s) present" in error


def test_torchrun_is_counted_by_its_own_variables(run, launched, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "6", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    assert "multiple of the 6 processes" in run("SOLVER.IMS_PER_BATCH", "8")[1]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "torchrun started 3 processes here, 2 GPU(s) present" in run("SOLVER.IMS_PER_BATCH", "12")[1]
    assert not launched


def test_everything_that_is_missing_is_named_at_once(run, launched, tmp_path):
    (tmp_path / "file").touch()
    code, error = run(
        "--num-gpus=-1",
        "MODEL.WEIGHTS",
        "no/w.pth",
        "DATASETS.TRAIN",
        "('icdar2015_train', 'totaltext_train')",
        "DATASETS.TEST",
        "('nowhere',)",
        config="dld_R50",
        output=tmp_path / "file" / "run",
    )
    assert code == 2 and not launched and error.count("\n") == 1
    assert error.startswith("error: 6 things are missing or wrong: (1) --num-gpus -1")
    sets = "data sets icdar2015_train, totaltext_train are not prepared"
    others = ("no/w.pth", "TEACHER_WEIGHTS is empty", sets, "'nowhere'", "/file")
    assert [what for what in others if what not in error] == []


def test_files_of_ones_own_data_set(run, launched, tmp_path):
    register = ["DATASETS.REGISTER", f"[['signs_of_mine', '{tmp_path}/signs.json', '{tmp_path}/photos']]"]
    register += ["DATASETS.TEST", "('signs_of_mine',)"]
    assert f"data set signs_of_mine: {tmp_path}/signs.json does not exist" in run(*register)[1]
    (tmp_path / "signs.json").write_text(json.dumps({"schema": "dld-text/1", "images": []}))
    assert f"data set signs_of_mine: {tmp_path}/photos does not exist" in run(*register)[1]
    (tmp_path / "photos").mkdir()
    assert run(*register) == (0, "") and len(launched) == 1


def test_a_run_that_goes_on_needs_no_weights_to_start_from(run, launched, tmp_path):
    (tmp_path / "out" / "run").mkdir(parents=True)
    (tmp_path / "out" / "run" / "last_checkpoint").write_text("model_0000001.pth")
    assert run("--resume", "MODEL.WEIGHTS", "no/w.pth") == (0, "")
    assert run("--resume", "--eval-only") == (0, "")
    assert run("MODEL.WEIGHTS", "no/w.pth")[0] == 2


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    check_output(str(tmp_path / "a" / "b"))
    check_output(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="OUTPUT_DIR .*file/run: .*file is no folder"):
        check_output(str(tmp_path / "file" / "run"))
    # a test that runs as root may write anywhere
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=f"{tmp_path} cannot be written to"):
        check_output(str(tmp_path / "a"))
