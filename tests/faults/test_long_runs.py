"""The short forms of soak.py and determinism.py."""

import re
from pathlib import Path

import pytest
import soak
import torch
from determinism import state_hash

from dld.engine.trainer import SpotterTrainer


def trained(cfg, seed):
    cfg.SEED = seed
    torch.manual_seed(seed)
    trainer = SpotterTrainer(cfg)
    trainer.resume_or_load(False)
    trainer.train()
    return state_hash(Path(cfg.OUTPUT_DIR) / "model_final.pth")


def test_a_seed_gives_one_checkpoint(tiny_cfg, small_set):
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    tiny_cfg.SOLVER.MAX_ITER, tiny_cfg.INPUT.ROTATION = 3, 10.0
    first, second, other = (trained(tiny_cfg, seed) for seed in (3, 3, 4))
    assert first == second != other


def test_growth_is_told_from_noise():
    flat = [500.0 + i % 7 for i in range(200)]
    assert abs(soak.relative_growth(flat)) < 0.01
    leak = [500.0 + i for i in range(200)]
    # medians of 520..539 and of 680..699
    assert soak.relative_growth(leak) == pytest.approx(689.5 / 529.5 - 1)
    warm = [100.0] * 10 + [500.0] * 190
    assert soak.relative_growth(warm) == 0


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["inference", "--count", "40", "--longest", "320"], ["bfloat16", "--count", "60"]])
def test_short_soaks_stay_finite(arguments, capsys):
    soak.main(arguments)  # so short a run says nothing about memory
    assert re.search(rf"soak {arguments[0]}: {arguments[2]} \w+, resident.* 0 values not finite", capsys.readouterr().out)
