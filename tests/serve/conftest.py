"""A server on a free port of this computer, with a real network or one that a test holds back, and a client."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import pytest

from dld.serve.settings import ServeSettings
from dld.structures.words import SpottingResult, Word

REASON = 'the server needs more packages: pip install "dld[serve]"'
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def png(pixels) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


@dataclass
class Answer:
    status: int
    headers: dict
    content: bytes

    @property
    def json(self):
        return json.loads(self.content)


class Client:
    """Sends requests to one server."""

    def __init__(self, address: str) -> None:
        self.address = address

    def send(self, path: str, data=None, headers=(), timeout=60) -> Answer:
        request = urllib.request.Request(self.address + path, data=data, headers=dict(headers))
        try:
            with DIRECT.open(request, timeout=timeout) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def read(self, picture: bytes, query="", **headers) -> Answer:
        return self.send("/read" + query, picture, {"Content-Type": "image/png", **headers})

    def form(self, *fields, query="") -> Answer:
        """Send (field, file name, content) each as a file of a form."""
        edge = b"edge-of-a-part"
        parts = [
            b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
            % (edge, field.encode(), name.encode(), content)
            for field, name, content in fields
        ]
        kind = {"Content-Type": f"multipart/form-data; boundary={edge.decode()}"}
        return self.send("/read" + query, b"".join(parts) + b"--%s--\r\n" % edge, kind)

    def read_at_once(self, pictures, query="") -> list[Answer]:
        with ThreadPoolExecutor(len(pictures)) as pool:
            return list(pool.map(partial(self.read, query=query), pictures))

    def metric(self, name: str, **labels) -> float:
        from prometheus_client.parser import text_string_to_metric_families

        text = self.send("/metrics").content.decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


class HeldNetwork:
    """Reads a picture as the word of its size; each batch waits until the test opens the gate."""

    def __init__(self, is_open=True) -> None:
        self.gate, self.batches = threading.Event(), []
        if is_open:
            self.gate.set()

    def warm_up(self) -> None:
        pass

    def check_tiles(self, *_) -> None:
        pass

    def read(self, pictures, options):
        self.batches.append((len(pictures), options))
        assert self.gate.wait(60)
        corners = [[1, 1], [9, 1], [9, 5], [1, 5]]
        return [
            SpottingResult(None, None, p.shape[1], p.shape[0], [Word(f"{p.shape[1]}x{p.shape[0]}", np.array(corners), 1.0)])
            for p in pictures
        ]


def wait_until(condition, seconds=30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def wait():
    return wait_until


@pytest.fixture
def make_client():
    """The class of clients, made with an address."""
    return Client


@pytest.fixture
def held_network():
    """The class of networks that a test holds back."""
    return HeldNetwork


@pytest.fixture
def blank():
    """A small white picture as a file."""
    return png(np.full((20, 30, 3), 255, np.uint8))


@pytest.fixture
def pictures(make_record):
    """Files of three sizes and different texts."""
    sizes = [(96, 128), (96, 128), (128, 96), (60, 200), (96, 128), (128, 96)]
    return [png(make_record(("stone", str(i)), h, w, seed=i)["image"]) for i, (h, w) in enumerate(sizes)]


@pytest.fixture
def spotter(tiny_weights):
    from dld.inference.predictor import TextSpotter

    return TextSpotter.from_checkpoint(tiny_weights["student"], device="cpu")


@pytest.fixture
def start_server():
    """Start a server: `start_server(network, option=value, ...)` gives its client, when it is ready or, with `ready=False`,
    at once. `client.server` is the server, `client.thread` runs it."""
    pytest.importorskip("fastapi_offline", reason=REASON)
    pytest.importorskip("uvicorn", reason=REASON)
    pytest.importorskip("prometheus_client", reason=REASON)
    pytest.importorskip("python_multipart", reason=REASON)
    from dld.serve.running import PictureServer, address_of, listen
    from dld.serve.service import Service

    with contextlib.ExitStack() as stack:

        def start(network, ready=True, fetch=None, load=None, **settings):
            listening = listen("127.0.0.1", 0)
            client = Client(address_of(listening))
            service = partial(Service, fetch=fetch) if fetch else Service
            loading = load or (lambda: network)
            client.server = PictureServer(listening, ServeSettings(**settings), loading, "tiny", service=service)
            client.thread = threading.Thread(target=client.server.run, daemon=True)
            client.thread.start()

            def stop():
                client.server.stop()
                client.thread.join(30)
                assert not client.thread.is_alive(), "the server did not stop"

            stack.callback(stop)
            if ready:
                wait_until(lambda: client.send("/health").status == 200)
            return client

        yield start
