"""What holds for every verb of `dld`, and for one that is added: its help, and how it ends.

A verb is given what it requires, and none of it exists (`given`).
"""

import argparse
import importlib

import pytest

from dld.cli import main as dld
from dld.cli import openmp

# beside what the parser requires: what a verb needs to look for something, instead of asking for more
MORE = {
    "app": ["--weights", "nowhere.pth"],
    "benchmark": ["--weights", "nowhere.pth", "--quick"],
    "check": ["--json", "nowhere.json", "--images", "nowhere/"],
    "evaluate": ["--protocol", "icdar2015"],
    "pack": ["--checkpoint", "nowhere.pth", "--output", "out.safetensors"],
    "prepare": ["--format", "icdar2015", "--root", "nowhere/"],
    "spot": ["--input", "nowhere.jpg"],
    "train": ["--config-file", "nowhere.yaml"],
}

VERBS = pytest.mark.parametrize("verb", dld.VERBS)


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setattr(dld, "wait_briefly", lambda: None)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()


def given(verb: str) -> list[str]:
    """The verb with all that it requires, in a form that it takes and of a thing that is not there."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"dld.cli.{verb}").add_arguments(parser)
    grouped = {id(a): group for group in parser._mutually_exclusive_groups for a in group._group_actions}
    words = [verb, *MORE.get(verb, [])]
    for action in parser._actions:
        group = grouped.get(id(action))
        first_of_required = group is not None and group.required and action is group._group_actions[0]
        needed = (action.required or first_of_required) and action.nargs != argparse.REMAINDER
        if not needed or set(action.option_strings) & set(words):
            continue
        values = {"--output": "out.json" if verb == "label" else "out.safetensors", "--budget": "0.4", "--input": "nowhere.jpg"}
        value = next(iter(action.choices or ()), None) or values.get(next(iter(action.option_strings), ""), "nowhere.pth")
        words += [*action.option_strings[:1], value]
    return words


def one_line(error: str) -> bool:
    return error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error


@VERBS
def test_help(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        dld.main([verb, "--help"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0 and told.startswith(f"usage: dld {verb} ") and "--debug" in told


@VERBS
def test_an_unknown_option(verb, capsys):
    assert dld.main([verb, "--nonsense", *given(verb)[1:]]) == 2
    error = capsys.readouterr().err
    assert one_line(error) and "--nonsense" in error and f"dld {verb} --help" in error


@VERBS
def test_what_is_not_there(verb, capsys):
    assert dld.main(given(verb)) == 2
    error = capsys.readouterr().err
    assert one_line(error) and "nowhere" in error, error


@VERBS
def test_debug(verb, capsys):
    assert dld.main([*given(verb), "--debug"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error and one_line(error[error.rindex("error: ") :])


@VERBS
def test_an_interruption(verb, capsys, monkeypatch):
    def interrupt(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"dld.cli.{verb}"), "run", interrupt)
    assert dld.main(given(verb)) == 130
    assert capsys.readouterr().err.startswith("interrupted")


@VERBS
def test_a_defect_of_ours_is_not_hidden(verb, monkeypatch):
    def fail(*args, **more):
        raise TypeError("ours")

    monkeypatch.setattr(importlib.import_module(f"dld.cli.{verb}"), "run", fail)
    with pytest.raises(TypeError, match="ours"):
        dld.main(given(verb))


WEIGHTS = {"--weights", "--teacher", "--student", "--checkpoint"}


@pytest.mark.parametrize("verb", [verb for verb in dld.VERBS if WEIGHTS & set(given(verb))])
@pytest.mark.parametrize("name", ["dld_tyni", "dld://dld_tyni"])
def test_an_unknown_name_of_weights(verb, name, capsys):
    words = [word if word != "nowhere.pth" else name for word in given(verb)]
    words = [word if word != "nowhere.jpg" else "photos" for word in words]
    assert dld.main(words) == 2
    error = capsys.readouterr().err
    assert one_line(error) and "no shipped weights are called 'dld_tyni'; there are: dld_tiny, " in error, error


def test_waiting_is_settled_before_a_verb_is_imported(monkeypatch):
    """libgomp reads the environment when torch loads it."""
    seen = []
    monkeypatch.setattr(dld, "wait_briefly", lambda: seen.append("wait"))
    monkeypatch.setattr(dld.importlib, "import_module", lambda name: seen.append(name) or openmp)
    with pytest.raises(AttributeError):  # it is no verb
        dld.main(["spot"])
    assert seen == ["wait", "dld.cli.spot"]
