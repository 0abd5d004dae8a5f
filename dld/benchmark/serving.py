"""Clients that send pictures to a server at once, broken ones among them: how many it answers, how fast, how rightly."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["Load", "break_picture", "metric_of", "percentile", "send_load"]

GOOD, REFUSED = 200, (400, 415)
PATIENCE = 120


@dataclass
class Load:
    """What became of the requests of all clients.

    Attributes:
        seconds: that they took together.
        latencies: seconds of each picture that was read, from the request to the last byte of the answer.
        statuses: how often each status came; 0 is a connection that broke.
        wrong: pictures whose words are not those that were expected, good ones that were refused, broken ones that were not.
        memory: bytes of the server in memory, once a second.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    memory: list[float] = field(default_factory=list)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies; NaN of none."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * share) - 1]


def break_picture(content: bytes, chance: random.Random) -> bytes:
    """Return what is no picture any more: cut off, or without its head."""
    if chance.random() < 0.5:
        return content[: max(len(content) // 3, 1)]
    return b"this is no picture, whatever follows; its head was written over ".ljust(64) + content[64:]


def send_load(
    address: str,
    pictures: Mapping[bytes, Sequence[str]],
    clients: int,
    seconds: float,
    broken: float = 0.0,
    seed: int = 0,
) -> Load:
    """Send pictures from several clients, each one after another over a connection of its own.

    Args:
        address: of the server, http://HOST:PORT.
        pictures: content of files -> the words that are expected, in the order of the result.
        broken: share of requests whose picture is broken.
        seed: of the choice of pictures.
    """
    load, lock, end = Load(), threading.Lock(), time.monotonic() + seconds
    where, files = urlsplit(address).netloc, list(pictures)

    def client(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        connection = http.client.HTTPConnection(where, timeout=PATIENCE)
        while time.monotonic() < end:
            content, bad = chance.choice(files), chance.random() < broken
            sent = break_picture(content, chance) if bad else content
            start = time.perf_counter()
            status, answer = _post(connection, sent)
            taken = time.perf_counter() - start
            right = status in REFUSED if bad else status == GOOD and _words(answer) == list(pictures[content])
            with lock:
                load.statuses[status] += 1
                load.wrong += not right
                if status == GOOD:
                    load.latencies.append(taken)
        connection.close()

    start = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        load.memory.append(metric_of(address, "process_resident_memory_bytes"))
        for thread in threads:
            thread.join(1 / len(threads))
    load.seconds = time.monotonic() - start
    return load


def metric_of(address: str, name: str) -> float:
    """Return the value of a metric without labels that /metrics tells; NaN where it has none."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), float("nan"))


def _post(connection: http.client.HTTPConnection, content: bytes) -> tuple[int, bytes]:
    try:
        connection.request("POST", "/read", content, {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        connection.close()  # the next request opens it again
        return 0, b""


def _words(answer: bytes) -> list[str]:
    return [word["text"] for word in json.loads(answer)["words"]]
