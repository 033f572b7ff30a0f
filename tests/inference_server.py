"""An inference endpoint for tests: a real HTTP server that speaks OpenAI's chat completions."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from ssl import SSLContext
from threading import Event, Thread
from typing import Any, Self

TOKEN = "sk-of-the-test-endpoint"
MODEL = "small-test-model"

Asked = dict[str, Any]
Reply = str | bytes | int | Callable[[Asked], str]
"""Words of the model, a whole body, a status, or words that follow from what was asked."""


@dataclass
class InferenceServer:
    """Use as a context manager. Gives ``replies`` in their order, the last one again and again.

    A wrong token is 401, another model 404, a malformed request 400, as such endpoints answer.
    With ``knows_options`` false, any option besides model and messages is 400. While ``holding``
    is set, none is answered; ``heard`` says that one is there, ``hung_up`` that its client left.
    """

    replies: list[Reply] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    knows_options: bool = True
    holding: bool = False
    finish_reason: str = "stop"
    tls: SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.heard, self.hung_up, self._closing = Event(), Event(), Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.paths.append(self.path)
                endpoint.heard.set()
                if endpoint.holding:
                    endpoint._hold(self.connection)
                    return
                status, answer = endpoint.answer(self.headers["Authorization"], body)
                self.send_response(status)
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may have had enough
                    self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_port}/v1"

    @property
    def settings(self) -> dict[str, str]:
        return {"INFERENCE_URL": self.url, "INFERENCE_TOKEN": TOKEN, "INFERENCE_MODEL": MODEL}

    def _hold(self, connection: socket) -> None:
        connection.settimeout(0.02)
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                connection.recv(1)  # a client sends no more: this ends when it hangs up
                self.hung_up.set()
                return

    def answer(self, authorization: str | None, body: bytes) -> tuple[int, bytes]:
        if authorization != f"Bearer {TOKEN}":
            return 401, _error(f"incorrect API key provided: {authorization}")
        asked = json.loads(body)
        if self.paths[-1] != "/v1/chat/completions" or asked.get("model") != MODEL:
            return 404, _error("no such path, or no such model")
        if complaint := self._complaint(asked):
            return 400, _error(complaint)
        self.asked.append(asked)
        return self._reply(asked)

    def _reply(self, asked: Asked) -> tuple[int, bytes]:
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        if isinstance(reply, int):
            return reply, _error("as the test wants it")
        if isinstance(reply, bytes):
            return 200, reply
        return 200, completion(
            reply(asked) if callable(reply) else reply, finish_reason=self.finish_reason
        )

    def _complaint(self, asked: Asked) -> str | None:
        options = asked.keys() - {"model", "messages"}
        if options and not self.knows_options:
            return f"unknown parameter: {min(options)}"
        for message in asked.get("messages") or [{}]:
            if message.keys() != {"role", "content"}:
                return "messages need a role and a content"
            if message["role"] not in ("system", "user", "assistant"):
                return "no such role"
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def completion(content: str | None, *, finish_reason: str = "stop") -> bytes:
    """A completion with everything that such an endpoint sends."""
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_800_000_000,
            "model": MODEL,
            "choices": [choice],
            "usage": usage,
        }
    ).encode()


def _error(message: str) -> bytes:
    kind = "invalid_request_error"
    return json.dumps({"error": {"message": message, "type": kind, "code": None}}).encode()
