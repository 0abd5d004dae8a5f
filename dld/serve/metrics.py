"""What a server counts, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Metrics"]

SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60)
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """Counters of one server; they begin at 0 with it.

    Args:
        waiting: tells how many pictures wait.
    """

    def __init__(self, waiting: Callable[[], float]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("dld_requests", "requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "dld_request_seconds", "seconds from a request for /read to its answer", buckets=SECONDS, registry=registry
        )
        self.batches = Histogram("dld_batch_size", "pictures read at once", buckets=BATCH_SIZES, registry=registry)
        self.pictures = Counter("dld_pictures", "pictures read", registry=registry)
        self.words = Counter("dld_words", "words read", registry=registry)
        Gauge("dld_queue_length", "pictures that wait, those still being sent included", registry=registry).set_function(
            waiting
        )

    def text(self) -> tuple[bytes, str]:
        """Return all of them and the media type of that text."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
