import argparse
import logging

import pytest

from dld.cli.command import exit_code, parse_arguments


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
    ],
)
def test_a_mistake_is_one_line(capsys, error, line):
    assert exit_code(raising(error)) == 2
    assert capsys.readouterr().err.strip() == line


def test_a_defect_of_ours_is_not_hidden():
    with pytest.raises(TypeError):
        exit_code(raising(TypeError("ours")))


def test_an_interruption_says_that_nothing_is_lost_only_where_it_is_so(capsys):
    assert exit_code(raising(KeyboardInterrupt()), goes_on=True) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        exit_code(raising(KeyboardInterrupt()))


def test_every_verb_introduces_itself_alike(capsys):
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--scale", type=float)

    assert parse_arguments("spot", "Reads.", "\nexample:\n  dld spot", add_arguments, ["--scale", "2"]).scale == 2
    with pytest.raises(SystemExit) as stopped:
        parse_arguments("spot", "Reads.", "\nexample:\n  dld spot", add_arguments, ["--help"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0 and told.startswith("usage: dld spot") and "example:\n  dld spot" in told
    assert logging.getLogger("torch.fx._symbolic_trace").level == logging.ERROR
