"""Sets how many threads work on what."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TypeVar

import torch

__all__ = [
    "FEW_WORDS",
    "ThreadsOfProcess",
    "few_words_on_one_thread",
    "in_calling_thread",
    "map_side_by_side",
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
    with _with_threads(1):
        yield


@contextmanager
def _with_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Workers:
    """Threads of this process in each of which torch has a few threads; started when they are first needed, then kept."""

    MOST = 64

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}

    def __call__(self, threads: int) -> ThreadPoolExecutor:
        """Return workers with so many threads each. A forked process has none of its parent's and starts its own."""
        with self._lock:
            key = (os.getpid(), threads)
            if key not in self._pools:
                start = partial(_begin_with, threads, torch.get_num_threads())
                self._pools[key] = ThreadPoolExecutor(self.MOST, thread_name_prefix="dld-worker", initializer=start)
            return self._pools[key]


def _begin_with(threads: int, others: int) -> None:
    """Give this thread so many threads of torch, and threads that begin later `others`: torch gives them what was set last."""
    torch.get_num_threads()  # torch's first look at a thread would undo the next line
    torch.set_num_threads(threads)
    last = threading.Thread(target=torch.set_num_threads, args=(others,))
    last.start()
    last.join()


_workers = _Workers()
_in_calling_thread = ContextVar("in_calling_thread", default=False)


@contextmanager
def in_calling_thread() -> Iterator[None]:
    """Keep :func:`map_side_by_side` in the calling thread inside: for whoever watches what runs there."""
    before = _in_calling_thread.set(True)
    try:
        yield
    finally:
        _in_calling_thread.reset(before)


def map_side_by_side(call: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]:
    """Return `call(item)` of every item in their order, `at_once` of them at a time, among which torch's threads are divided.

    Many small layers one after another gain little from a second thread, two networks side by side gain nearly all of it. The
    calling thread works, too. An item is taken from `items` when somebody has time for it, so few are in memory.

    Args:
        call: may run in any thread; an error ends the work and is raised here.
        items: large ones first, so that nobody waits long for the last.
        at_once: at most as many as torch has threads here work; 1: one item after another.
    """
    threads = torch.get_num_threads()
    at_once = min(at_once, threads)
    if at_once <= 1 or _in_calling_thread.get():
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

    each = threads // at_once
    others: list[Future] = [_workers(each).submit(work) for _ in range(at_once - 1)]
    with _with_threads(each):
        try:
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
