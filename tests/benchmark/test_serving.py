"""Facts about the load: every answer is counted once, and a server that answers wrongly is found out."""

import io
import json
import random
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from dld.benchmark.serving import break_picture, metric_of, percentile, send_load
from dld.data.picture import read_picture


@pytest.fixture
def photo():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


@contextmanager
def server(answer):
    """A server whose answers are `answer(content)` -> status and body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.reply(200, b"# a comment\nprocess_resident_memory_bytes 5e+06\n")

        def do_POST(self):
            self.reply(*answer(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{web.server_port}"
    finally:
        web.shutdown()
        web.server_close()


def words(*texts) -> bytes:
    return json.dumps({"words": [{"text": text} for text in texts]}).encode()


def test_all_right(photo):
    seen = []

    def answer(content):
        seen.append(content)
        return (200, words("a", "b")) if content == photo else (400, b"{}")

    with server(answer) as address:
        load = send_load(address, {photo: ["a", "b"]}, clients=3, seconds=0.5, broken=0.3)
    good = sum(content == photo for content in seen)
    assert load.statuses == {200: good, 400: len(seen) - good} and 0 < good < len(seen)
    assert len(load.latencies) == good and load.wrong == 0 and set(load.memory) == {5e6} and load.seconds >= 0.5


@pytest.mark.parametrize("reply", [(200, words("a")), (200, words("b", "a")), (503, b"{}")])
def test_wrong_words_and_refused_pictures_are_wrong(photo, reply):
    with server(lambda content: reply) as address:
        load = send_load(address, {photo: ["a", "b"]}, clients=2, seconds=0.2)
    assert load.wrong == sum(load.statuses.values()) > 0


def test_broken_pictures_that_are_read_are_wrong(photo):
    with server(lambda content: (200, words("a"))) as address:
        load = send_load(address, {photo: ["a"]}, clients=1, seconds=0.2, broken=1.0)
    assert load.wrong == load.statuses[200] > 0


def test_broken_pictures_cannot_be_read(photo):
    chance = random.Random(0)
    broken = [break_picture(photo, chance) for _ in range(8)]
    assert len(set(broken)) == 2
    for content in broken:
        with pytest.raises(ValueError, match="cannot read"):
            read_picture(content)


def test_figures():
    assert percentile(range(101), 0.5) == 50 and percentile(range(101), 0.95) == 95 and percentile([3.0], 0.95) == 3
    with server(lambda content: (200, b"")) as address:
        assert metric_of(address, "process_resident_memory_bytes") == 5e6 and np.isnan(metric_of(address, "nothing"))
