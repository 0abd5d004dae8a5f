"""The command `dld`: it offers the verbs and hands them their arguments."""

import sys
import types

import pytest

import dld
from dld.cli import main as command


@pytest.fixture
def verb(monkeypatch):
    """A verb "spot" that records its arguments and returns `verb.code`."""
    module = types.ModuleType("dld.cli.spot")
    module.code, module.seen = None, None

    def run(arguments):
        module.seen = arguments
        return module.code

    module.main = run
    monkeypatch.setitem(sys.modules, "dld.cli.spot", module)
    return module


def test_help_lists_the_verbs_with_one_line_each(capsys):
    assert command.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, text in command.VERBS.items():
        assert any(line.split() == [name, *text.split()] for line in lines)


def test_without_a_verb_the_help_is_shown_and_the_exit_code_says_so(capsys):
    assert command.main([]) == 2 and "usage: dld VERB" in capsys.readouterr().out


def test_an_unknown_verb_is_named(capsys):
    assert command.main(["fly", "--input", "x"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no verb 'fly'; there are spot, train, " in error


def test_the_version(capsys):
    assert command.main(["--version"]) == 0 and capsys.readouterr().out == f"dld {dld.__version__}\n"


@pytest.mark.parametrize("code, expected", [(None, 0), (0, 0), (3, 3)])
def test_a_verb_gets_the_rest_and_gives_the_exit_code(verb, code, expected):
    verb.code = code
    assert command.main(["spot", "--input", "a.png"]) == expected
    assert verb.seen == ["--input", "a.png"]


def test_unknown_names_of_the_package_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        dld.Nothing  # noqa: B018 - the access is the test
