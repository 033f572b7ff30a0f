import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend.queue.breaker import FAILURES, Breakers, CircuitOpen, host_of
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.osv_api import OsvApi
from backend.workloads.packages.scanning.sources import ScanTransient

Answer = tuple[int, bytes]
Handle = Callable[[str, str, Any], Answer]


class Service:
    """A real HTTP server that answers as a function says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.handle: Handle = lambda *_: (500, b"")
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(raw) if raw else None
                service.asked.append((self.command, self.path, body))
                status, content = service.handle(self.command, self.path, body)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                if status == 429:
                    self.send_header("Retry-After", "1200")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may have had enough
                    self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # must be ignored
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def record(identifier: str, **fields: Any) -> dict[str, Any]:
    block = {
        "package": {"ecosystem": "npm", "name": "demo"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "2.0.0"}]}],
    }
    base = {"id": identifier, "modified": "2026-01-01T00:00:00Z", "affected": [block]}
    return base | fields


def advisories(known: dict[str, list[str]], **details: Any) -> Handle:
    """Answer queries by package name, and details by id."""

    def handle(method: str, path: str, body: Any) -> Answer:
        if path == "/v1/querybatch":
            names = [query["package"]["name"] for query in body["queries"]]
            results = [
                {"vulns": [{"id": i} for i in known[n]]} if n in known else {} for n in names
            ]
            return 200, json.dumps({"results": results}).encode()
        identifier = path.rpartition("/")[2]
        return 200, json.dumps(details.get(identifier, record(identifier))).encode()

    return handle


def scan(service: Service, *names: str, **options: Any) -> Any:
    components = [Component(name=name, version="1.0.0") for name in names or ("demo",)]
    return OsvApi(service.url, complete=True, **{"timeout": 5.0} | options).scan(components, None)


def test_components_are_asked_in_one_batch_and_details_fetched_once(service: Service) -> None:
    service.handle = advisories({"demo": ["GHSA-1"]})
    result = scan(service, "demo", "@s/other", "demo")
    assert [(f.id, f.fixed, f.component) for f in result.findings] == [
        ("GHSA-1", ("2.0.0",), "pkg:npm/demo@1.0.0")
    ]
    assert result.outcome == "scanned"
    assert result.coverage.complete
    assert [(method, path) for method, path, _ in service.asked] == [
        ("POST", "/v1/querybatch"), ("GET", "/v1/vulns/GHSA-1"),
    ]  # fmt: skip
    assert service.asked[0][2]["queries"] == [
        {"package": {"name": "demo", "ecosystem": "npm"}, "version": "1.0.0"},
        {"package": {"name": "@s/other", "ecosystem": "npm"}, "version": "1.0.0"},
    ]


def test_more_than_a_thousand_components_take_several_batches(service: Service) -> None:
    service.handle = advisories({"n1500": ["GHSA-1"]}, **{"GHSA-1": record("GHSA-1")})
    result = scan(service, *(f"n{n}" for n in range(1501)))
    sizes = [len(body["queries"]) for method, _, body in service.asked if method == "POST"]
    assert sizes == [1000, 501]
    assert [f.component for f in result.findings] == ["pkg:npm/n1500@1.0.0"]


def test_every_page_is_read(service: Service) -> None:
    def handle(method: str, path: str, body: Any) -> Answer:
        if method == "GET":
            return 200, json.dumps(record(path.rpartition("/")[2])).encode()
        queries = body["queries"]
        if len(queries) == 2:
            results = [{}, {"vulns": [{"id": "GHSA-1"}], "next_page_token": "more"}]
        else:
            assert queries[0]["page_token"] == "more"
            results = [{"vulns": [{"id": "GHSA-2"}]}]
        return 200, json.dumps({"results": results}).encode()

    service.handle = handle
    assert [f.id for f in scan(service, "other", "demo").findings] == ["GHSA-1", "GHSA-2"]


def test_endless_pages_are_given_up(service: Service) -> None:
    page = json.dumps({"results": [{"next_page_token": "again"}]}).encode()
    service.handle = lambda *_: (200, page)
    with pytest.raises(ScanTransient, match="pages"):
        scan(service)


def test_withdrawn_advisories_are_ignored(service: Service) -> None:
    gone = record("GHSA-1", withdrawn="2026-01-01T00:00:00Z")
    service.handle = advisories({"demo": ["GHSA-1"]}, **{"GHSA-1": gone})
    assert scan(service).findings == ()


def test_the_service_is_believed_where_our_own_reading_disagrees(service: Service) -> None:
    service.handle = advisories({"demo": ["GHSA-1"]}, **{"GHSA-1": record("GHSA-1", affected=[])})
    assert [f.kind for f in scan(service).findings] == ["vulnerability"]


@pytest.mark.parametrize("status", [429, 500, 503, 404, 302, 204])
def test_any_other_answer_is_transient(service: Service, status: int) -> None:
    service.handle = lambda *_: (status, b"")
    with pytest.raises(ScanTransient, match=str(status)):
        scan(service)
    assert [path for _, path, _ in service.asked] == ["/v1/querybatch"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<html>", b"[]", b"{}", b'{"results": []}', b'{"results": [{}, {}]}',
        b'{"results": [7]}', b'{"results": [{"vulns": 7}]}', b'{"results": [{"vulns": [{}]}]}',
        b'{"results": [{"vulns": [{"id": "../../secret"}]}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_garbage_means_not_scanned(service: Service, content: bytes) -> None:
    service.handle = lambda *_: (200, content)
    with pytest.raises(ScanTransient, match="not scanned"):
        scan(service)


@pytest.mark.parametrize(
    "detail", [{"id": "GHSA-2", "affected": []}, {}, {"id": "GHSA-1", "affected": 7}]
)
def test_a_detail_that_is_not_the_advisory_means_not_scanned(service: Service, detail: Any) -> None:
    service.handle = advisories({"demo": ["GHSA-1"]}, **{"GHSA-1": detail})
    with pytest.raises(ScanTransient, match="not scanned"):
        scan(service)


def test_an_answer_over_the_size_limit_is_not_read_to_its_end(service: Service) -> None:
    service.handle = lambda *_: (200, b" " * (33 * 1024 * 1024))
    with pytest.raises(ScanTransient, match="larger"):
        scan(service)


def test_a_silent_service_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ScanTransient, match="no answer"):
            OsvApi(url, complete=True, timeout=0.2).scan(
                [Component(name="a", version="1.0.0")], None
            )


def test_an_absent_service_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(ScanTransient, match="no answer"):
        OsvApi(url, complete=True).scan([Component(name="a", version="1.0.0")], None)


def asked_often(url: str, breakers: Breakers) -> list[Exception]:
    """What the service's failures and refusals look like, two more than open the breaker."""
    source = OsvApi(url, complete=True, timeout=0.2, breakers=breakers)
    raised: list[Exception] = []
    for _ in range(FAILURES + 2):
        try:
            source.scan([Component(name="a", version="1.0.0")], None)
        except (ScanTransient, CircuitOpen) as error:
            raised.append(error)
    return raised


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_service_that_cannot_answer_is_left_alone_after_some_failures(
    service: Service, status: int
) -> None:
    service.handle, breakers = lambda *_: (status, b""), Breakers()
    raised = asked_often(service.url, breakers)
    assert breakers.states() == {host_of(service.url): "open"}
    assert len(service.asked) == FAILURES
    refused = raised[-1]
    assert isinstance(refused, CircuitOpen)
    assert (refused.retry_after >= timedelta(seconds=1199)) == (status == 429)


def test_a_silent_or_absent_service_is_left_alone_after_some_failures() -> None:
    breakers = Breakers()
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        asked_often(url, breakers)
        assert breakers.states() == {host_of(url): "open"}
    absent = Breakers()
    asked_often(url, absent)
    assert absent.states() == {host_of(url): "open"}


@pytest.mark.parametrize("answer", [(404, b""), (302, b""), (200, b"<html>"), (200, b"{}")])
def test_an_answer_that_does_not_help_is_no_reason_to_leave_the_service_alone(
    service: Service, answer: Answer
) -> None:
    service.handle, breakers = lambda *_: answer, Breakers()
    asked_often(service.url, breakers)
    assert breakers.states() == {host_of(service.url): "closed"}
    assert len(service.asked) == FAILURES + 2
