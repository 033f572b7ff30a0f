"""A real npm registry for tests: verdaccio, installed once into a cache outside the repository.

It needs node and npm, from a wheel or from this machine, and the first time the package registry
that npm is configured with. Where they cannot be had, tests that ask for it are skipped and say so.
"""

import base64
import hashlib
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from tests import node_packages
from tests.integration.queue.ledger import eventually

INSTALL = Path(__file__).parent / "verdaccio-install"
UNTESTED = "NOT TESTED AGAINST A REAL REGISTRY"
START_SECONDS = 30
PASSWORD = "a password of the test registry"

CONFIG = """
storage: ./storage
auth:
  htpasswd:
    file: ./htpasswd
uplinks: {}
packages:
  '**':
    access: $all
    publish: publisher
    unpublish: publisher
max_body_size: 50mb
log: {type: stdout, format: json, level: warn}
"""


@dataclass
class Verdaccio:
    """A running registry; ``token`` may publish and unpublish, ``stranger`` may only read."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    token: str = ""
    stranger: str = ""

    def document(self, name: str) -> dict[str, Any] | None:
        """The whole document of a package; None where there is none."""
        answer = urllib3.request("GET", f"{self.url}/{quote(name, safe='@')}")
        if answer.status == 404:
            return None
        assert answer.status == 200, answer.data
        found: dict[str, Any] = answer.json()
        return found

    def tarball(self, name: str, version: str) -> bytes | None:
        """The bytes that it serves at the usual address; None where it has none."""
        file = f"{name.rpartition('/')[2]}-{version}.tgz"
        answer = urllib3.request("GET", f"{self.url}/{quote(name, safe='@/')}/-/{file}")
        return answer.data if answer.status == 200 else None

    def put(self, name: str, document: dict[str, Any]) -> int:
        """Publish past everybody; answers the status."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.url}/{quote(name, safe='@')}"
        return urllib3.request("PUT", url, json=document, headers=headers).status

    def publish(self, name: str, version: str, tarball: bytes, tag: str = "latest") -> None:
        """What a person with a token does by hand."""
        digest = hashlib.sha512(tarball).digest()
        dist = {
            "integrity": f"sha512-{base64.b64encode(digest).decode()}",
            "shasum": hashlib.sha1(tarball).hexdigest(),
            "tarball": f"{self.url}/{name}/-/{name}-{version}.tgz",
        }
        attachment = {
            "content_type": "application/octet-stream",
            "data": base64.b64encode(tarball).decode(),
            "length": len(tarball),
        }
        status = self.put(
            name,
            {
                "_id": name,
                "name": name,
                "dist-tags": {tag: version},
                "versions": {version: {"name": name, "version": version, "dist": dist}},
                "_attachments": {f"{name}-{version}.tgz": attachment},
            },
        )
        assert status == 201

    def npm_install(self, folder: Path, *packages: str) -> subprocess.CompletedProcess[str]:
        """``npm install`` with a configuration and a cache of its own; scripts are not run."""
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text('{"name": "shop", "version": "1.0.0"}')
        (folder / "npmrc").write_text("")
        npm = [*programs()[1], "install", *packages, "--ignore-scripts", "--no-audit", "--no-fund"]
        settings = {"registry": self.url, "userconfig": "npmrc", "globalconfig": "none"}
        settings |= {"cache": str(folder / "npm-cache"), "update-notifier": "false"}
        options = [f"--{key}={value}" for key, value in settings.items()]
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        return subprocess.run(
            [*npm, *options], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def _user(self, name: str) -> str:
        url = f"{self.url}/-/user/org.couchdb.user:{name}"
        answer = urllib3.request("PUT", url, json={"name": name, "password": PASSWORD})
        assert answer.status == 201, answer.data
        return str(answer.json()["token"])

    def sign_in(self) -> None:
        self.token, self.stranger = self._user("publisher"), self._user("stranger")


def programs() -> tuple[str, list[str]]:
    """Node, and how npm is called; skips the test where there are none."""
    return node_packages.programs(UNTESTED)


def installed() -> Path:
    """The folder with verdaccio in it; skips the test where it cannot be had."""
    return node_packages.installed(INSTALL, "verdaccio", UNTESTED)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(folder: Path, port: int | None = None, *, config: str = CONFIG) -> Iterator[Verdaccio]:
    """A registry whose packages and accounts lie in ``folder``; started anew, it still has them."""
    program = installed() / "node_modules" / "verdaccio" / "bin" / "verdaccio"
    node, _ = programs()
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(config)
    address = f"127.0.0.1:{port or free_port()}"
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [node, str(program), "--config", "config.yaml", "--listen", address],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    registry = Verdaccio(f"http://{address}", folder, process)
    try:
        _wait(registry)
        yield registry
    finally:
        process.kill()
        process.wait()


def _wait(registry: Verdaccio) -> None:
    def answers() -> bool:
        said = (registry.folder / "log").read_text()[-2000:]
        assert registry.process.poll() is None, f"verdaccio ended: {said}"
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", f"{registry.url}/-/ping", retries=False).status == 200
        return False

    eventually(answers, within=START_SECONDS)
