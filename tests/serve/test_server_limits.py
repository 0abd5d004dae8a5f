"""Facts about what a server refuses, and that everybody else is served meanwhile; the network is one that a test holds back."""

import http.client
import io
import logging
import socket
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from dld.serve.options import ReadOptions


def one_line(answer, status):
    assert answer.status == status, answer
    error = answer.json
    assert list(error) == ["error"] and error["error"] and "\n" not in error["error"]
    return error["error"]


def claiming(width: int, height: int) -> bytes:
    """A PNG of some bytes that says it is that large."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_nothing_is_read_before_the_network_is_there(start_server, held_network, blank, wait):
    gate = threading.Event()

    def load():
        assert gate.wait(30)
        return held_network()

    client = start_server(None, ready=False, load=load)
    health = client.send("/health")
    assert (health.status, health.json["status"]) == (503, "loading")
    early = client.read(blank)
    assert one_line(early, 503) and early.headers["retry-after"] == "5"
    gate.set()
    wait(lambda: client.send("/health").status == 200)
    assert client.send("/health").json["weights"] == "tiny" and client.read(blank).json["words"][0]["text"] == "30x20"


def test_the_first_picture_is_read_before_the_server_is_ready(start_server, held_network, wait):
    network, warm = held_network(), threading.Event()
    network.warm_up = lambda: warm.wait(30)
    client = start_server(network, ready=False)
    assert client.send("/health").status == 503
    warm.set()
    wait(lambda: client.send("/health").status == 200)


def test_what_stops_the_network_from_being_loaded_ends_the_server(held_network):
    pytest.importorskip("fastapi_offline")
    from dld.serve.running import PictureServer, listen
    from dld.serve.settings import ServeSettings

    def load():
        raise ValueError("weights of nothing")

    with pytest.raises(ValueError, match="weights of nothing"):
        PictureServer(listen("127.0.0.1", 0), ServeSettings(), load, "tiny").run()


def test_too_many_bytes(start_server, held_network, blank):
    network = held_network()
    client = start_server(network, max_bytes=2000)
    assert "2,000 bytes" in one_line(client.read(blank + bytes(3_000_000)), 413)

    def chunks():  # without a length in the head
        for _ in range(300):
            yield bytes(10_000)

    assert "2,000 bytes" in one_line(client.send("/read", chunks(), {"Content-Type": "image/png"}), 413)
    assert not network.batches and client.read(blank).status == 200
    assert client.metric("dld_queue_length") == 0


def test_too_many_pixels_are_refused_before_they_are_decoded(start_server, held_network, blank, monkeypatch):
    client = start_server(held_network(), max_pixels=600)
    assert client.read(blank).status == 200, "exactly as many are read"
    monkeypatch.setattr("dld.serve.pictures.read_picture", lambda *_: pytest.fail("it was decoded"))
    file = io.BytesIO()
    Image.new("RGB", (30, 21)).save(file, "JPEG")
    assert "30 x 21 pixels" in one_line(client.read(file.getvalue()), 413)
    for width, height in ((5000, 5000), (60_000, 60_000)):
        assert "600" in one_line(client.read(claiming(width, height)), 413)


def test_kinds_that_are_not_read(start_server, held_network):
    client = start_server(held_network())
    for kind in ("ICO", "EPS"):
        file = io.BytesIO()
        Image.new("RGB", (32, 32)).save(file, kind)
        assert kind in one_line(client.read(file.getvalue()), 415)
    assert "known format" in one_line(client.read(b"<svg></svg>"), 415)
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole, "JPEG")
    for damaged in (whole.getvalue()[:700], b"\x89PNG\r\n\x1a\n and no more", b""):
        one_line(client.read(damaged), 400)


def test_no_result_in_time(start_server, held_network, blank, wait):
    network = held_network(is_open=False)
    client = start_server(network, timeout=0.5, batch_size=1)
    assert "0.5 seconds" in one_line(client.read(blank), 504)
    late = client.read(blank)
    assert one_line(late, 504)
    network.gate.set()
    wait(lambda: client.metric("dld_queue_length") == 0)
    assert client.read(blank).status == 200
    assert len(network.batches) == 2, "a picture whose time was over while it waited is not read"


def test_a_request_that_is_not_sent_in_time(start_server, held_network, blank):
    client = start_server(held_network(), timeout=0.5, queue=1)
    where = urlsplit(client.address)
    with socket.create_connection((where.hostname, where.port)) as slow:
        slow.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\nsome")
        slow.settimeout(30)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert client.read(blank).status == 200, "its place is free again, although it is still connected"


def test_a_full_queue(start_server, held_network, blank, wait):
    network = held_network(is_open=False)
    client = start_server(network, queue=2, batch_size=1)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.read, blank)
        wait(lambda: network.batches)
        waiting = [pool.submit(client.read, blank) for _ in range(2)]
        wait(lambda: client.metric("dld_queue_length") == 2)
        refused = client.read(blank + bytes(2_000_000))
        assert "try again" in one_line(refused, 503) and 1 <= int(refused.headers["retry-after"]) <= 60
        network.gate.set()
        assert [job.result().status for job in (first, *waiting)] == [200, 200, 200]
    assert client.metric("dld_queue_length") == 0 and client.read(blank).status == 200


def test_a_form_of_more_pictures_than_may_wait(start_server, held_network, blank):
    client = start_server(held_network(), queue=3)
    assert client.form(*[("files", f"{k}.png", blank) for k in range(3)]).status == 200
    assert "3" in one_line(client.form(*[("files", f"{k}.png", blank) for k in range(4)]), 400)
    assert client.metric("dld_queue_length") == 0


def test_a_client_that_is_gone_is_not_read_for(start_server, held_network, blank, wait):
    network = held_network(is_open=False)
    client = start_server(network, batch_size=1)
    where = urlsplit(client.address)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.read, blank)
        wait(lambda: network.batches)
        leaving = http.client.HTTPConnection(where.hostname, where.port)
        leaving.request("POST", "/read", blank)
        wait(lambda: client.metric("dld_queue_length") == 1)
        leaving.close()
        wait(lambda: client.metric("dld_requests_total", status="499") == 1)
        network.gate.set()
        assert first.result().status == 200
    assert client.read(blank).status == 200 and len(network.batches) == 2


def test_pictures_of_other_options_are_not_read_together(start_server, held_network, blank, wait):
    network = held_network(is_open=False)
    client = start_server(network, batch_size=8, batch_wait=0.0)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(client.read, blank)]
        wait(lambda: network.batches)
        queries = ["?scale=0.5", "", "?scale=0.50", "", "?scale=.5"]
        jobs += [pool.submit(client.read, blank, query) for query in queries]
        wait(lambda: client.server.service.batcher.waiting == 5)
        network.gate.set()
        assert all(job.result().status == 200 for job in jobs)
    assert sorted(count for count, _ in network.batches) == [1, 2, 3]
    assert {options for count, options in network.batches if count == 3} == {ReadOptions(scale=0.5)}


def test_a_batch_that_fails_is_read_one_by_one(start_server, held_network, blank, caplog):
    network = held_network()
    read = network.read

    def fail(pictures, options):
        if any(picture.shape[0] == 7 for picture in pictures):
            raise RuntimeError("the secret of the network")
        return read(pictures, options)

    network.read = fail
    file = io.BytesIO()
    Image.new("RGB", (9, 7)).save(file, "PNG")
    client = start_server(network, batch_size=3, batch_wait=2.0)
    answers = client.read_at_once([blank, file.getvalue(), blank])
    assert [answer.status for answer in answers] == [200, 500, 200]
    assert "secret" not in answers[1].content.decode() and one_line(answers[1], 500)
    assert "the secret of the network" in caplog.text and "read one by one" in caplog.text


def test_a_token(start_server, held_network, blank):
    network = held_network()
    client = start_server(network, token="open-sesame")
    for headers in (
        {},
        {"Authorization": "Bearer open"},
        {"Authorization": "Basic open-sesame"},
        {"Authorization": "Bearer é"},
    ):
        refused = client.read(blank, **headers)
        assert one_line(refused, 401) and refused.headers["www-authenticate"] == "Bearer"
    assert not network.batches
    right = {"Authorization": "Bearer open-sesame"}
    assert client.read(blank, **right).status == 200
    assert client.send("/metrics").status == 401 and client.send("/metrics", headers=right).status == 200
    assert client.send("/health").status == 200
    assert "bearer" in client.send("/openapi.json").json["components"]["securitySchemes"]


def test_wrong_addresses_and_methods(start_server, held_network):
    client = start_server(held_network())
    one_line(client.send("/nothing"), 404)
    one_line(client.send("/read"), 405)


def test_addresses_are_fetched_only_where_that_is_wanted(start_server, held_network, blank):
    def ask(client, body=b'{"url": "http://pictures.test/a.png"}'):
        return client.send("/read", body, {"Content-Type": "application/json"})

    fetched = []

    def fetch(url, max_bytes, seconds):
        fetched.append((url, max_bytes, 0 < seconds <= 10))
        return blank

    client = start_server(held_network(), fetch=fetch)
    assert "--allow-urls" in one_line(ask(client), 403) and not fetched
    client = start_server(held_network(), fetch=fetch, allow_urls=True)
    answer = ask(client)
    assert (answer.status, answer.json["file_name"]) == (200, "http://pictures.test/a.png")
    assert fetched == [("http://pictures.test/a.png", 20_000_000, True)]
    for body in (b"{}", b"[1]", b"no json", b'{"url": 3}', b'{"url": "http://a", "more": 1}', b"[" * 100_000):
        assert '{"url"' in one_line(ask(client, body), 400)
    client = start_server(held_network(), allow_urls=True)
    assert "not public" in one_line(ask(client, b'{"url": "http://127.0.0.1:1/"}'), 400)


def test_a_line_for_each_request_without_what_is_in_it(start_server, held_network, blank, caplog):
    caplog.set_level(logging.INFO, logger="dld.serve.requests")
    client = start_server(held_network())
    client.form(("file", "passport_of_anna.png", blank), query="?allow=")
    client.read(b"secret", "?format=txt")
    client.send("/anna%0Ainjected")
    lines = [record.getMessage() for record in caplog.records if record.name == "dld.serve.requests"]
    written = [line for line in lines if "/health" not in line]
    assert len(written) == 3 and not any(word in " ".join(written) for word in ("anna", "secret", "30x20", "\n"))
    assert written[0].startswith("127.0.0.1 POST /read 200 pictures=1 bytes=") and " words=1 " in written[0]
    assert written[1].startswith("127.0.0.1 POST /read 415 bytes=6 ") and written[2].startswith("127.0.0.1 GET other 404 ")
