"""Everything that ``lockkeeper up`` runs on this machine, and how it is started."""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

from backend.cli import npmrc
from backend.cli.children import Child, Children
from backend.cli.client import Client
from backend.cli.errors import UNREACHABLE, WRONG_USAGE, CommandError
from backend.cli.folder import Credentials, Folder, owned_folder
from backend.cli.words import plain, say

if TYPE_CHECKING:
    from backend.embedded import EmbeddedPostgres
    from backend.settings import Settings

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
HOST: Final = "127.0.0.1"
PORTS_TRIED: Final = 100
READY_TIMEOUT: Final = 60.0  # seconds for the API to answer
READY_POLL: Final = 0.05  # seconds
WORKER_LIVES: Final = 5  # starts again after a kill; more look like something that kills
WATCH: Final = 60.0  # seconds; a part's death is noticed at once all the same
GRACE: Final = "5"  # seconds; who presses Ctrl-C waits for no download, and nothing is lost


@dataclass(frozen=True, slots=True)
class House:
    """What is running."""

    url: str
    children: Children
    user: Credentials
    folder: Folder
    database: "EmbeddedPostgres | None"

    def wait(self, seconds: float) -> None:
        """Let time pass; CommandError when a part has died."""
        self.children.wait(seconds)
        if self.database is not None and not self.database.running:
            raise CommandError(f"the database ended; its log is {self.folder.postgres}.log")

    def serve(self) -> NoReturn:
        """Stay until Stopped or a part's death ends it."""
        while True:
            self.wait(WATCH)

    def client(self) -> Client:
        """Signed in as the ordinary user, again whenever the token has expired."""

        def sign_in() -> str:
            token: str = Client(self.url).login(self.user.username, self.user.password)["token"]
            return token

        return Client(self.url, sign_in(), renew=sign_in)


def start(running: ExitStack, children: Children, data: Path, port: int | None) -> House:
    """Start the database, the API and a worker; ``running`` stops them, the database last.

    Raises:
        CommandError: the folder is in use, no port is free, or a part did not start.
        SettingsError, EmbeddedError, MigrationError, SQLAlchemyError: see ``database_errors``.
    """
    from backend import database_url
    from backend.cli import accounts
    from backend.migrations.run import upgrade
    from backend.settings import Settings

    settings = Settings.load()
    folder = running.enter_context(owned_folder(data))
    database = None if settings.database_url else _embedded(running, folder)
    url = database.url if database else settings.require_database_url()
    say(f"Database: {plain(database_url.shown(url))}{', embedded' if database else ''}.")
    upgrade(url)
    environment = {**os.environ, **_defaults(settings, folder), "DATABASE_URL": url}
    if database:
        folder.keep_database_url(url)
        environment.pop("LISTEN_DATABASE_URL", None)  # that one means another database
    running.enter_context(children)
    # A killed worker loses no row: its leases run out, and the next one goes on.
    children.start("worker", environment, folder.log("worker"), lives=WORKER_LIVES)
    user = accounts.ensure(url, folder)["user"]
    address = _serve(children, environment, folder, _free_ports(port, settings.api_port))
    say(f"API: {address}")
    return House(address, children, user, folder, database)


def _embedded(running: ExitStack, folder: Folder) -> "EmbeddedPostgres":
    from backend.embedded import EmbeddedPostgres, host_installations, wheel_installations

    binaries = wheel_installations() or host_installations()
    return running.enter_context(EmbeddedPostgres(folder.postgres, installations=binaries))


def _defaults(settings: "Settings", folder: Folder) -> dict[str, str]:
    """What the parts need and the environment does not say."""
    from backend.workloads.packages.origins import default_registry

    said: dict[str, str] = {}
    if settings.jwt_secret is None:
        said["JWT_SECRET"] = folder.signing_secret()
    if settings.webhook_key is None:
        said["WEBHOOK_KEY"] = folder.webhook_key()
    if settings.splunk_key is None:
        said["SPLUNK_KEY"] = folder.splunk_key()
    if settings.task_key is None:
        said["TASK_KEY"] = folder.task_key()
    if settings.audit_signing_key_file is None:
        said["AUDIT_SIGNING_KEY_FILE"] = str(folder.audit_key())
    ours = {
        "PACKAGE_CACHE_DIR": str(folder.cache),
        "STORAGE_DIR": str(folder.storage),
        "TRIVY_CACHE_DIR": str(folder.trivy),
        "WORKER_GRACE_PERIOD": GRACE,
    }
    said |= {name: value for name, value in ours.items() if not os.environ.get(name)}
    registry, told_by = settings.source_repository_url, "SOURCE_REPOSITORY_URL"
    if registry is None:
        mirror = npmrc.registry(os.environ, Path.home())
        registry, told_by = (
            mirror or default_registry(),
            "npm's setting" if mirror else "the default",
        )
        # The public registry is not one's own: what is internal is never asked of it.
        if mirror and mirror != default_registry():
            said["SOURCE_REPOSITORY_URL"] = mirror
    say(f"Packages come from {_described(registry)} ({told_by}).")
    if settings.osv_path is None and settings.osv_api_url is None:
        said["OSV_PATH"] = str(EXAMPLES / "advisories")
        say("Advisories: the example set, which can convict and clears nothing (see OSV_PATH).")
    return said


def _described(url: str) -> str:
    """Host and port alone: the rest may be secret."""
    return plain(urlsplit(url).netloc.rpartition("@")[2] or "unknown")


def _free_ports(asked: int | None, first: int) -> Iterator[int]:
    """Ports of 127.0.0.1 that are free now: only ``asked``, or from ``first`` upwards.

    Raises:
        CommandError: at the end.
    """
    start = first or 8000
    for port in [asked] if asked else range(start, min(start + PORTS_TRIED, 65536)):
        if _free(port):
            yield port
    which = f"port {asked} is" if asked else f"ports {start} and the next {PORTS_TRIED} are"
    raise CommandError(f"{which} taken: name another one with --port", WRONG_USAGE)


def _free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _serve(
    children: Children, environment: Mapping[str, str], folder: Folder, ports: Iterator[int]
) -> str:
    """Start the API on the first port that nobody else takes meanwhile; answers its URL.

    Raises:
        CommandError: it ended, or does not answer, or no port is left.
    """
    from backend.settings import PortTaken

    token = environment.get("METRICS_TOKEN") or secrets.token_hex(16)
    for port in ports:
        address = f"http://{HOST}:{port}"
        ours = {"API_HOST": HOST, "API_PORT": str(port), "METRICS_TOKEN": token}
        api = children.start("api", {**environment, **ours}, folder.log("api"))
        if _answers(api, Client(address, token)):
            return address
        if api.process.poll() is None:
            raise CommandError(
                f"the API did not answer within {READY_TIMEOUT:.0f} s; its log is {api.log}",
                UNREACHABLE,
            )
        if api.process.returncode != PortTaken.exit_code:
            children.check()
        children.forget(api)
    raise AssertionError  # _free_ports raises at its end


def _answers(api: Child, client: Client) -> bool:
    """Wait until it is our API that answers: another one does not know the token of this run.

    The user's password must never go to a stranger who was faster on the port.
    """
    deadline = time.monotonic() + READY_TIMEOUT
    while api.process.poll() is None and time.monotonic() < deadline:
        if client.admitted("/metrics"):
            return True
        time.sleep(READY_POLL)
    return False
