"""What a server allows, and how it refuses the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["OptionError", "Refusal", "ServeSettings", "check_installed"]


class Refusal(Exception):
    """Ends a request with a status and one line of text.

    Args:
        status: of HTTP, from 400 on.
        message: what is wrong and what would be right.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.message = " ".join(message.split())


class OptionError(ValueError):
    """An option that these weights cannot follow."""


@dataclass(frozen=True)
class ServeSettings:
    """Limits of a server.

    Args:
        batch_size: pictures that the network reads at once.
        batch_wait: seconds that a picture waits for others to be read with.
        max_bytes: of the body of a request, and of a picture that is fetched.
        max_pixels: of a picture.
        timeout: seconds from the head of a request to its answer.
        queue: pictures that may wait, those that are still being sent included.
        token: what a client must know; empty: nothing.
        allow_urls: whether pictures are fetched from addresses that clients name.
        url_seconds: to fetch one.
    """

    batch_size: int = 8
    batch_wait: float = 0.005
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    timeout: float = 60.0
    queue: int = 64
    token: str = field(default="", repr=False)
    allow_urls: bool = False
    url_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_bytes", "max_pixels", "queue"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.batch_wait) and self.batch_wait >= 0):
            raise ValueError(f"--batch-wait must not be negative, got {self.batch_wait * 1000:g}")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ValueError(f"--timeout must be above 0 seconds, got {self.timeout:g}")


def check_installed() -> None:
    """Raise ImportError, naming the extra, where it is not installed."""
    try:
        import fastapi  # noqa: F401
        import fastapi_offline  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError(f'the server needs more packages ({error}): pip install "dld[serve]"') from error
