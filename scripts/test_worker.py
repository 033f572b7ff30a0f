#!/usr/bin/env python3
"""Does a worker do its work? Submits a lock file over REST, watches it, and reports.

    scripts/test_worker.py [LOCKFILE] [--url URL] [--username NAME] [--compose] [--timeout SECONDS]

Takes the stack at --url or LOCKKEEPER_URL, or one that is ready on 127.0.0.1:8000; else it starts
one, by scripts/run or with --compose by Docker as .env says, and takes it away again. A stack that
was found wants a user's password: LOCKKEEPER_PASSWORD, or for one on this machine what scripts/run
keeps in .lockkeeper/credentials.json. What is interrupted is withdrawn, signed out and stopped.

Exit codes: 0 passed; 1 failed; 2 wrong usage; 3 no stack is to be had; 128 + n stopped by signal n.
Needs Python alone; scripts/test-worker.ps1 is the same for PowerShell, step by step.
"""

import argparse
import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
COMPOSE = ["docker", "compose", "-p", "lockkeeper-test-worker", "-f", "docker-compose.base.yml"]
LOCAL = "http://127.0.0.1:8000"
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
NO_PACKAGES = '{"name": "nothing", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {}}}'
JUDGED = ("", "policy", "human", "cancelled")  # any other word in `failure` is a fault
PAUSE = 0.5  # seconds between two looks
PATIENCE = 60  # seconds for one answer; a large lock file is stored before it
FAILED, WRONG_USAGE, UNREACHABLE = 1, 2, 3


class Failure(Exception):
    """What went wrong, and the exit code that says so."""

    def __init__(self, reason: str, code: int = FAILED) -> None:
        super().__init__(reason)
        self.code = code


def say(step: str, message: str) -> None:
    print(f"{step}: {message}", flush=True)  # noqa: T201 - its output


