"""A receiver of webhooks for tests: a real HTTP server that checks signatures as the page says."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

from tests.conftest import REPOSITORY

Verify = Callable[[str, Any, bytes], dict[str, Any]]


@cache
def verifying_example() -> Verify:
    """The function that docs/webhooks.md shows to those who write receivers."""
    page = (REPOSITORY / "docs" / "webhooks.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/webhooks.md", "exec"), names)
    verify: Verify = names["verified"]
    return verify


@dataclass
class Receiver:
    """Use as a context manager. Answers ``status`` to everything, with ``headers``.

    With a ``secret`` it takes what the page's example accepts; anything else is answered 401 and
    kept in ``refused``. While ``holding`` is set an answer waits until the receiver is closed.
    """

    secret: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    holding: bool = False
    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self._closing = Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.take(self.headers, body)
                if receiver.holding:
                    receiver._closing.wait(60)
                    return
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.accepted]

    def take(self, headers: Any, body: bytes) -> int:
        if self.secret:
            try:
                event = verifying_example()(self.secret, headers, body)
            except ValueError as error:
                self.refused.append(str(error))
                return 401
            if 200 <= self.status < 300:
                self.accepted.append(event)
        return self.status

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def let_go(self) -> None:
        """Nothing is held any more: those that wait are hung up on."""
        self._closing.set()

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
