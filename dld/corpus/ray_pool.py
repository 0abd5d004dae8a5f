"""A pool of processes on the machines of a ray cluster, each with a spotter; ray's own processes are started where none run.

Actors of ray, not Ray Data: what must be done again when a process ends is decided here, part by part.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dld.corpus.addresses import check_installed
from dld.corpus.part_reader import PartReader, PartReport
from dld.utils.unfinished import UnfinishedError

__all__ = ["RayPool", "connected"]

logger = logging.getLogger(__name__)

# how often a part is begun: twice for each of its pictures that ends a process, and some for machines that go away
_MOST_TRIES = 8
# bytes: nothing large is handed over
_OBJECT_STORE = 100_000_000
_WAIT_SECONDS = 60.0
_ANSWER_SECONDS = 10.0


@contextmanager
def connected(address: str, processors: int) -> Iterator[dict[str, float]]:
    """Connect to a cluster, or start ray on this machine, for the length of the context; gives what there is ("CPU", "GPU").

    Args:
        address: of a cluster: "auto", "host:port" or "ray://host:port"; empty: this machine alone.
        processors: how many CPUs ray shall take this machine to have, where it is started.

    Raises:
        ImportError: ray is not installed; names the extra.
        ValueError: there is no cluster at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    check_installed("ray")
    import ray

    _check_answers(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            ray.init(address, **quiet)
        else:
            own: dict[str, Any] = {"num_cpus": processors, "object_store_memory": _OBJECT_STORE, "include_dashboard": False}
            ray.init("local", **own, **quiet)
    except Exception as error:  # ray raises errors of many kinds, bare ones too
        ray.shutdown()
        where = f"the cluster at {address}" if address else "ray on this machine"
        raise ValueError(f"{where} cannot be used: {error}") from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise ValueError where nothing answers at "host:port"; ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
    except OSError as error:
        raise ValueError(f"the cluster at {address} cannot be used: nothing answers there ({error})") from error


@dataclass(eq=False)
class _Work:
    part: int
    tries: int
    actor: Any = field(repr=False)


class RayPool:
    """Reads parts with several processes of a connected cluster.

    Args:
        workers: how many.
        processors, cards: CPUs and GPUs that each takes.
        arguments: of :class:`~dld.corpus.part_reader.PartReader`.
    """

    def __init__(self, workers: int, processors: int, cards: int, arguments: Sequence[Any]) -> None:
        import ray

        self.workers, self.arguments = workers, tuple(arguments)
        # how OpenMP's threads wait is decided before torch is loaded, see dld/cli/openmp.py
        waits = {key: os.environ[key] for key in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if key in os.environ}
        self._actor = ray.remote(PartReader).options(
            num_cpus=processors, num_gpus=cards, runtime_env={"env_vars": {**waits, "OMP_NUM_THREADS": str(processors)}}
        )

    def read(self, parts: Sequence[int], report: Callable[[PartReport], None]) -> list[int]:
        """Read parts; return those that ended every process that tried.

        Args:
            report: called with each that is done, in the order in which they are.

        Raises:
            ValueError: a mistake of the user that a process met: weights that are not there, a full disk.
            UnfinishedError: processes end all the time.
        """
        import ray

        waiting = deque((part, 0) for part in parts)
        given_up: list[int] = []
        running: dict[Any, _Work] = {}
        idle = [self._start() for _ in range(min(self.workers, len(parts)))]
        ends = 0  # of processes since a part was done
        while waiting or running:
            while waiting and idle:
                part, tries = waiting.popleft()
                actor = idle.pop()
                running[actor.read.remote(part, tries > 0)] = _Work(part, tries, actor)
            while idle and not waiting:
                ray.kill(idle.pop())  # its place is for those that had none until now
            done, _ = ray.wait(list(running), timeout=_WAIT_SECONDS)
            if not done and not ray.cluster_resources().get("CPU"):
                logger.warning("no machine of the cluster is there: waiting for one")
            for reference in done:
                work = running.pop(reference)
                try:
                    found = ray.get(reference)
                except ray.exceptions.RayError as error:
                    ends += 1
                    reason = _last_line(error)
                    ray.kill(work.actor)
                    if ends > _MOST_TRIES + 2 * self.workers:
                        raise UnfinishedError(f"processes end one after another, {ends} until now: {reason}") from error
                    if work.tries + 1 < _MOST_TRIES:
                        waiting.appendleft((work.part, work.tries + 1))
                    else:
                        given_up.append(work.part)
                        logger.warning("part %d was given up: it ended %d processes (%s)", work.part, _MOST_TRIES, reason)
                    idle.append(self._start())
                    continue
                if found.problem:
                    raise ValueError(found.problem)
                ends = 0
                idle.append(work.actor)
                report(found)
        return given_up

    def _start(self) -> Any:
        return self._actor.remote(*self.arguments)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