class Stack:
    """An API by its URL, and who is signed in there, half of the token's life for each time."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.username = username
        self.password = password
        self.token = ""
        self.until = 0.0

    def call(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Any:
        """The JSON that an operation answers; Failure where it refuses or does not answer."""
        if self.token and time.monotonic() > self.until:
            sign_in(self)
        headers = {"Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= {"Content-Type": kind} if kind else {}
        try:
            request = urllib.request.Request(  # noqa: S310 - the caller names the server
                self.url + path, body or None, headers, method=method
            )
            with _DIRECT.open(request, timeout=PATIENCE) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            status, detail = error.code, _detail(error)
            raise Failure(f"{method} {path} answered {status}: {detail}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Failure(f"{method} {path}: {reason}", UNREACHABLE) from None

    def refusal(self) -> str:
        """Why it is not ready; nothing where it is."""
        try:
            self.call("GET", "/ready")
        except Failure as reason:
            return str(reason)
        return ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The bearer token goes where it was asked for, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


_DIRECT = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def _detail(error: urllib.error.HTTPError) -> str:
    """Of a problem document (RFC 9457)."""
    try:
        with error:
            return str(json.loads(error.read())["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return error.reason


def find_stack(url: str, username: str) -> Stack | None:
    """The one that is ready, with its password; Failure where a named one is not."""
    found = Stack(url or LOCAL, username, "")
    refusal = found.refusal()
    if refusal and url:
        raise Failure(f"{url} is not ready: {refusal}", UNREACHABLE)
    if refusal:
        return None
    found.password = os.environ.get("LOCKKEEPER_PASSWORD", "") or kept_password(found)
    if not found.password:
        raise Failure("LOCKKEEPER_PASSWORD is not set", WRONG_USAGE)
    say("stack", f"found {found.url}")
    return found


def kept_password(stack: Stack) -> str:
    """Of that user, by scripts/run; it goes to no other machine."""
    kept = REPOSITORY / ".lockkeeper" / "credentials.json"
    if urllib.parse.urlsplit(stack.url).hostname not in LOOPBACK or not kept.is_file():
        return ""
    accounts = json.loads(kept.read_text())
    return str(accounts[stack.username]["password"]) if stack.username in accounts else ""


@contextmanager
def start_here(timeout: float) -> Iterator[Stack]:
    """Database, API and worker on this machine, by scripts/run; stopped at the end."""
    say("stack", "starting one by scripts/run")
    with tempfile.TemporaryDirectory(prefix="lockkeeper-test-") as made:
        folder = Path(made)
        folder.chmod(0o711)  # started by root, the database runs as another user
        said = folder / "said"
        program, data = REPOSITORY / "scripts" / "run", folder / "data"
        lock = folder / "nothing.json"
        command: list[str | Path] = [program, "--data", data, lock]
        lock.write_text(NO_PACKAGES)
        said.touch(0o600)  # there will be a token in it
        with said.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: "Serving" in said.read_text() or process.poll() is not None, timeout)
            url = re.search(r"^URL +(\S+)", said.read_text(), re.MULTILINE)
            if url is None:
                last = (said.read_text().splitlines() or ["it said nothing"])[-1]
                raise Failure(f"scripts/run ended: {last}", UNREACHABLE)
            account = json.loads((data / "credentials.json").read_text())["user"]
            yield Stack(url[1], account["username"], account["password"])
        finally:
            with clean_up("the stack is stopped"):
                process.terminate()
                process.wait()


@contextmanager
def start_compose(timeout: float) -> Iterator[Stack]:
    """The images' stack under a name of its own; its containers and volumes are removed again."""
    say("stack", "starting one by docker compose")
    run("sh", "scripts/init-env")
    try:
        run(*COMPOSE, "up", "-d")
        stack = Stack(LOCAL, "test-worker", "")
        wait_for(lambda: not stack.refusal(), timeout)
        adding = ["exec", "-T", "api", "lockkeeper", "user", "add", "test-worker", "--json"]
        stack.password = json.loads(run(*COMPOSE, *adding))["password"]
        yield stack
    finally:
        with clean_up("the stack is stopped"):
            run(*COMPOSE, "down", "--volumes")


def run(program: str, *words: str) -> str:
    try:
        done = subprocess.run(
            [program, *words], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False
        )
    except FileNotFoundError:
        raise Failure(f"{program} is not installed", UNREACHABLE) from None
    code = done.returncode
    if code:
        raise Failure(f"{program} {' '.join(words)} ended with {code}", UNREACHABLE)
    return done.stdout


@contextmanager
def clean_up(message: str) -> Iterator[None]:
    """Say what was done, or why it was not; no earlier failure is hidden by that."""
    try:
        yield
    except Failure as reason:
        message = str(reason)
    say("clean up", f"{message}")


