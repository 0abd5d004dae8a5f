import os
import subprocess
import sys

import pytest

from dld.cli.openmp import SPINS, wait_briefly


@pytest.fixture
def unset(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_threads_sleep_after_a_moment(unset):
    # set first, so that the fixture puts back what this leaves behind
    unset.setenv("OMP_WAIT_POLICY", "")
    unset.setenv("GOMP_SPINCOUNT", "")
    del os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]
    wait_briefly()
    assert os.environ["OMP_WAIT_POLICY"] == "passive" and os.environ["GOMP_SPINCOUNT"] == SPINS


@pytest.mark.parametrize(
    "name, value, other",
    [("OMP_WAIT_POLICY", "active", "GOMP_SPINCOUNT"), ("GOMP_SPINCOUNT", "7", "OMP_WAIT_POLICY")],
)
def test_what_the_user_set_decides(unset, name, value, other):
    unset.setenv(name, value)
    wait_briefly()
    assert os.environ[name] == value and other not in os.environ


def test_it_comes_before_torch():
    """libgomp reads the environment when torch loads it: later would be too late."""
    code = "import sys, dld.cli.openmp, dld.cli.command; assert 'torch' not in sys.modules, 'torch is loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)
