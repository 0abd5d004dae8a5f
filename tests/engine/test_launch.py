import pytest
import torch

from dld.engine.launch import launch, started_by_torchrun

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def test_one_process_runs_here():
    calls = []
    for count in (0, 1):
        launch(lambda *args: calls.append(args), count, 1, 0, "auto", (1, "two"))
    assert calls == [(1, "two")] * 2


@pytest.mark.parametrize("counts", [(-1, 1, 0), (1, 0, 0), (1, 2, 2), (1, 2, -1)])
def test_counts_that_make_no_sense_are_refused(counts):
    with pytest.raises(ValueError, match="--num-gpus .* --num-machines .* --machine-rank"):
        launch(print, *counts, "auto", ())


def test_more_gpus_than_present_is_a_message(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"--num-gpus 4 asked for, 2 GPU\(s\) present"):
        launch(print, 4, 1, 0, "auto", ())


def test_torchrun_is_known_by_its_variables(monkeypatch):
    assert not started_by_torchrun()
    monkeypatch.setenv("RANK", "0")
    assert not started_by_torchrun(), "a rank alone may be anybody's"
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert started_by_torchrun()
