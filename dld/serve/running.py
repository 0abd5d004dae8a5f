"""Runs the server until somebody stops it, and then until its last answer is sent."""

from __future__ import annotations

import errno
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dld.serve.network import Network
from dld.serve.routes import build_app
from dld.serve.service import Service
from dld.serve.settings import ServeSettings, check_installed

__all__ = ["PictureServer", "address_of", "listen"]

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


class PictureServer:
    """Serves until it is stopped; then accepts nothing new, answers what is in flight, and ends.

    Args:
        listening: see :func:`listen`; closed at the end.
        load: makes the network, while /health tells that it is not ready.
        name: of the weights.
        ready: called when pictures can be read.
        service: made with the settings, `load`, and what is to be called then.

    Raises:
        ImportError: the extra is not installed.
    """

    def __init__(
        self,
        listening: socket.socket,
        settings: ServeSettings,
        load: Callable[[], Network],
        name: str,
        ready: Callable[[], None] = lambda: None,
        service: Callable[..., Service] = Service,
    ) -> None:
        check_installed()
        import uvicorn

        self._listening, self._announce = listening, ready
        self._failure: BaseException | None = None
        self.service = service(settings, load, self._loaded)
        self._server = uvicorn.Server(
            uvicorn.Config(
                build_app(self.service, name),
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

    def run(self) -> None:
        """Serve until :meth:`stop` or, in the main thread, SIGINT or SIGTERM.

        Raises:
            Exception: what loading the network raised.
        """
        with self._listening, _signals(lambda *_: self.stop()):
            self._server.run(sockets=[self._listening])
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin to stop; for any thread."""
        self._server.should_exit = True

    def _loaded(self, error: BaseException | None) -> None:
        if error is None:
            self._announce()
        else:
            self._failure = error
            self.stop()


@contextmanager
def _signals(stop: Callable[..., None]) -> Iterator[None]:
    """Let signals stop the server before and after the time in which uvicorn looks for them itself, too: exit code 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
