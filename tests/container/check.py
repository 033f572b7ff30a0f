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
from tests.container.stack import SPECIALISED, Stack, folder_for, until, variables

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
            _specialise(stack)
            _lose_the_database(stack)
            _stop(stack)
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
        _signed_in(stack, "api", "worker")
        _say_confinement(stack)
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


def _signed_in(stack: Stack, *services: str) -> None:
    """Each part as itself: nobody as the one who owns the tables."""
    found = stack.logins()
    if found != {service.replace("-", "_") for service in services}:
        raise Failed(f"signed in to the database are {sorted(found)}")
    _say(f"signed in to the database: {', '.join(sorted(found))}, each in its own roles")


def _say_confinement(stack: Stack) -> None:
    """What the engine lets a worker give the children that open a stranger's bytes."""
    told = until("confined", lambda: stack.told("worker", "isolation.confinement"), 60)
    holds = ("no_network", "own_processes", "memory_limit", "no_new_privileges")
    _say(f"children of the worker: {', '.join(f'{name} {bool(told[name])}' for name in holds)}")


def _specialise(stack: Stack) -> None:
    """The profiles' workers, beside the others."""
    stack.start(*SPECIALISED)
    for service in SPECIALISED:
        until(f"{service} is well", partial(stack.well, service), 120)
    _signed_in(stack, "api", "worker", *SPECIALISED)


def _lose_the_database(stack: Stack) -> None:
    """The health checks say so, and that it is back."""
    parts = ("api", "worker", *SPECIALISED)
    stack.stop("db")
    for service in parts:
        until(f"{service} is not well", partial(_not_well, stack, service), 60)
    began = time.monotonic()
    stack.engine.run("podman", "start", stack.containers("db")[0]["Name"])
    for service in parts:
        until(f"{service} is well", partial(stack.well, service), 120)
    took = time.monotonic() - began
    _say(f"database away: all say they are not well; well again {took:.0f} s after it was started")


def _not_well(stack: Stack, service: str) -> bool:
    return not stack.well(service)


def _stop(stack: Stack) -> None:
    """SIGTERM reaches the process itself: it ends by itself, and well."""
    for service in ("api", "worker", *SPECIALISED):
        code, took = stack.stop(service)
        if code != 0:
            raise Failed(f"{service} ended with {code}, {took:.0f} s after SIGTERM")
        _say(f"{service}: ended with 0, {took:.1f} s after SIGTERM")


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
