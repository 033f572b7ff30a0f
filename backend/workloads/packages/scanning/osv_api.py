"""Asking a service that speaks the OSV HTTP API (``/v1/querybatch`` and ``/v1/vulns/{id}``)."""

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from backend.outbound.patience import retry_after
from backend.queue.breaker import Breakers, host_of
from backend.workloads.packages.scanning.findings import Component, Finding
from backend.workloads.packages.scanning.osv_record import Advisory, RecordError, finding, read
from backend.workloads.packages.scanning.sources import (
    Coverage,
    ScanTransient,
    ServiceDown,
    SourceResult,
)

_BATCH = 1000  # the API's own limit of queries in one request
_MAX_PAGES = 50
_MAX_ADVISORIES = 5_000
_MAX_CACHED = 20_000
_BATCH_BYTES = 32 * 1024 * 1024
_RECORD_BYTES = 10 * 1024 * 1024
_CHUNK = 64 * 1024
_SERVER_ERRORS = 500  # and above
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class OsvApi:
    """A source behind HTTP. Proxy variables are ignored, redirects are refused.

    Args:
        base_url: without ``/v1``; https, or http inside one's own network.
        complete: the operator declares that the service knows every npm advisory.
        timeout: seconds for connecting, for each read, and twice that for a whole answer.
        breakers: the service's own is among them.
    """

    def __init__(
        self,
        base_url: str,
        *,
        complete: bool,
        timeout: float = 30.0,
        name: str = "osv-api",
        breakers: Breakers | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._name = name
        self._complete = complete
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(timeout, 10.0), read=timeout),
            retries=False,
            maxsize=4,
        )
        self._breaker = (breakers or Breakers()).of(host_of(base_url))
        self._answer_seconds = 2 * timeout
        self._cache: dict[tuple[str, str], Advisory] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:  # noqa: ARG002 - it needs no files
        """See :class:`Source`.

        Raises:
            ScanTransient: an answer that makes no sense; 429, 5xx or a time-out (ServiceDown).
            CircuitOpen: the service is failing and is not asked for now.
        """
        distinct = list({(c.name, c.version): c for c in components}.values())
        findings: list[Finding] = []
        for start in range(0, len(distinct), _BATCH):
            batch = distinct[start : start + _BATCH]
            for component, stubs in zip(batch, self._query(batch), strict=True):
                findings += self._findings(component, stubs)
        coverage = Coverage(
            source=self._name, as_of=datetime.now(UTC), records=None, complete=self._complete
        )
        return SourceResult(source=self._name, findings=tuple(findings), coverage=coverage)

    def _findings(self, component: Component, stubs: dict[str, str]) -> Iterator[Finding]:
        for identifier, modified in stubs.items():
            advisory = self._advisory(identifier, modified)
            if found := finding(advisory, component, self._name, told_affected=True):
                yield found

    def _query(self, batch: Sequence[Component]) -> list[dict[str, str]]:
        """For each component the ids of its advisories with their time of modification."""
        found: list[dict[str, str]] = [{} for _ in batch]
        open_queries = {n: _query_of(component) for n, component in enumerate(batch)}
        for _ in range(_MAX_PAGES):
            if not open_queries:
                return found
            open_queries = self._page(open_queries, found)
            if sum(map(len, found)) > _MAX_ADVISORIES:
                raise self._nonsense(f"more than {_MAX_ADVISORIES} advisories")
        raise self._nonsense(f"more than {_MAX_PAGES} pages")

    def _page(
        self, queries: dict[int, dict[str, Any]], found: list[dict[str, str]]
    ) -> dict[int, dict[str, Any]]:
        """One round; returns the queries that have a further page."""
        answer = self._ask("POST", "/v1/querybatch", _BATCH_BYTES, {"queries": [*queries.values()]})
        results = answer.get("results")
        if not isinstance(results, list) or len(results) != len(queries):
            raise self._nonsense("it did not answer every query")
        further: dict[int, dict[str, Any]] = {}
        for (number, query), result in zip(queries.items(), results, strict=True):
            result = {} if result is None else result  # noqa: PLW2901 - null means no hit
            found[number].update(self._stubs(result))
            token = result.get("next_page_token")
            if isinstance(token, str) and token:
                further[number] = {**query, "page_token": token}
        return further

    def _stubs(self, result: Any) -> Iterator[tuple[str, str]]:
        stubs = result.get("vulns", []) if isinstance(result, dict) else None
        if not isinstance(stubs, list):
            raise self._nonsense("a result is not an object with a list")
        for stub in stubs:
            identifier = stub.get("id") if isinstance(stub, dict) else None
            if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
                raise self._nonsense("an advisory has no usable id")
            yield identifier, str(stub.get("modified"))

    def _advisory(self, identifier: str, modified: str) -> Advisory:
        known = self._cache.get((identifier, modified))
        if known is not None:
            return known
        answer = self._ask("GET", f"/v1/vulns/{quote(identifier, safe='')}", _RECORD_BYTES)
        try:
            advisory = read(answer)
        except RecordError as error:
            raise self._nonsense(f"{identifier}: {error}") from None
        if identifier not in {advisory.id, *advisory.aliases}:
            raise self._nonsense(f"it sent another advisory for {identifier}")
        with self._lock:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[identifier, modified] = advisory
        return advisory

    def _ask(
        self, method: str, path: str, limit: int, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        with self._breaker.guard(ServiceDown):
            try:
                response = self._http.request(
                    method,
                    self._base + path,
                    body=None if body is None else json.dumps(body),
                    headers={"Accept": "application/json", "Content-Type": "application/json"},
                    redirect=False,
                    preload_content=False,
                )
                try:
                    return self._decoded(response, limit)
                finally:
                    response.close()
            except urllib3.exceptions.HTTPError as error:
                raise ServiceDown(f"{self._name}: no answer ({type(error).__name__})") from None

    def _decoded(self, response: urllib3.BaseHTTPResponse, limit: int) -> dict[str, Any]:
        if response.status != HTTPStatus.OK:
            raise self._refusal(response)
        raw = bytearray()
        deadline = time.monotonic() + self._answer_seconds
        for chunk in response.stream(_CHUNK):
            raw += chunk
            if len(raw) > limit:
                raise self._nonsense(f"an answer is larger than {limit} bytes")
            if time.monotonic() > deadline:
                raise ServiceDown(f"{self._name}: no answer (it came too slowly)")
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError):
            raise self._nonsense("an answer is not JSON") from None
        if not isinstance(answer, dict):
            raise self._nonsense("an answer is not an object")
        return answer

    def _refusal(self, response: urllib3.BaseHTTPResponse) -> ScanTransient:
        detail = f"{self._name}: not scanned, it answered {response.status}"
        if response.status == HTTPStatus.TOO_MANY_REQUESTS or response.status >= _SERVER_ERRORS:
            return ServiceDown(detail, retry_after(response.headers))
        return ScanTransient(detail)

    def _nonsense(self, what: str) -> ScanTransient:
        return ScanTransient(f"{self._name}: not scanned, {what}")


def _query_of(component: Component) -> dict[str, Any]:
    package = {"name": component.name, "ecosystem": "npm"}
    return {"package": package, "version": component.version}
