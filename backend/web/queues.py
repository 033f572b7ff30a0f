"""All queues alike: how they are, what failed in them, and what people do about it."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, current_app, g
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.guard import Principal, Role, Scope, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Conflict, Malformed, NotFound, Problem
from backend.queue import bulk, control, dead, explain, fleet, overview
from backend.queue.attempts import Attempt
from backend.queue.lifecycle import Queue
from backend.queue.retry import one_line
from backend.queue.wake import cancellation
from backend.strictjson import shown
from backend.web import queue_schemas as schemas

bp = Blueprint("queues", __name__, url_prefix="/api")


@dataclass(frozen=True, slots=True)
class Work:
    """What the workloads bring to an application: queues to show, and what they know of users.

    ``owned`` says whether a row of a queue is a user's own; ``erase`` deletes what is kept about a
    person.
    """

    queues: tuple[Queue, ...] = ()
    owned: Callable[[Session, Queue, int, int], bool] = lambda *_: False
    erase: Callable[[Session, int], None] = lambda *_: None


NO_WORK = Work()


def _work() -> Work:
    found: Work = current_app.extensions["lockkeeper"].work
    return found


def _queue(name: str) -> Queue:
    for queue in _work().queues:
        if queue.name == name:
            return queue
    known = ", ".join(queue.name for queue in _work().queues)
    raise NotFound(f"There is no queue {shown(name)}; there are: {known or 'none'}.")


def _partition(queue: Queue, name: str | None) -> str:
    if name is not None and name not in (queue.partitions or ()):
        raise Malformed(f"{queue.name} has no partition {shown(name)}.", code="unknown-partition")
    return name or ""


def _tell(hint: str) -> None:
    """Tell the workers, after the commit: a queue's name, or a cancellation."""
    current_app.extensions["lockkeeper"].ready(hint)


@bp.get("/queues")
@requires(Role.APPROVER)
@operation()
def queues() -> schemas.QueuesOut:
    """Every queue: its depth, its longest wait, its pauses and its workers."""
    with transaction() as session:
        pauses, workers = fleet.pauses(session), fleet.seen(session)
        depths = [overview.depth(session, queue) for queue in _work().queues]
    return schemas.QueuesOut(
        queues=[schemas.QueueOut.summed(depth, pauses, workers) for depth in depths]
    )


@bp.get("/queues/<queue>")
@requires(Role.APPROVER)
@operation(problems=[NotFound])
def queue_detail(path: schemas.QueuePath) -> schemas.QueueDetail:
    """One queue with its partitions, pauses, workers and what came of recent attempts."""
    queue = _queue(path.queue)
    with transaction() as session:
        return schemas.QueueDetail(
            queue=queue.name,
            statuses=list(queue.words),
            depth=schemas.DepthOut.model_validate(overview.depth(session, queue)),
            partitions=[
                schemas.PartitionOut.of(name, depth)
                for name, depth in overview.depths(session, queue).items()
            ],
            recent_outcomes={
                outcome: count
                for (_, outcome), count in overview.outcomes(session, [queue]).items()
            },
            paused=[schemas.PauseOut.of(p) for p in fleet.pauses(session, queue.name)],
            workers=[schemas.WorkerOut.of(w) for w in fleet.seen(session, queue.name)],
        )


@bp.get("/workers")
@requires(Role.APPROVER)
@operation()
def workers() -> schemas.WorkersOut:
    """Every worker process of the last day, alive or silent."""
    with transaction() as session:
        return schemas.WorkersOut(workers=[schemas.WorkerOut.of(w) for w in fleet.seen(session)])


@bp.get("/queues/<queue>/dead")
@requires(Role.APPROVER)
@operation(problems=[NotFound])
def dead_rows(path: schemas.QueuePath, query: schemas.DeadPage) -> schemas.DeadOut:
    """What failed in processing, by error; with a fingerprint also the rows that failed so."""
    queue = _queue(path.queue)
    selection = dead.Selection(fingerprint=query.fingerprint)
    before = schemas.place_of(query.before) if query.before else None
    with transaction() as session:
        found = dead.groups(session, queue, selection)
        rows, after = (
            dead.rows(session, queue, selection, before=before, limit=query.limit)
            if query.fingerprint
            else ([], None)
        )
    return schemas.DeadOut(
        **schemas.DeadCount.told(found),
        rows=[schemas.DeadRow.of(row) for row in rows],
        next=schemas.cursor_of(after) if after else None,
    )


@bp.get("/queues/<queue>/<id>/explain")
@requires(Role.USER)
@operation(problems=[NotFound])
def explain_row(path: schemas.RowPath) -> schemas.ExplanationOut:
    """Why a row is where it is and what happens next; users ask about their own rows."""
    queue = _queue(path.queue)
    with transaction() as session:
        _demand_sight(session, queue, path.id, current_user())
        explanation = explain.explain(session, queue, path.id)
    if explanation is None:
        raise _no_row(queue, path.id)
    return schemas.ExplanationOut.model_validate(explanation)


