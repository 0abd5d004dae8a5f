import sys

import pytest
import torch

from dld.benchmark.fresh_process import in_fresh_process
from dld.benchmark.peak_memory import current_bytes, peak_bytes, reset_peak
from dld.benchmark.setting import Setting

MIB = 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be forgotten on Linux only")
def test_what_was_held_for_a_moment_is_seen_and_can_be_forgotten():
    reset_peak()
    before = current_bytes()
    held = torch.ones(64 * MIB, dtype=torch.uint8)
    assert current_bytes() - before > 60 * MIB
    del held
    assert peak_bytes() - before > 60 * MIB and current_bytes() - before < 32 * MIB
    reset_peak()
    assert peak_bytes() - before < 32 * MIB


@pytest.mark.slow
def test_more_words_take_more_work_in_a_process_of_its_own():
    setting = Setting(quick=True, threads=1)
    few, many = (in_fresh_process(setting, {"what": "reading", "side": 64, "words": n}) for n in (0, 5))
    assert 0 < few["gflops"] < many["gflops"] and few["seconds"] > 0
    assert few["peak_bytes"] >= few["before_bytes"] > 100 * MIB
    with pytest.raises(RuntimeError, match="KeyError"):
        in_fresh_process(setting, {"what": "nothing"})
