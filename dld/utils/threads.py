"""Sets how many threads work on what."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager

import torch

__all__ = ["FEW_WORDS", "ThreadsOfProcess", "few_words_on_one_thread", "usable_processors"]

logger = logging.getLogger(__name__)

FEW_WORDS = 64


def usable_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def few_words_on_one_thread(words: int, device: torch.device):
    """Let a CPU read up to `FEW_WORDS` words on the calling thread alone, inside this context.

    A recurrence is hundreds of small steps, and waking a thread for each costs more than the step: sixteen words take two
    threads that sleep while waiting (OMP_WAIT_POLICY=passive) 42 ms and one thread 9; two threads that spin take 9. From some
    100 words on, two threads are faster either way. With more words or on other devices, nothing changes.
    """
    threads = torch.get_num_threads()
    if words > FEW_WORDS or device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ThreadsOfProcess:
    """The process in which threads were started; what is forked from it has none of them and would wait for them for ever."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def use_one_after_fork(self) -> None:
        """Let torch, in a process forked since, work on the calling thread alone, and warn of it; else do nothing."""
        if os.getpid() == self._process:
            return
        self._process = os.getpid()
        if torch.get_num_threads() > 1:
            torch.set_num_threads(1)
            logger.warning(
                "threads do not live on in a forked process: it reads on one; start processes with "
                "multiprocessing.get_context('spawn') for more"
            )

    def __reduce__(self):
        return ThreadsOfProcess, ()  # a process that gets a copy starts threads of its own
