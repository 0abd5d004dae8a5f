import argparse
import logging

import pytest

from dld.cli.command import exit_code, run_command
from dld.utils.unfinished import UnfinishedError


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (3, 3), (0.7, 0), ([1], 0), ({"a": 1}, 0)])
def test_an_int_is_the_exit_code_and_a_result_is_none(result, code):
    assert exit_code(lambda: result) == code


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError("a.jpg does not exist"), "error: a.jpg does not exist"),
        (KeyError("no 'x'; known: y"), "error: no 'x'; known: y"),  # without the quotes of a KeyError
        (ValueError("--scale must be above 0"), "error: --scale must be above 0"),
        (ImportError("pip install onnx"), "error: pip install onnx"),
        (ValueError("bad.yaml:\n  line 1\n\n  MODEL: ["), "error: bad.yaml: line 1 MODEL: ["),
    ],
)
def test_a_mistake_is_one_line(capsys, error, line):
    assert exit_code(raising(error)) == 2
    assert capsys.readouterr().err.strip() == line


def test_a_defect_of_ours_is_not_hidden():
    with pytest.raises(TypeError):
        exit_code(raising(TypeError("ours")))


def test_what_could_not_be_finished_is_no_mistake(capsys):
    assert exit_code(raising(UnfinishedError("reader a failed"))) == 1
    assert capsys.readouterr().err == "error: reader a failed\n"


def test_an_interruption_says_that_nothing_is_lost_only_where_it_is_so(capsys):
    assert exit_code(raising(KeyboardInterrupt()), goes_on=True) == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on from here\n"
    assert exit_code(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[])


def command(work, *argv: str, **more) -> int:
    return run_command("dld spot", "Reads.", "\nexample:\n  dld spot", add_arguments, work, argv, **more)


def test_every_verb_introduces_itself_alike(capsys):
    assert command(lambda args: int(args.scale), "--scale", "2") == 2
    with pytest.raises(SystemExit) as stopped:
        command(lambda args: pytest.fail("help was asked for"), "--help")
    told = capsys.readouterr().out
    assert stopped.value.code == 0 and told.startswith("usage: dld spot") and "example:\n  dld spot" in told
    assert logging.getLogger("torch.fx._symbolic_trace").level == logging.ERROR


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: --scale"),
        (["--scale", "half"], "argument --scale: invalid float value: 'half'"),
        (["--scale", "1", "--size", "2"], "unrecognized arguments: --size 2"),
    ],
)
def test_a_wrong_option_is_one_line(argv, message, capsys):
    assert command(lambda args: pytest.fail("the work began"), *argv) == 2
    assert capsys.readouterr().err == f"error: {message} (`dld spot --help` says more)\n"


@pytest.mark.parametrize("argv", [["--debug", "--scale", "1"], ["--scale", "1", "--opts", "KEY", "1", "--debug"]])
def test_debug_shows_where_a_mistake_comes_from(argv, capsys):
    def work(args):
        raise FileNotFoundError(f"no {args.opts}")

    assert command(work, *argv) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "in work" in shown
    assert shown.endswith(f"error: no {argv[3:5] if '--opts' in argv else []}\n")
    assert command(work, *[word for word in argv if word != "--debug"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_logged_has_its_level_where_it_is_serious(monkeypatch, capsys):
    monkeypatch.setattr(logging.root, "handlers", [])
    before = logging.root.level

    def work(args):
        logging.getLogger("some.library").info("half done")
        logging.getLogger("some.library").warning("odd")

    try:
        for progress, shown in ((True, "half done\nWARNING: odd\n"), (False, "WARNING: odd\n")):
            logging.root.handlers = []
            assert command(work, "--scale", "1", progress=progress) == 0
            assert capsys.readouterr().err == shown
    finally:
        logging.root.setLevel(before)
