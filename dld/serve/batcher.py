"""Pictures of different requests, read together by one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Batcher", "ReadTogether"]

logger = logging.getLogger(__name__)

# (pictures, the options that they share) -> their results
ReadTogether = Callable[[Sequence[Any], Any], Sequence[Any]]


@dataclass(eq=False)
class _Job:
    picture: Any
    options: Hashable
    started: Callable[[], None]
    future: Future = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """A thread that loads the network, then reads what waits: the oldest picture, with others that have its options.

    A picture waits for others until a batch is full or its time is over. What was cancelled meanwhile is not read. If a batch
    fails, its pictures are read one by one, so that only those fail that cannot be read.

    Args:
        load: makes the function that reads; called once, in the thread.
        size: pictures in a batch.
        wait: seconds that a picture waits for others.
        ready: called in the thread when pictures can be read, or could not be: with the error.
        done: called in the thread after each batch, with its number of pictures and seconds.
    """

    def __init__(
        self,
        load: Callable[[], ReadTogether],
        size: int,
        wait: float,
        ready: Callable[[BaseException | None], None] = lambda error: None,
        done: Callable[[int, float], None] = lambda count, seconds: None,
    ) -> None:
        self.size, self.wait = size, wait
        self.is_ready = False
        self._load, self._ready, self._done = load, ready, done
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="dld-network", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def submit(self, picture: Any, options: Hashable, started: Callable[[], None] = lambda: None) -> Future:
        """Return the future result of a picture.

        Args:
            started: called in the thread when the picture is about to be read.

        Raises:
            RuntimeError: the batcher is closed.
        """
        job = _Job(picture, options, started)
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    @property
    def waiting(self) -> int:
        """How many pictures wait to be read."""
        return len(self._jobs)

    def close(self, seconds: float | None = None) -> None:
        """Read what waits, then end the thread; wait for that, at most so many seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _work(self) -> None:
        try:
            read = self._load()
        except BaseException as error:
            self._ready(error)
            return
        self.is_ready = True
        self._ready(None)
        while (jobs := self._next_jobs()) is not None:
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if jobs:
                for job in jobs:
                    job.started()
                start = time.monotonic()
                _read_jobs(read, jobs)
                self._done(len(jobs), time.monotonic() - start)
            del jobs  # let the pictures go before the next ones are waited for

    def _next_jobs(self) -> list[_Job] | None:
        """Take the next batch off the queue; None at the end."""
        with self._changed:
            while True:
                self._jobs = deque(job for job in self._jobs if not job.future.cancelled())
                if not self._jobs:
                    if self._closing:
                        return None
                    self._changed.wait()
                    continue
                first = self._jobs[0]
                jobs = [job for job in self._jobs if job.options == first.options][: self.size]
                left = first.arrived + self.wait - time.monotonic()
                if len(jobs) == self.size or left <= 0 or self._closing:
                    taken = set(map(id, jobs))
                    self._jobs = deque(job for job in self._jobs if id(job) not in taken)
                    return jobs
                self._changed.wait(left)


def _read_jobs(read: ReadTogether, jobs: Sequence[_Job]) -> None:
    """Read a batch and tell each job what became of it."""
    try:
        results = read([job.picture for job in jobs], jobs[0].options)
    except Exception as error:
        if len(jobs) > 1:
            logger.warning("a batch of %d pictures failed (%s); they are read one by one", len(jobs), type(error).__name__)
            for job in jobs:
                _read_jobs(read, [job])
        else:
            jobs[0].future.set_exception(error)
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)
