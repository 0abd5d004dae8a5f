"""Every command of the documents runs as it is written, with the smallest changes that keep its meaning (documented_runs)."""

import importlib.util
import shutil

import pytest
import torch
from checkout import ROOT, make_checkout, make_stand_ins
from detectron2.data import DatasetCatalog, MetadataCatalog
from documented_runs import NOT_RUN, RUNS
from markdown_commands import Command, commands_of
from run_settings import Run
from running import change_command, going_on, in_own_process, record, start

PROJECT_DOCUMENTS = (
    "study",
    "training",
    "speed",
    "export",
    "robustness",
    "deployment",
    "departures",
    "install",
    "scores",
    "pages",
    "quickstart",
    "api",
)
FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "datasets/README.md",
    "projects/DLD/README.md",
    *(f"projects/DLD/docs/{name}.md" for name in PROJECT_DOCUMENTS),
)
DOCUMENTED = [command for name in FILES for command in commands_of(ROOT / name, name)]
FIRST: dict[str, Command] = {}  # what is documented twice is run once
for documented in DOCUMENTED:
    FIRST.setdefault(documented.text, documented)


def test_every_documented_command_has_an_entry():
    missing = [f"{c.file}:{c.line}: {c.text}" for c in DOCUMENTED if c.text not in RUNS and c.text not in NOT_RUN]
    assert not missing, "say in tests/docs/documented_runs.py how these are run:\n" + "\n".join(missing)


def test_every_entry_is_documented():
    gone = [text for text in (*RUNS, *NOT_RUN) if text not in FIRST]
    assert not gone, "no document has these any more, remove them from tests/docs/documented_runs.py:\n" + "\n".join(gone)


def test_only_installing_and_shipping_are_not_run():
    assert not set(RUNS) & set(NOT_RUN)
    assert {text for text in NOT_RUN if "pack_weights.py" not in text} == {
        'pip install "dld[export]"',
        'pip install "dld[heic]"',
        'pip install "dld[pdf]"',
        'pip install "dld[ray]"',
        "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'",
        "pip install -e .",
        'pip install -e ".[app]"',
        'pip install -e ".[readers]"',
        'pip install -e ".[serve]"',
        "apt install tesseract-ocr",
        "pip install setuptools wheel ninja",
        "pip install torch torchvision",
        "pip uninstall -y opencv-python-headless && pip install --force-reinstall --no-deps opencv-python",
    }


def test_every_change_fits_and_every_run_is_judged():
    for text, run in RUNS.items():
        change_command(text, run)
        # the scripts of the long forms judge themselves by their exit code
        assert run.leaves or run.says or run.stop_at or text.startswith("python tests/faults/") or text.startswith("from dld")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand_ins")
    make_stand_ins(folder)
    return folder


@pytest.fixture
def checkout(stand_ins, tmp_path, monkeypatch):
    """The working folder of one command; what it registers and how many threads it takes is undone afterwards."""
    folder, known, threads = tmp_path / "checkout", set(DatasetCatalog.list()), torch.get_num_threads()
    make_checkout(stand_ins, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder / "data"))
    yield folder
    torch.set_num_threads(threads)
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def run_here(text: str, folder, monkeypatch) -> None:
    started, stdin = record(text, folder)
    assert started, f"nothing was started by: {text}"
    for argv in started:
        assert start(argv, stdin, monkeypatch) == 0, f"{argv} ended with an error"


def parameters() -> list:
    found = []
    for text, command in FIRST.items():
        if text in RUNS:
            name = f"{command.file}:{command.line}"
            found.append(pytest.param(command, RUNS[text], id=name, marks=[pytest.mark.slow] if RUNS[text].slow else []))
    return found


@pytest.mark.parametrize(("command", "run"), parameters())
def test_command(command: Command, run: Run, checkout, monkeypatch, capfd):
    if command.text.startswith("curl ") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if run.needs and importlib.util.find_spec(run.needs) is None:
        pytest.skip(f"{run.needs} is not installed")
    for name in run.without:
        path = checkout / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if run.first:
        run_here(run.first, checkout, monkeypatch)
        capfd.readouterr()
    text = change_command(command.text, run)
    with going_on(run, checkout):
        if command.language == "python":
            exec(compile(text, f"{command.file}:{command.line}", "exec"), {"__name__": "documented"})
            output = "".join(capfd.readouterr())
        elif run.own_process:
            output = in_own_process(text, run, checkout)
        else:
            run_here(text, checkout, monkeypatch)
            output = "".join(capfd.readouterr())
    assert run.says in output
    for name in run.leaves:
        assert (checkout / name).exists(), f"{name} was not written"