@bp.get("/queues/<queue>/<id>/attempts")
@requires(Role.USER)
@operation(problems=[NotFound])
def attempts(path: schemas.RowPath, query: schemas.AttemptPage) -> schemas.AttemptsOut:
    """A row's attempts that ended, newest first; users ask about their own rows."""
    queue = _queue(path.queue)
    ended = (
        select(Attempt)
        .where(Attempt.queue == queue.name, Attempt.row_id == path.id)
        .order_by(Attempt.id.desc())
        .limit(query.limit + 1)
    )
    if query.before is not None:
        ended = ended.where(Attempt.id < query.before)
    with transaction() as session:
        _demand_sight(session, queue, path.id, current_user())
        found = session.scalars(ended).all()
        if not found and _status(session, queue, path.id) is None:
            raise _no_row(queue, path.id)
        shown = [schemas.AttemptOut.model_validate(line) for line in found[: query.limit]]
    return schemas.AttemptsOut(
        attempts=shown, next=shown[-1].id if len(found) > query.limit else None
    )


def _demand_sight(session: Session, queue: Queue, row_id: int, user: Principal) -> None:
    """Raises NotFound: what is somebody else's is not there."""
    if not (user.may(Role.APPROVER) or _work().owned(session, queue, row_id, user.id)):
        raise _no_row(queue, row_id)


def _no_row(queue: Queue, row_id: int) -> NotFound:
    return NotFound(f"There is no row {row_id} in {queue.name}.")


def _status(session: Session, queue: Queue, row_id: int) -> str | None:
    return session.scalar(select(queue.rows.c.status).where(queue.rows.c.id == row_id))


@bp.post("/queues/<queue>/pause")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound])
def pause(path: schemas.QueuePath, body: schemas.PauseIn) -> schemas.PausesOut:
    """Claim no more rows, from now on; those that run finish. Pausing again changes nothing."""
    queue, user = _queue(path.queue), current_user()
    partition = _partition(queue, body.partition)
    with transaction() as session:
        control.pause(session, queue, by=user.username, partition=partition, reason=body.reason)
        audit.record(
            session, user, "queue.paused", f"queue:{queue.name}",
            partition=body.partition, reason=body.reason,
        )  # fmt: skip
        return schemas.PausesOut.of(queue.name, fleet.pauses(session, queue.name))


@bp.post("/queues/<queue>/resume")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound])
def resume(path: schemas.QueuePath, body: schemas.ResumeIn) -> schemas.PausesOut:
    """End the pause of a queue, or of one partition; answers what is paused still."""
    queue, user = _queue(path.queue), current_user()
    partition = _partition(queue, body.partition)
    with transaction() as session:
        control.resume(session, queue, partition=partition)
        audit.record(
            session, user, "queue.resumed", f"queue:{queue.name}", partition=body.partition
        )
        left = fleet.pauses(session, queue.name)
    _tell(queue.name)
    return schemas.PausesOut.of(queue.name, left)


@bp.post("/queues/<queue>/requeue")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound])
def requeue(path: schemas.QueuePath, body: schemas.RequeueIn) -> schemas.RequeueOut:
    """Make rows that failed in processing ready again, or preview that; never a verdict."""
    queue, user, selection = _queue(path.queue), current_user(), body.selection()
    _partition(queue, selection.partition)
    if body.preview:
        with transaction() as session:
            groups = dead.groups(session, queue, selection)
            sample, _ = dead.rows(session, queue, selection, limit=schemas.SAMPLE)
        return schemas.RequeueOut.previewed(queue.name, groups, sample)

    def note(session: Session, ids: list[int]) -> None:
        audit.record(
            session, user, "queue.requeued", f"queue:{queue.name}",
            count=len(ids), first=ids[0], last=ids[-1], alone=body.alone,
            ids=ids if body.ids else None,
            wanted=body.model_dump(mode="json", include={"fingerprint", "filter"}),
        )  # fmt: skip

    done = bulk.requeue(g.sessions, queue, selection, limit=body.limit, alone=body.alone, note=note)
    _tell(queue.name)
    return schemas.RequeueOut.done(queue.name, done, asked=body.ids or ())


@bp.post("/queues/<queue>/<id>/cancel")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Conflict])
def cancel(path: schemas.RowPath, body: schemas.CancelIn) -> schemas.CancelOut:
    """End a row that waits or runs. What runs is stopped within a second or two."""
    queue, user = _queue(path.queue), current_user()
    why = f"cancelled by {user.username}" + (f": {body.reason}" if body.reason else "")
    with transaction() as session:
        if not control.cancel(session, queue, [path.id], why=one_line(why)):
            raise _not_cancelled(session, queue, path.id)
        audit.record(session, user, "row.cancelled", f"{queue.name}:{path.id}", reason=body.reason)
    _tell(cancellation(queue.name))
    return schemas.CancelOut(queue=queue.name, id=path.id, status=queue.cancel_word)


def _not_cancelled(session: Session, queue: Queue, row_id: int) -> Problem:
    status = _status(session, queue, row_id)
    if status is None:
        return _no_row(queue, row_id)
    if status in queue.uncancellable:
        said = f"Row {row_id} is {status}: that cannot be taken back. Wait until it has ended."
        return Conflict(said, code="not-cancellable")
    return Conflict(
        f"Row {row_id} is {status}: nothing of {queue.name} waits or runs there to be cancelled.",
        code="not-open",
    )
