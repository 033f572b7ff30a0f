"""Runs as a whole: listed, counted, parsed again, deleted."""

from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict
from backend.queue import control
from backend.queue.lifecycle import FAILURES
from backend.storage.blobs import Blobs, StorageError
from backend.workloads.splunk import runs_schemas as shapes
from backend.workloads.splunk.clearing import clear
from backend.workloads.splunk.failures import tracebacks
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.model import IngestionRun, RunFile, RunNotice, RunStanza
from backend.workloads.splunk.ownership import run_of, visible_to
from backend.workloads.splunk.resolution.loading import one_moment
from backend.workloads.splunk.schemas import RunOut

log = structlog.get_logger(__name__)

MOST_NAMES: Final = 1000
"""Of which a summary tells the count."""


def listed(session: Session, asked: shapes.RunsIn, by: Principal) -> shapes.RunsOut:
    """The caller's runs, or for admins all, newest first."""
    conditions = visible_to(by)
    if asked.status is not None:
        conditions.append(IngestionRun.status == asked.status)
    if asked.type is not None:
        conditions.append(IngestionRun.type == asked.type)
    one_moment(session)
    total = session.scalar(select(func.count()).select_from(IngestionRun).where(*conditions)) or 0
    page = (
        select(IngestionRun)
        .where(*conditions)
        .order_by(IngestionRun.id.desc())
        .offset((asked.page - 1) * asked.per_page)
        .limit(asked.per_page)
    )
    runs = session.scalars(page).all()
    said = tracebacks(session, runs, by)
    return shapes.RunsOut(
        runs=[RunOut.of(run, traceback=said.get(run.id)) for run in runs],
        **shapes.paging(asked, total),
    )


def shown(session: Session, run_id: int, by: Principal) -> RunOut:
    """One run with all its fields."""
    run = run_of(session, run_id, by)
    return RunOut.of(run, traceback=tracebacks(session, [run], by).get(run_id))


def summary(session: Session, run_id: int, by: Principal) -> shapes.SummaryOut:
    """What the last complete parse of a run found; nothing where there was none."""
    one_moment(session)
    run = run_of(session, run_id, by)
    files, stanzas = RunFile.run_id == run_id, RunStanza.run_id == run_id
    asked = {
        "files": (RunFile.kind, files),
        "conf_types": (RunStanza.conf_type, stanzas),
        "layers": (RunStanza.layer, stanzas),
        "apps": (RunStanza.app, stanzas),
        "warnings": (_code(), files),
        "skipped": (RunFile.skip_reason, files),
    }
    counts = {name: _counted(session, *question) for name, question in asked.items()}
    notices = session.scalars(
        select(RunNotice).where(RunNotice.run_id == run_id).order_by(RunNotice.notice_no)
    )
    return shapes.SummaryOut(
        id=run.id, status=run.status, type=run.type, archive_kind=run.archive_kind,
        total_files=sum(counts["files"][0].values()),
        total_stanzas=run.stanzas_created or 0,
        notices=[shapes.ArchiveNotice.model_validate(one) for one in notices],
        left_out={name: more for name, (_, more) in counts.items() if more},
        **{name: found for name, (found, _) in counts.items()},
    )  # fmt: skip


def parse(
    session: Session, run_id: int, by: Principal, *, force: bool
) -> tuple[IngestionRun, bool]:
    """Have a run parsed that failed, or with ``force`` one that is complete.

    Returns:
        The run, and whether anything was done: one that waits or is parsed already does so.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Conflict: ``not-stored``: it is being uploaded; ``archive-gone``: its bytes are deleted.
    """
    run = run_of(session, run_id, by, lock=True)
    if run.status == "pending":
        raise Conflict(f"Run {run_id} is still being uploaded.", code="not-stored")
    if not (run.status == "failed" or (run.status == "complete" and force)):
        return run, False
    if run.blob_key is None or run.type is None:
        raise Conflict(
            f"The archive of run {run_id} is not stored any more: upload it again.",
            code="archive-gone",
        )
    if run.status == "failed":
        control.requeue(session, SPLUNK_QUEUE, [run_id], failures=FAILURES)
    else:
        control.reopen(session, SPLUNK_QUEUE, [run_id])
    task = update(IngestionRun).where(IngestionRun.id == run_id)
    session.execute(task.values(task_id=func.gen_random_uuid()))
    audit.record(session, by, "run.parse_requested", f"run:{run_id}", force=force)
    session.refresh(run)
    return run, True


def remove(session: Session, run_id: int, by: Principal) -> str | None:
    """Delete a run, the key of its bytes, and all that was found in it.

    Returns:
        Where its bytes lie, to be discarded once this is committed.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Conflict: ``in-use``: it is being uploaded or parsed.
    """
    run = run_of(session, run_id, by, lock=True)
    if run.status in {"pending", "parsing"}:
        doing = "uploaded" if run.status == "pending" else "parsed"
        raise Conflict(f"Run {run_id} is being {doing}: delete it afterwards.", code="in-use")
    clear(session, run_id)
    session.execute(delete(IngestionRun).where(IngestionRun.id == run_id))
    audit.record(session, by, "run.deleted", f"run:{run_id}", type=run.type, sha256=run.sha256)
    return run.blob_key


def discard(blobs: Blobs, blob_key: str | None) -> None:
    """Delete bytes that no run names; what a store keeps that does not answer is swept later."""
    if blob_key is None:
        return
    try:
        blobs.delete(blob_key)
    except StorageError as error:
        log.warning("splunk.bytes_left", blob=blob_key, error=str(error))


def _code() -> ColumnElement[str]:
    """Of each warning of a file."""
    code: ColumnElement[str] = func.jsonb_array_elements(RunFile.warnings).op("->>")("code")
    return code


def _counted(
    session: Session, name: Any, condition: ColumnElement[bool]
) -> tuple[dict[str, int], int]:
    """How often each name is there, and how many names there are beyond those."""
    names = select(name.label("name")).where(condition).subquery()
    often = func.count()
    found = session.execute(
        select(names.c.name, often, func.count().over())
        .where(names.c.name.is_not(None))
        .group_by(names.c.name)
        .order_by(often.desc(), names.c.name)
        .limit(MOST_NAMES)
    ).all()
    distinct = found[0][2] if found else 0
    return {word: count for word, count, _ in found}, distinct - len(found)
