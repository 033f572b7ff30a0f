"""The requests that the API benchmark sends, as text, and the few answers that it reads itself."""

import base64
import hashlib
import json
import urllib.request
from typing import Any, Final

from tests.benchmark.api_load import SERIAL

TIMEOUT: Final = 30  # seconds
_BOUNDARY: Final = "lockkeeper-benchmark"
_DIGEST: Final = base64.b64encode(hashlib.sha512(b"some bytes").digest()).decode()


def sign_in(port: int, username: str, password: str) -> str:
    """An access token."""
    body = json.dumps({"username": username, "password": password})
    kind = {"Content-Type": "application/json"}
    token: str = _answer(port, "/api/auth/login", kind, body.encode())["token"]
    return token


def submit(port: int, token: str, names: list[str]) -> dict[str, Any]:
    """Upload a lock of these packages; the new request as the API shows it."""
    headers = {**_bearer(token), "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    queued = _answer(port, "/api/packages/upload", headers, _form(names).encode())
    path = f"/api/packages/requests/{queued['request_id']}"
    shown: dict[str, Any] = _answer(port, path, _bearer(token))
    return shown


def get(path: str, token: str = "") -> str:
    """A whole GET request."""
    return _request("GET", path, _bearer(token) if token else {})


def upload(path: str, token: str = "") -> str:
    """A whole upload of a lock whose only package bears the number of the request."""
    kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    headers = kind | (_bearer(token) if token else {})
    return _request("POST", path, headers, _form([f"written-{SERIAL.decode()}"]))


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _form(names: list[str]) -> str:
    return (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="package-lock.json"\r\n'
        f"Content-Type: application/json\r\n\r\n{_lock(names)}\r\n--{_BOUNDARY}--\r\n"
    )


def _lock(names: list[str]) -> str:
    root = {"name": "benchmark", "version": "1.0.0", "dependencies": dict.fromkeys(names, "^1.0.0")}
    entries = {
        f"node_modules/{name}": {
            "version": "1.0.0",
            "resolved": f"https://registry.example.test/{name}/-/{name}-1.0.0.tgz",
            "integrity": f"sha512-{_DIGEST}",
            "license": "MIT",
        }
        for name in names
    }
    packages = {"": root, **entries}
    lock = {"name": "benchmark", "version": "1.0.0", "lockfileVersion": 3, "packages": packages}
    return json.dumps(lock, indent=2)


def _request(method: str, path: str, headers: dict[str, str], body: str = "") -> str:
    length = {"Content-Length": str(len(body))} if body else {}
    lines = {"Host": "127.0.0.1", "Accept": "application/json", **headers, **length}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}"


def _answer(port: int, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return json.load(answer)
