"""What the API counts of itself, over all processes of one server; and how it is scraped."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Final, Generic, TypeVar

from flask import Response, request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from backend.web.hardening import BEGAN
from backend.web.openapi import METHODS, template

T = TypeVar("T")

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"  # the client library's own name
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
KNOWN_METHODS: Final = frozenset({*METHODS, "HEAD", "OPTIONS"})
OTHER: Final = "other"
UNMATCHED: Final = "unmatched"

REMEMBERED: Final = 1024  # combinations of method, route and status

LEAST: Final = 2.0  # seconds for which a count is kept
SHARE: Final = 20  # and at least so many times what it took: at most a twentieth of the time


@contextmanager
def counted_together() -> Iterator[None]:
    """Inside the block processes that are forked or spawned count into one private directory.

    It is new, so nothing of an earlier server is in it, and gone after the block. What a process
    counted before it ended stays counted: a counter must not go back.
    """
    with tempfile.TemporaryDirectory(prefix="lockkeeper-metrics-") as directory:
        os.environ[DIRECTORY] = directory
        # The library decides when it is first imported, which a forked process has behind it.
        values.ValueClass = values.get_value_class()
        try:
            yield
        finally:
            del os.environ[DIRECTORY]
            values.ValueClass = values.get_value_class()


class Requests:
    """Counts what one application serves; in a server, together with the other processes'."""

    def __init__(self) -> None:
        disable_created_metrics()  # in the whole process; a third more lines that nothing reads
        self._own = CollectorRegistry()
        self._directory = os.environ.get(DIRECTORY)
        self._served = Counter(
            "lockkeeper_http_requests_total", "Requests answered.", ("method", "route", "status"),
            registry=self._own,
        )  # fmt: skip
        self._seconds = Histogram(
            "lockkeeper_http_request_duration_seconds", "From request to answer.",
            ("method", "route"), buckets=SECONDS, registry=self._own,
        )  # fmt: skip
        self._of = lru_cache(maxsize=REMEMBERED)(self._labelled)

    def count(self, response: Response) -> Response:
        """To be called after each request, with its answer."""
        environ, rule = request.environ, request.url_rule
        served, seconds = self._of(
            environ["REQUEST_METHOD"], rule.rule if rule else None, response.status_code
        )
        served.inc()
        seconds.observe(time.perf_counter() - environ[BEGAN])
        return response

    def _labelled(self, method: str, path: str | None, status: int) -> tuple[Counter, Histogram]:
        route = template(path) if path else UNMATCHED  # a stranger's path is no label
        method = method if method in KNOWN_METHODS else OTHER
        return self._served.labels(method, route, status), self._seconds.labels(method, route)

    def collect(self) -> Iterable[Metric]:
        """Of all processes, those that have ended included."""
        if self._directory is None:
            return self._own.collect()
        together: Iterable[Metric] = MultiProcessCollector(None, self._directory).collect()
        return together


class Shared(Generic[T]):
    """A value that is taken once in a while, whoever asks; who asks meanwhile waits for it.

    It is kept for LEAST seconds, or SHARE times as long as taking it took.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: T | None = None
        self._until = 0.0

    def get(self, take: Callable[[], T]) -> T:
        """What was kept, or else ``take()``; what that raises is not kept."""
        with self._lock:
            began = self._clock()
            if self._kept is None or began >= self._until:
                self._kept = None
                self._kept = take()
                ended = self._clock()
                self._until = ended + max(LEAST, SHARE * (ended - began))
            return self._kept


def release() -> Metric:
    build = GaugeMetricFamily("lockkeeper_build_info", "The release that runs.", labels=["version"])
    build.add_metric([version("lockkeeper")], 1)
    return build


def exposition(families: Iterable[Metric]) -> bytes:
    """The families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
