"""A user whom nobody named, as in `docker run --user 12345`: everything runs as for everybody else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dld.data.samples import sample_files
from dld.utils.user_name import name_the_user

ROOT = Path(__file__).resolve().parents[2]

# The user number is in no list of users: what the system says then, whoever runs the tests.
NAMELESS = """
import pwd, sys
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
"""


def run_nameless(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run python without a user name and a home folder."""
    without = ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR")
    environment = {key: value for key, value in os.environ.items() if key not in without} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NAMELESS + code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_a_user_without_name_and_home_reads_trains_and_loads_graphs(tmp_path):
    tmp_path.chmod(0o555)
    code = """
from dld.cli import main
assert main.main(["spot", "--input", sys.argv[1], "--pretrained", "dld_tiny", "--opts", "INPUT.MIN_SIZE_TEST", "320"]) == 0
assert main.main(["train", "--config-file", "configs/no_such.yaml"]) == 2
from dld import TextSpotter
TextSpotter.from_onnx("no_such_folder")
"""
    done = run_nameless(code, tmp_path, str(next(p for p in sample_files() if p.stem == "slow_down")))
    assert {"Down", "Slow"} <= set(done.stdout.split(": ")[-1].split()), done.stderr
    assert "configs/no_such.yaml" in done.stderr and "getpwuid" not in done.stderr
    # the folder is missing, nothing else: torch and detectron2 were imported on the way
    assert done.stderr.splitlines()[-1].startswith("FileNotFoundError: folder no_such_folder does not exist")
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_torchvision_cannot_be_imported(tmp_path):
    """What the name is for; when this fails, torch no longer needs it."""
    assert "uid not found" in run_nameless("import torchvision", tmp_path).stderr


@pytest.mark.parametrize("error", [KeyError, OSError])  # up to Python 3.12, and from 3.13 on
def test_only_who_has_no_name_gets_one(monkeypatch, error):
    def unknown():
        raise error("uid not found")

    monkeypatch.setenv("LOGNAME", "somebody")
    name_the_user()
    assert os.environ["LOGNAME"] == "somebody"
    monkeypatch.setattr("getpass.getuser", unknown)
    name_the_user()
    assert os.environ["LOGNAME"] == f"uid{os.getuid()}"