def wait_for(reached: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not reached():
        if time.monotonic() > deadline:
            raise Failure(f"not within {timeout:g} s", UNREACHABLE)
        time.sleep(PAUSE)


def sign_in(stack: Stack) -> None:
    stack.token = ""
    body = json.dumps({"username": stack.username, "password": stack.password}).encode()
    answer = stack.call("POST", "/api/auth/login", body, "application/json")
    stack.token = answer["token"]
    stack.until = time.monotonic() + answer["expires_in"] / 2
    say("sign in", f"signed in as {stack.username}")


def submit(stack: Stack, lock: Path) -> int:
    frontier = secrets.token_hex(16)
    name = re.sub(r'["\r\n]', lambda found: f"%{ord(found[0]):02X}", lock.name)
    place = f'form-data; name="file"; filename="{name}"'
    head = f"--{frontier}\r\nContent-Disposition: {place}\r\n\r\n"
    body = head.encode() + lock.read_bytes() + f"\r\n--{frontier}--\r\n".encode()
    kind = f"multipart/form-data; boundary={frontier}"
    answer = stack.call("POST", "/api/packages/upload", body, kind)
    request_id, packages = answer["request_id"], answer["packages"]
    say("submit", f"request {request_id}: {packages} packages queued")
    return int(request_id)


def watch(stack: Stack, request_id: int, timeout: float) -> Any:
    """Look until every package has its verdict; answers the last look."""
    deadline, seen = time.monotonic() + timeout, -1
    while True:
        look = stack.call("GET", f"/api/packages/requests/{request_id}/processing-status")
        completed, total = look["completed_packages"], look["total_packages"]
        if completed != seen:
            say("watch", f"{completed} of {total} packages vetted")
            seen = completed
        if completed >= total:
            return look
        if time.monotonic() > deadline:
            vetted = f"{completed} of {total} packages vetted within {timeout:g} s"
            raise Failure(f"{vetted}: is a worker for them alive?")
        time.sleep(PAUSE)


def retry(stack: Stack, request_id: int) -> int:
    answer = stack.call(
        "POST", f"/api/packages/requests/{request_id}/retry", b"{}", "application/json"
    )
    retried = int(answer["retried"])
    say("retry", f"{retried} packages queued again")
    return retried


def report(look: Any) -> None:
    """Packages by status, then those whose processing failed: these fail the test."""
    for status, number in sorted(Counter(p["status"] for p in look["packages"]).items()):
        say("report", f"{number} {status}")
    failed = [p for p in look["packages"] if (p["failure"] or "") not in JUDGED]
    for package in failed:
        name, version, fault = package["name"], package["version"], package["error"]
        say("report", f"{name} {version} failed: {fault}")
    if failed:
        number = len(failed)
        raise Failure(f"{number} packages failed in processing")


def vet(stack: Stack, lock: Path, timeout: float) -> Any:
    """From the submission to the last verdict; what is not finished is withdrawn."""
    request_id, finished = submit(stack, lock), False
    try:
        look = watch(stack, request_id, timeout)
        if retry(stack, request_id):
            look = watch(stack, request_id, timeout)
        finished = True
    finally:
        if not finished:
            with clean_up(f"request {request_id} is withdrawn"):
                stack.call("POST", f"/api/packages/requests/{request_id}/withdraw")
    return look


def test(stack: Stack, lock: Path, timeout: float) -> None:
    sign_in(stack)
    try:
        report(vet(stack, lock, timeout))
    finally:
        with clean_up("signed out"):
            stack.call("POST", "/api/auth/logout")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    example = REPOSITORY / "examples" / "package-lock.json"
    parser.add_argument("lockfile", nargs="?", type=Path, default=example)
    parser.add_argument("--url", default=os.environ.get("LOCKKEEPER_URL", ""))
    parser.add_argument("--username", default="user")
    parser.add_argument("--compose", action="store_true", help="start by Docker where none answers")
    parser.add_argument("--timeout", type=float, default=600, help="seconds, for each wait")
    return parser.parse_args()


def find_and_test(asked: argparse.Namespace) -> None:
    if not asked.lockfile.is_file():
        raise Failure(f"{asked.lockfile} is no file", WRONG_USAGE)
    with ExitStack() as running:
        stack = find_stack(asked.url, asked.username)
        if stack is None:
            start = start_compose if asked.compose else start_here
            stack = running.enter_context(start(asked.timeout))
        test(stack, asked.lockfile, asked.timeout)


def main() -> int:
    asked = arguments()
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # by way of clean up
    try:
        find_and_test(asked)
    except BrokenPipeError:  # nobody reads any more, not even what Python has still to write
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Failure, LookupError, OSError, TypeError, ValueError) as failure:
        reason = str(failure) if isinstance(failure, Failure) else repr(failure)
        say("FAILED", f"{reason}")
        return getattr(failure, "code", FAILED)
    except KeyboardInterrupt:
        return 130
    say("PASSED", "the worker does its work")
    return 0


if __name__ == "__main__":
    sys.exit(main())
