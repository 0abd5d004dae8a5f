"""`dld spot --engine ray` before anything is read: mistakes in one line, what is loaded, what an earlier run says."""

import sys
from pathlib import Path

import cv2
import pytest

from dld.cli import spot
from dld.cli.load_spotter import load_spotter
from dld.cli.spot_ray import _load_same, _plain, _weights_digest


@pytest.fixture
def run(tiny_weights, tmp_path, make_record, monkeypatch):
    (tmp_path / "in").mkdir()
    for seed in range(3):
        cv2.imwrite(str(tmp_path / "in" / f"{seed}.png"), make_record(seed=seed)["image"])
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> int:
        return spot.main(["--weights", tiny_weights["student"], "--engine", "ray", *arguments])

    return run


@pytest.fixture
def installed():
    pytest.importorskip("ray")
    pytest.importorskip("pyarrow")


@pytest.mark.parametrize("module", ["ray", "pyarrow"])
def test_a_missing_extra_is_named(run, monkeypatch, capsys, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    if module == "pyarrow":
        pytest.importorskip("ray")
    assert run("--input", "in", "--output", "out") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --engine ray needs {module}") and said.endswith('pip install "dld[ray]"\n')
    assert said.count("\n") == 1 and not Path("out").exists()


def test_options_of_the_one_engine_are_refused_by_the_other(run, capsys, tiny_weights):
    for words in (["--workers", "2"], ["--threads", "0"], ["--address", "auto"], ["--part-size", "5"]):
        assert spot.main(["--weights", tiny_weights["student"], "--input", "in", *words]) == 2
        assert f"{words[0]} is an option of --engine ray" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--engine ray needs --input and --output"),
        (("--input", "in"), "--engine ray needs --input and --output"),
        (("--camera", "0", "--output", "out"), "--camera cannot be used with --engine ray"),
        (("--input", "in", "--output", "out", "--output-format", "txt"), "--output-format cannot be used"),
        (("--input", "in", "--output", "out", "--pages"), "--pages cannot be used"),
        (("--input", "in", "--output", "out", "--device", "cuda:1"), "got 'cuda:1'"),
        (("--input", "in", "--output", "out", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("--input", "in", "--output", "out", "--threads", "0"), "--threads must be at least 1, got 0"),
        (("--input", "in", "--output", "out", "--part-size", "-1"), "--part-size must be at least 1, got -1"),
        (("--input", "in", "--output", "out", "--scale", "half"), "got 'half'"),
        (("--input", "gone", "--output", "out"), "input gone is no file"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(run, capsys, arguments, said):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not Path("out").exists()


def test_a_process_with_other_weights_is_named(tiny_weights, tmp_path):
    """As a machine of a cluster where another file lies at the path."""
    args = _plain(load_arguments(tiny_weights["student"]))
    digest = _weights_digest(args)
    assert _load_same(args, digest, "cpu").cfg == load_spotter(load_arguments(tiny_weights["student"])).cfg
    args.weights = tiny_weights["teacher"]
    with pytest.raises(ValueError, match="teacher.pth is another file on a machine of the cluster"):
        _load_same(args, digest, "cpu")


def load_arguments(weights):
    import argparse

    parser = argparse.ArgumentParser()
    spot.add_arguments(parser)
    return parser.parse_args(["--weights", weights, "--device", "cpu"])
