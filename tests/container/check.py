"""What ``scripts/container-check`` does: see there."""

import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from backend.cli import report
from backend.cli.client import Client
from tests.compose import BASE, REPOSITORY, resolved
from tests.container import stand_in
from tests.container.engine import Engine, Failed, Skipped, podman_compose, wanted
from tests.container.stack import Stack, folder_for, until, variables

LOCK: Final = REPOSITORY / "examples" / "package-lock.json"
LEFT_BEHIND: Final = "SELECT count(*) FROM attempts WHERE outcome IN ('died', 'stalled')"
HELD: Final = "SELECT count(*) FROM package_status WHERE lease_token IS NOT NULL"
ALIVE: Final = (
    "SELECT count(DISTINCT hostname) FROM workers"
    " WHERE NOT draining AND heartbeat_at > now() - interval '10 seconds'"
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="lockkeeper-containers-") as folder:
        try:
            _check(Path(folder))
        except Skipped as reason:
            _say(f"skipped: {reason}")
        except Failed as error:
            _say(f"FAILED: {error}")
            return 1
    return 0


def _check(folder: Path) -> None:
    wanted("buildah", "podman", "runc")
    engine = Engine(folder / "engine")
    port = _free_port()
    project = folder_for(folder, stand_in.VARIABLES, port)
    try:
        stand_in.build(engine, folder)
        _build(engine, project)
        _try(engine)
        stack = Stack(engine, podman_compose(), project, port)
        with _running(stack):
            _kill(stack, stack.client())
            _scale(stack)
        _say("passed")
    finally:
        engine.clear()


def _build(engine: Engine, project: Path) -> None:
    """Both images, as the compose file says."""
    base = engine.size(stand_in.VARIABLES["BASE_IMAGE"])
    _say(f"base: a stand-in of {base:.0f} MB, Debian {stand_in.SUITE}: the sizes are of that one")
    services = resolved(project / BASE.name, environment=variables(project))["services"]
    for name in ("api", "worker"):
        began, how = time.monotonic(), services[name]["build"]
        image = services[name]["image"]
        engine.build(image, REPOSITORY / how["dockerfile"], REPOSITORY, how["args"])
        size, took = engine.size(image), time.monotonic() - began
        _say(f"{image}: {size:.0f} MB, {size - base:.0f} MB over its base, built in {took:.0f} s")
        user = engine.inspected(image)["Config"]["User"]
        if user in {"", "0", "root"}:
            raise Failed(f"{image} runs as root")


def _try(engine: Engine) -> None:
    """Run nothing in a container of the hardest kind, to see whether this machine lets us."""
    hardened = ("--read-only", "--init", "--cap-drop=ALL", "--memory=64m", "--pids-limit=20")
    try:
        engine.run("podman", "run", "--rm", *hardened, stand_in.VARIABLES["BASE_IMAGE"], "true")
    except Failed as error:
        raise Skipped(f"no container runs on this machine: {error}") from None


@contextmanager
def _running(stack: Stack) -> Iterator[None]:
    began = time.monotonic()
    try:
        stack.up()
        for service in ("api", "worker"):
            until(f"{service} is well", partial(stack.well, service), 120)
        _say(
            f"up: database, schema, API and worker are well after {time.monotonic() - began:.0f} s"
        )
        yield
    except Failed:
        sys.stderr.write(stack.last_words())
        raise
    finally:
        stack.down()


def _kill(stack: Stack, client: Client) -> None:
    """Kill the only worker's container while it holds packages: all get their verdicts."""
    answer = client.upload(LOCK, LOCK.read_bytes())
    path = f"/api/packages/requests/{answer['request_id']}"
    began = time.monotonic()
    until("the worker is at it", lambda: _begun(client.get(path)), 60)
    killed = stack.kill("worker")
    ((held,),) = stack.ask(HELD)
    _say(f"killed {killed} with {held} of {answer['packages']} packages in its hands")
    detail = until("every verdict is there", lambda: _finished(client.get(path)), 180)
    took = time.monotonic() - began
    failed = [package["name"] for package in detail["packages"] if report.failed(package)]
    if failed or len(detail["packages"]) != answer["packages"]:
        raise Failed(f"not vetted after all: {failed}")
    ((left,),) = stack.ask(LEFT_BEHIND)
    (container,) = stack.containers("worker")
    told = ", ".join(f"{count} {status}" for status, count in sorted(_statuses(detail).items()))
    _say(f"recovered: started again {container['RestartCount']} time(s), {left} taken back")
    _say(f"{answer['packages']} packages vetted {took:.0f} s after they were submitted: {told}")
    if int(left) == 0 or container["RestartCount"] == 0:
        raise Failed("nothing was left behind, or nobody started the container again")


def _scale(stack: Stack) -> None:
    stack.start("worker", workers=3)
    until("three workers are well", lambda: stack.well("worker"), 120)
    until("three workers live", lambda: stack.ask(ALIVE) == [["3"]], 60)
    _say("scaled: three workers in containers of their own, all alive in the database")


def _begun(detail: Mapping[str, Any]) -> bool:
    return any(status.startswith(("Checking", "Downloading")) for status in _statuses(detail))


def _finished(detail: dict[str, Any]) -> dict[str, Any] | None:
    return detail if report.finished(detail) else None


def _statuses(detail: Mapping[str, Any]) -> Counter[str]:
    return Counter(package["status"] for package in detail["packages"])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _say(line: str) -> None:
    print(f"container-check: {line}", flush=True)  # noqa: T201 - what it is for


if __name__ == "__main__":
    sys.exit(main())
