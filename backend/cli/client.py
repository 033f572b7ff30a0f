"""A small client of the REST API. Every failure is a sentence and an exit code."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit

from backend.cli.errors import FAILED, UNREACHABLE, WRONG_USAGE, CommandError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager, Timeout

    from backend.cli.file_form import FileBody, FileForm

CONNECT_TIMEOUT: Final = 5.0  # seconds
ANSWER_TIMEOUT: Final = 60.0  # seconds; a large lock file is stored before the answer

_PIECE: Final = 1 << 16  # bytes
_UNAUTHORIZED, _SERVER_ERROR, _SUCCESS = 401, 500, range(200, 300)


class Unreachable(CommandError):
    """Nobody answers, or not now: the server may be starting again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, UNREACHABLE)


class Refused(CommandError):
    """The server said no; the message is its own sentence."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, FAILED)
        self.status = status


def server_url(url: str | None) -> str:
    """Check the server's address.

    Raises:
        CommandError: it is missing, or not an http or https URL.
    """
    if not url:
        raise CommandError("LOCKKEEPER_URL is not set: give the server's address", WRONG_USAGE)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CommandError("LOCKKEEPER_URL must be an http:// or https:// URL", WRONG_USAGE)
    return url.rstrip("/")


class Client:
    """Speaks to one server as one caller.

    Args:
        token: an access token or an API key; None before signing in.
        renew: makes a new token when the old one has expired.
        patience: seconds until an answer must begin.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        renew: Callable[[], str] | None = None,
        patience: float = ANSWER_TIMEOUT,
    ) -> None:
        import urllib3

        self.url = url
        self.token = token
        self._renew = renew
        self._timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=patience)
        # No proxy, no redirect: the token goes to the server that was named and to no other.
        self._pool: PoolManager = urllib3.PoolManager(retries=False)

    def login(self, username: str, password: str) -> dict[str, Any]:
        """Sign in and keep the token; answers {token, refresh_token, expires_in, user}."""
        body = {"username": username, "password": password}
        answer: dict[str, Any] = _read(self._send("POST", "/api/auth/login", body=body), self.url)
        self.token = answer["token"]
        return answer

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("PATCH", path, body=body)

    def delete(self, path: str) -> dict[str, Any]:
        return self._ask("DELETE", path)

    def admitted(self, path: str) -> bool:
        """Whether somebody is there who lets our token see ``path``."""
        try:
            return self._send("GET", path).status in _SUCCESS
        except Unreachable:
            return False

    def upload(self, lockfile: Path, content: bytes) -> dict[str, Any]:
        """Submit a lock file; answers {request_id, application, packages, excluded, message}."""
        file = {"file": (lockfile.name, content, "application/json")}
        return self._ask("POST", "/api/packages/upload", file=file)

    def submit(self, path: str, form: "FileForm | FileBody") -> dict[str, Any]:
        """Send a file of any length."""
        return self._ask("POST", path, form=form)

    def download(self, path: str, stream: BinaryIO) -> None:
        """Write a file to ``stream``, as it is; one that broke off is Unreachable."""
        from urllib3.exceptions import HTTPError

        response = self._answered("GET", path, preload_content=False)
        try:
            if response.status not in _SUCCESS:
                _read(response, self.url)
            stream.writelines(response.stream(_PIECE))
        except HTTPError as error:
            raise self._unreachable(error) from None

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        return _read(self._answered(method, path, **content), self.url)

    def _answered(self, method: str, path: str, **content: Any) -> "BaseHTTPResponse":
        response = self._send(method, path, **content)
        if response.status == _UNAUTHORIZED and self._renew is not None:
            self.token = self._renew()
            response = self._send(method, path, **content)
        return response

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        file: Mapping[str, Any] | None = None,
        form: "FileForm | FileBody | None" = None,
        preload_content: bool = True,
    ) -> "BaseHTTPResponse":
        from urllib3.exceptions import HTTPError

        content: dict[str, Any] = {"fields": file} if file else {}
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            content["body"] = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if form is not None:
            content["body"] = iter(form)
            headers |= form.headers
        try:
            return self._pool.request(
                method, self.url + path, headers=headers, timeout=self._timeout, redirect=False,
                preload_content=preload_content, **content,
            )  # fmt: skip
        except (HTTPError, UnicodeError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"cannot reach {_shown(self.url)}: {_reason(error, self._timeout)}")


def _read(response: "BaseHTTPResponse", url: str) -> dict[str, Any]:
    try:
        document = json.loads(response.data or b"{}")
    except ValueError:
        document = None
    if response.status in _SUCCESS and isinstance(document, dict):
        return document
    sentence = document.get("error") if isinstance(document, dict) else None
    if not isinstance(sentence, str):
        raise Unreachable(
            f"{_shown(url)} does not answer like a Lockkeeper server (status {response.status})"
        )
    if response.status >= _SERVER_ERROR:
        raise Unreachable(f"{_shown(url)} answers {response.status}: {sentence}")
    if response.status == _UNAUTHORIZED and "password" not in sentence:
        sentence += " Get a token with `lockkeeper token NAME`."
    raise Refused(sentence, response.status)


def _shown(url: str) -> str:
    """Without user-info and path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _reason(error: Exception, timeout: "Timeout") -> str:
    from urllib3 import exceptions

    cause = error.__context__ or error.__cause__
    if isinstance(error, exceptions.NameResolutionError):
        return "its name is unknown"
    if isinstance(error, exceptions.NewConnectionError) and isinstance(cause, OSError):
        return (cause.strerror or str(cause)).lower()
    known: tuple[tuple[type[Exception], str], ...] = (
        (exceptions.ConnectTimeoutError, f"no connection within {CONNECT_TIMEOUT:.0f} s"),
        (exceptions.ReadTimeoutError, f"no answer within {timeout.read_timeout:.0f} s"),
        (exceptions.SSLError, f"TLS failed: {error}"),
        (exceptions.ProtocolError, "the connection broke off"),
    )
    return next((said for kind, said in known if isinstance(error, kind)), str(error))
