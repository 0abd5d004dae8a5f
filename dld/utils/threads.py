"""Sets how many threads work on what."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

__all__ = [
    "FEW_WORDS",
    "ThreadsOfProcess",
    "few_words_on_one_thread",
    "in_calling_thread",
    "map_on_single_threads",
    "usable_processors",
]

T = TypeVar("T")
R = TypeVar("R")

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
    if words > FEW_WORDS or device.type != "cpu":
        yield
        return
    with _on_one_thread():
        yield


@contextmanager
def _on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _SingleThreads:
    """Threads of this process in each of which torch works alone; started when they are first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}

    def __call__(self, count: int) -> ThreadPoolExecutor:
        """Return so many of them. A forked process has none of its parent's and starts its own."""
        with self._lock:
            key = (os.getpid(), count)
            if key not in self._pools:
                threads = torch.get_num_threads()
                ready = threading.Barrier(count + 1)

                def start() -> None:
                    torch.set_num_threads(1)
                    ready.wait()

                pool = ThreadPoolExecutor(count, thread_name_prefix="dld-reading", initializer=start)
                for _ in range(count):
                    pool.submit(int)
                ready.wait()
                # what torch gives to threads that begin later is what was set last, in whichever thread
                torch.set_num_threads(threads)
                self._pools[key] = pool
            return self._pools[key]


_single_threads = _SingleThreads()
_in_calling_thread = ContextVar("in_calling_thread", default=False)


@contextmanager
def in_calling_thread() -> Iterator[None]:
    """Keep :func:`map_on_single_threads` in the calling thread inside: for whoever watches what runs there."""
    before = _in_calling_thread.set(True)
    try:
        yield
    finally:
        _in_calling_thread.reset(before)


def map_on_single_threads(call: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """Return `call(item)` of every item in their order, some at once, each on one thread of torch.

    Many small layers one after another gain little from a second thread, two networks side by side gain nearly all of it. The
    calling thread works, too. An item is taken from `items` when somebody has time for it, so few are in memory.

    Args:
        call: may run in any thread; an error ends the work and is raised here.
        items: large ones first, so that nobody waits long for the last.
        threads: how many work, the calling one included; 1: one item after another, each on all of torch's.
    """
    if threads <= 1 or _in_calling_thread.get():
        return [call(item) for item in items]
    lock, found, waiting = threading.Lock(), {}, enumerate(items)
    ended = False

    def work() -> None:
        nonlocal ended
        try:
            while True:
                with lock:
                    if ended or (item := next(waiting, None)) is None:
                        return
                found[item[0]] = call(item[1])
        except BaseException:
            ended = True
            raise

    others: list[Future] = [_single_threads(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        with _on_one_thread():
            work()
    finally:
        # what did not begin has nothing left to do
        begun = [other for other in others if not other.cancel()]
        errors = [other.exception() for other in begun]
    for error in filter(None, errors):
        raise error
    return [found[i] for i in range(len(found))]


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
