"""Pictures fetched from addresses that clients name, without a way into the network that the server stands in.

Only http and https; every address that a name stands for must be a public one, and the connection goes to an address that was
looked at, not to what the name means a moment later. Redirections are looked at in the same way. No proxy is used.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

from dld.serve.settings import Refusal

__all__ = ["fetch_picture", "is_public"]

MOST_REDIRECTIONS = 3
CHUNK = 1 << 16
DEFAULT_PORTS = {"http": 80, "https": 443}
_UNICAST = ipaddress.ip_network("2000::/3")


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet; those that lead to another one inside are not."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and (ip not in _UNICAST or ip.sixtofour or ip.teredo):
        return False
    return ip.is_global and not ip.is_multicast


def fetch_picture(url: str, max_bytes: int, seconds: float, allowed: Callable[[str], bool] = is_public) -> bytes:
    """Fetch the file at an address.

    Args:
        max_bytes: a larger file is refused.
        seconds: for all of it, redirections included.
        allowed: tells whether an IP address may be connected to.

    Raises:
        Refusal: 400 an address that is not fetched, 413 too large, 502 not to be had, 504 too slow.
    """
    deadline = time.monotonic() + seconds
    for _ in range(MOST_REDIRECTIONS + 1):
        content, moved = _fetch(url, max_bytes, deadline, allowed)
        if moved is None:
            return content
        url = urljoin(url, moved)
    raise Refusal(502, f"the url leads to more than {MOST_REDIRECTIONS} redirections")


def _fetch(url: str, max_bytes: int, deadline: float, allowed: Callable[[str], bool]) -> tuple[bytes, str | None]:
    """Return the content, or where it has moved to."""
    scheme, host, port, target = _parts(url)
    family, address = _look_up(host, port, allowed)
    expired = threading.Event()
    connection = http.client.HTTPConnection(host, port)
    connection.default_port = DEFAULT_PORTS[scheme]
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            raw = socket.socket(family, socket.SOCK_STREAM)
            stack.callback(raw.close)
            # bounds everything, also a server that sends a byte now and then
            watched = raw.dup()  # TLS takes the socket itself over
            stack.callback(watched.close)
            timer = threading.Timer(max(deadline - time.monotonic(), 0), _cut_off, (watched, expired))
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
            raw.settimeout(max(deadline - time.monotonic(), 0.001))
            raw.connect(address)
            connection.sock = raw
            if scheme == "https":
                connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
                stack.callback(connection.sock.close)
            connection.request("GET", target, headers={"User-Agent": "dld", "Accept": "image/*", "Accept-Encoding": "identity"})
            response = connection.getresponse()
            stack.callback(response.close)
            if response.status in (301, 302, 303, 307, 308) and response.getheader("Location"):
                return b"", response.getheader("Location")
            if response.status != 200:
                raise Refusal(502, f"the url answers with status {response.status}")
            content = bytearray()
            while chunk := response.read(CHUNK):
                content += chunk
                if len(content) > max_bytes:
                    raise Refusal(413, f"the file at the url has more than {max_bytes:,} bytes")
            if expired.is_set():
                raise TimeoutError
            return bytes(content), None
    except (OSError, http.client.HTTPException) as error:
        if expired.is_set() or isinstance(error, TimeoutError):
            raise Refusal(504, "the url took too long to fetch") from None
        raise Refusal(502, f"the url cannot be fetched: {type(error).__name__}") from None


def _cut_off(watched: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with contextlib.suppress(OSError):
        watched.shutdown(socket.SHUT_RDWR)


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port, and the target of the request."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refusal(400, f"the url is none: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise Refusal(400, "the url must begin with http:// or https://")
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise Refusal(400, "the url must name a host, and no user")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (target.isascii() and target.isprintable()) or " " in target:
        raise Refusal(400, "the url must be written with percent signs where it has other characters than ASCII or blanks")
    return parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], target


def _look_up(host: str, port: int, allowed: Callable[[str], bool]) -> tuple[int, tuple]:
    """Return the first address of a host, after a look at all of them."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refusal(502, "the host of the url is not known") from None
    if not all(allowed(str(entry[4][0])) for entry in found):
        raise Refusal(400, "the url leads to an address that is not public")
    return found[0][0], found[0][4]
