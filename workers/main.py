"""The worker's entry point: settings, signals, exit codes.

Exit codes: 0 drained, 1 a thread died, 2 a setting is wrong. An older schema is waited for.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from subprocess import SubprocessError
from types import FrameType

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backend import collector, logs
from backend.audit.signing import signer
from backend.db import make_engine
from backend.migrations.run import current, head
from backend.queue import confinement, privileges
from backend.queue.duty import Duty
from backend.queue.pipeline import Pipeline
from backend.settings import Settings, SettingsError, of_a_broker, psycopg2_url
from backend.workloads import discover, parts, queues
from workers import health
from workers.daemon import Assignment, Daemon, Policy, worker_name
from workers.isolation import sweep_leftovers

log = structlog.get_logger(__name__)

WATCH = 1.0  # seconds between two looks at the threads
ALONE = (sys.executable, "-P", "-m", "workers.alone")
LONGEST_WAIT = 5.0  # seconds between two tries to reach the database at the start


def served(settings: Settings) -> list[Assignment]:
    """What ``WORKER_TYPE`` asks for: a comma list of ``all``, workloads, queues and partitions.

    Raises:
        SettingsError: a word names nothing that this release can serve.
    """
    pipelines = [p for part in parts("pipeline") for p in part.pipelines(settings)]
    workloads = {
        queue.name: workload.__name__.split(".")[-2]
        for workload in discover()
        for queue in workload.QUEUES
    }
    words = [word.strip() for word in settings.worker_type.split(",") if word.strip()]
    known = {"all", *workloads.values()}
    known |= {p.queue.name for p in pipelines}
    known |= {name for p in pipelines for name in p.queue.partitions or ()}
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise SettingsError(
            f"WORKER_TYPE: {', '.join(unknown) or 'nothing'} is not served;"
            f" known: {', '.join(sorted(known))}"
        )
    return [a for p in pipelines if (a := _assignment(p, workloads[p.queue.name], words))]


def duties(settings: Settings) -> list[Duty]:
    """Those of every workload: they are cheap, and any worker may be the last one alive."""
    return [d for p in parts("pipeline") if hasattr(p, "duties") for d in p.duties(settings)]


def _assignment(pipeline: Pipeline, workload: str, words: Sequence[str]) -> Assignment | None:
    # A queue may bear its workload's name, and then means itself.
    meant = {"all", pipeline.queue.name} | ({workload} - {q.name for q in queues()})
    if meant & set(words):
        return Assignment(pipeline, pipeline.serves)
    able = pipeline.serves or pipeline.queue.partitions or ()
    partitions = [name for name in able if name in words]
    return Assignment(pipeline, partitions) if partitions else None


def policy_of(settings: Settings) -> Policy:
    return Policy(
        concurrency=settings.worker_concurrency,
        interval=settings.worker_sleep_interval,
        stall_timeout=settings.worker_stall_timeout,
        grace=settings.worker_grace_period,
        ttl=settings.lease_ttl,
        retention=settings.attempts_retention,
    )


class Signals:
    """The first SIGTERM or SIGINT drains, the second stops at once."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if self.stop.is_set():
            # Nothing is lost: what runs is not settled, its leases run out.
            os._exit(128 + number)
        self.stop.set()


def wait_for_schema(url: str, stop: threading.Event) -> bool:
    """Wait until the database answers and its schema is as new as this release needs.

    A newer schema is fine (it was expanded first); False when asked to stop.
    """
    pause = 0.1
    while not stop.is_set():
        try:
            found = current(url)
        except SQLAlchemyError as error:
            log.warning("database.unavailable", error=type(error).__name__, retry_in_s=pause)
        else:
            if found is not None and found >= head():
                return True
            log.warning("schema.old", found=found, needed=head(), retry_in_s=pause)
        stop.wait(pause)
        pause = min(pause * 2, LONGEST_WAIT)
    return False


def run(settings: Settings) -> int:
    """Serve until a signal; answers the exit code."""
    privileges.keep_to_itself()  # a child may be of this user, and not apart from it
    logs.configure(level=settings.log_level, log_format=settings.log_format)
    if unread := of_a_broker(os.environ):
        log.warning("settings.ignored", variables=unread, reason="the database is the queue")
    signals = Signals()
    name = worker_name(settings.worker_name)
    try:
        url = settings.require_database_url()
        assignments, sealing = served(settings), signer(settings.audit_signing_key_file)
    except SettingsError as error:
        log.error("worker.refused", reason=str(error))  # noqa: TRY400 - one line, no traceback
        return 2
    direct = settings.listen_database_url
    listen_url = psycopg2_url(direct.get_secret_value()) if direct else url
    engine = make_engine(url, pool_size=settings.database_pool_size, application_name=name)
    listening = make_engine(listen_url, pool_size=1, application_name=f"{name}-listen")
    beating = make_engine(url, pool_size=1, application_name=f"{name}-beat")
    daemon = Daemon(
        engine, listening, assignments, policy_of(settings), name=name, alone=ALONE,
        beat_engine=beating, signer=sealing, duties=duties(settings),
    )  # fmt: skip
    try:
        with health.watched(daemon, settings):
            return _serve(daemon, signals) if wait_for_schema(url, signals.stop) else 0
    except SettingsError as error:
        log.error("worker.refused", reason=str(error))  # noqa: TRY400 - one line, no traceback
        return 2
    finally:
        engine.dispose()
        listening.dispose()
        beating.dispose()


def _say_confinement() -> None:
    """Once at start: an operator sees what the machine allows for the children of this worker."""
    try:
        log.info("isolation.confinement", **confinement.measured())
    except (OSError, SubprocessError) as error:
        log.error("isolation.broken", reason=type(error).__name__)  # noqa: TRY400 - one line, no traceback


def _serve(daemon: Daemon, signals: Signals) -> int:
    collector.settle()
    daemon.start()
    _say_confinement()
    sweep_leftovers()
    while not signals.stop.wait(WATCH):
        if not daemon.healthy:
            log.error("worker.broken", reason="a thread died, or all of a queue hang")
            daemon.drain()
            return 1
    daemon.drain()
    return 0
