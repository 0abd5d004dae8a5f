"""Counts every request and writes one line about it: who, what, how long; nothing of what was in it."""

from __future__ import annotations

import logging
import time

from dld.serve.metrics import Metrics

__all__ = ["PATHS", "Accounting"]

logger = logging.getLogger("dld.serve.requests")

PATHS = frozenset({"/read", "/health", "/metrics", "/docs", "/openapi.json"})
OTHER = "other"
# asked every few seconds by machines: not written while all is well
ROUTINE = frozenset({"/health", "/metrics"})
METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Accounting:
    """Middleware of ASGI. What the service tells of a request lies in the scope as "dld_facts".

    Args:
        app: the application.
        metrics: where requests are counted.
    """

    def __init__(self, app, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, facts = time.perf_counter(), 500, {}
        scope["dld_facts"] = facts
        open_still = True

        async def noting(message) -> None:
            nonlocal status, open_still
            if message["type"] == "http.response.start":
                status = message["status"]
            elif open_still and not message.get("more_body", False):
                # before the client has the end of the answer: who asks then finds it counted
                open_still = False
                self._count(scope, status, facts, time.perf_counter() - start)
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            if open_still:
                self._count(scope, status, facts, time.perf_counter() - start)

    def _count(self, scope, status: int, facts: dict, seconds: float) -> None:
        path = scope["path"] if scope["path"] in PATHS else OTHER
        self.metrics.requests.labels(path, str(status)).inc()
        if path == "/read":
            self.metrics.seconds.observe(seconds)
        if path not in ROUTINE or status >= 400:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            told = "".join(f" {name}={facts[name]}" for name in ("pictures", "bytes", "words") if name in facts)
            client = (scope.get("client") or ("-",))[0]
            logger.info("%s %s %s %d%s %.0f ms", client, method, path, status, told, 1000 * seconds)
