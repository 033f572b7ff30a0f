"""Runs as a whole: listed, counted, parsed again, deleted."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, String, column, delete, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, Unavailable
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
        total=total, page=asked.page, per_page=asked.per_page, next=asked.following(total),
    )  # fmt: skip


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
        notices=[shapes.NoticeOut.model_validate(one) for one in notices],
        left_out={name: more for name, (_, more) in counts.items() if more},
        **{name: found for name, (found, _) in counts.items()},
    )  # fmt: skip
