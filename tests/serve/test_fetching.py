"""Facts about fetching: only from public addresses, whatever names and redirections say, and within size and time."""

import socket
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dld.serve.fetching import fetch_picture, is_public
from dld.serve.settings import Refusal


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("192.168.0.1", False),
        ("172.16.0.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),
        ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False), ("fd00::1", False),
        ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", False), ("64:ff9b::a00:1", False), ("2002:a00:1::", False),
        ("2001:0:a00:1::", False), ("ff02::1", False),
    ],
)  # fmt: skip
def test_public_addresses(address, public):
    assert is_public(address) == public


@pytest.fixture
def web():
    """A web server: /file, /moved?WHERE, /gone, /large, /drip."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/moved?"):
                self.send_response(302)
                self.send_header("Location", self.path.partition("?")[2])
                self.end_headers()
                return
            if self.path == "/gone":
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            if self.path == "/drip":
                for _ in range(100):
                    self.wfile.write(b".")
                    time.sleep(0.05)
            else:
                self.wfile.write(b"content" if self.path.startswith("/file") else bytes(1000))

        def log_message(self, *_):
            pass

        def handle(self):
            try:
                super().handle()
            except OSError:  # the client had enough
                pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


here = partial(fetch_picture, max_bytes=500, seconds=20, allowed=lambda address: True)


def refused(status, says, url, **more):
    with pytest.raises(Refusal, match=says) as caught:
        here(url, **more)
    assert caught.value.status == status


def test_a_file(web):
    assert here(f"{web}/file") == b"content"
    assert here(f"{web}/file?size=2&name=a%20b") == b"content"
    assert here(f"{web}/moved?/file") == b"content"


def test_what_is_not_to_be_had(web):
    refused(502, "status 404", f"{web}/gone")
    refused(413, "more than 500 bytes", f"{web}/large")
    refused(502, "redirections", f"{web}/moved?/moved?/moved?/moved?/moved?/file")
    refused(502, "not known", "http://nowhere.invalid/")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused(502, "cannot be fetched", f"http://127.0.0.1:{closed.getsockname()[1]}/")
    refused(502, "cannot be fetched", f"{web.replace('http', 'https')}/file")


def test_a_server_that_sends_a_byte_now_and_then(web):
    start = time.monotonic()
    refused(504, "too long", f"{web}/drip", seconds=0.5)
    assert time.monotonic() - start < 4, "it would go on for five seconds"


def test_a_server_that_never_answers():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for scheme in ("http", "https"):
            refused(504, "too long", f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file:///etc/passwd", "begin with http"),
        ("ftp://a.b/c", "begin with http"),
        ("photo.jpg", "begin with http"),
        ("http://", "name a host"),
        ("http://me:secret@a.b/", "no user"),
        ("http://a.b:99999/", "url is none"),
        ("http://[::1/", "url is none"),
        ("http://a.b/a b", "percent signs"),
        ("http://a.b/é", "percent signs"),
    ],
)
def test_addresses_that_are_none(url, says):
    refused(400, says, url)


def test_nothing_private_is_connected_to(web):
    with pytest.raises(Refusal, match="not public") as caught:
        fetch_picture(f"{web}/file", 500, 5)
    assert caught.value.status == 400


def test_a_redirection_into_the_own_network_is_not_followed(web):
    seen = []

    def allowed(address):
        seen.append(address)
        return len(seen) == 1  # the first server counts as public

    with pytest.raises(Refusal, match="not public"):
        fetch_picture(f"{web}/moved?http://127.0.0.1:1/", 500, 5, allowed)
    assert len(seen) == 2


def test_a_name_is_looked_up_once_and_all_it_stands_for_must_be_public(web, monkeypatch):
    port = int(web.rpartition(":")[2])
    known, private = ((socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "10.0.0.1"))
    answers = [[known], [private], [known, private]]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **more: answers.pop(0))

    def fetch():
        return fetch_picture(f"http://changing.test:{port}/file", 500, 5, lambda address: address == "127.0.0.1")

    assert fetch() == b"content" and len(answers) == 2, "it is not asked again when it connects"
    for _ in range(2):
        with pytest.raises(Refusal, match="not public"):
            fetch()
