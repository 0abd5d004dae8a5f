"""A full disk and a folder that is gone: a clear message, and the last checkpoint as it was."""

import errno
import os
import re
import shutil
import subprocess

import pytest
import torch
from tiny_run import run, train_command

from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.trainer import SpotterTrainer


@pytest.fixture
def trainer(tiny_cfg, small_set):
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    tiny_cfg.SOLVER.CHECKPOINT_PERIOD, tiny_cfg.SOLVER.MAX_ITER = 2, 6
    trainer = SpotterTrainer(tiny_cfg)
    trainer.resume_or_load(False)
    return trainer


def test_a_disk_that_is_full_at_the_second_checkpoint(trainer, monkeypatch):
    save, calls = torch.save, []

    def full(data, f):
        calls.append(f)
        if len(calls) == 1:
            return save(data, f)
        f.write(b"\0" * 5000)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    message = r"stopped in iteration 3: .*No space left on device.*model_0000001.pth; --resume"
    with pytest.raises(OSError, match=message) as caught:
        trainer.train()
    assert "model_0000003.pth" in str(caught.value), "what could not be written"
    files = [name for name in os.listdir(trainer.cfg.OUTPUT_DIR) if ".pth" in name]
    assert files == ["model_0000001.pth"]
    monkeypatch.undo()
    again = SpotterTrainer(trainer.cfg)
    again.resume_or_load(True)
    assert again.start_iter == 2
    again.train()
    assert os.path.exists(os.path.join(trainer.cfg.OUTPUT_DIR, "model_final.pth"))


def test_an_output_folder_that_vanishes(trainer):
    step = trainer.run_step

    def vanish():
        if trainer.iter == 3:
            shutil.rmtree(trainer.cfg.OUTPUT_DIR)
        step()

    trainer.run_step = vanish
    with pytest.raises(OSError, match=r"stopped in iteration 3: could not write .*model_0000003.pth: .*No such file.*none yet"):
        trainer.train()


def test_after_an_error_nothing_is_evaluated(trainer, monkeypatch):
    trainer.cfg.DATASETS.TEST = trainer.cfg.DATASETS.TRAIN
    again = SpotterTrainer(trainer.cfg)
    again.resume_or_load(False)
    monkeypatch.setattr(SpotterTrainer, "test", lambda *_: pytest.fail("another process may be gone: this would wait for it"))

    def fail():
        raise KeyError("the cause")

    again.run_step, again.max_iter = fail, 1  # in the last iteration detectron2 would evaluate although it broke off
    with pytest.raises(KeyError, match="the cause"):
        again.train()


def test_the_newest_checkpoints_are_kept_across_a_restart(trainer):
    trainer.cfg.SOLVER.CHECKPOINT_PERIOD, trainer.cfg.SOLVER.MAX_ITER = 1, 3
    for stop in (3, 6):
        trainer.cfg.SOLVER.MAX_ITER = stop
        again = SpotterTrainer(trainer.cfg)
        again.resume_or_load(True)
        again.train()
    kept = sorted(name for name in os.listdir(trainer.cfg.OUTPUT_DIR) if re.fullmatch(r"model_\d+\.pth", name))
    assert kept == ["model_0000003.pth", "model_0000004.pth", "model_0000005.pth"]


@pytest.mark.slow
def test_a_file_system_that_is_really_full(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    size = run(train_command(tmp_path / "measured", "SOLVER.MAX_ITER", 1))
    assert size.returncode == 0, size.stdout
    checkpoint = (tmp_path / "measured" / "model_final.pth").stat().st_size
    room = int(1.7 * checkpoint) + 500_000  # the logs take some, too
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "none", str(small)]).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        done = run(train_command(small / "output", "SOLVER.MAX_ITER", 20, "SOLVER.CHECKPOINT_PERIOD", 1))
        assert done.returncode != 0
        last = done.stdout.strip().splitlines()[-1]
        assert "training stopped in iteration" in last and "No space left on device" in last and "--resume" in last, last
        checkpointer = SpotterCheckpointer(torch.nn.Linear(1, 1), str(small / "output"))
        stored = torch.load(checkpointer.get_checkpoint_file(), weights_only=True)
        assert stored["iteration"] >= 0 and not list((small / "output").glob("*.tmp"))
    finally:
        subprocess.run(["umount", str(small)])
