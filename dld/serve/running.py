"""Runs the server until somebody stops it, and then until its last answer is sent."""

from __future__ import annotations

import errno
import math
import signal
import socket
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from dld.serve.network import Network
from dld.serve.routes import build_app
from dld.serve.service import Service
from dld.serve.settings import ServeSettings, check_installed

__all__ = ["address_of", "listen", "run_server"]

BACKLOG = 1024
KEEP_ALIVE = 30
# beyond the time of a request, for clients that are slow to receive
LAST_SECONDS = 10
STOPS = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: an address or name of this computer.
        port: 0: any that is free.

    Raises:
        OSError: another program has the port, or it cannot be had; says what to do.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"--host {host} is no address of this computer: {error}") from None
    listening = socket.socket(family, kind)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"port {port} of {host} is taken by another program: choose another one with --port") from None
        raise OSError(f"cannot listen at port {port} of {host}: {error.strerror or error}") from None
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the address of a listening socket as a url."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    listening: socket.socket,
    settings: ServeSettings,
    load: Callable[[], Network],
    name: str,
    ready: Callable[[], None] = lambda: None,
    make_service: Callable[..., Service] = Service,
) -> None:
    """Serve until SIGINT or SIGTERM; then accept nothing new, answer what is in flight, and return.

    Args:
        listening: see :func:`listen`; closed at the end.
        load: makes the network, while /health tells that it is not ready.
        name: of the weights.
        ready: called when pictures can be read.

    Raises:
        ImportError: the extra is not installed.
        Exception: what `load` raised.
    """
    check_installed()
    import uvicorn

    failure: list[BaseException] = []

    def loaded(error: BaseException | None) -> None:
        if error is None:
            ready()
        else:
            failure.append(error)
            server.should_exit = True

    app = build_app(make_service(settings, load, loaded), name)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=math.ceil(settings.timeout) + LAST_SECONDS,
        )
    )
    with listening, _stopped_by_signals(server):
        server.run(sockets=[listening])
    if failure:
        raise failure[0]


@contextmanager
def _stopped_by_signals(server: Any):
    """Let signals stop the server also before and after the time in which it looks for them itself: that is exit code 0."""

    def stop(*_) -> None:
        server.should_exit = True

    try:
        before = {number: signal.signal(number, stop) for number in STOPS}
    except ValueError:  # signals belong to the main thread
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
