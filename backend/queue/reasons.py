"""Why a row is where it is and what happens next, in words. Pure functions over what was read."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from backend.queue.lifecycle import Meaning
from backend.queue.situation import COUNTED, Reason, Situation
from backend.queue.wording import said, span, when


def reason(situation: Situation) -> Reason:
    """The one reason that applies first."""
    queue, row = situation.queue, situation.row
    if row.status == queue.ready:
        return _ready(situation)
    if row.status in queue.held:
        return _held(situation)
    if row.failure is not None:
        return _failed(situation)
    return _resting(situation)


# --- ready ---------------------------------------------------------------------------------------


def _ready(s: Situation) -> Reason:
    if s.pauses:
        return _paused(s)
    if not s.row.due:
        return _later(s)
    if not s.live:
        return _no_worker(s)
    if all(worker.draining for worker in s.live):
        return _nobody_claims(s)
    if s.blocked:
        return _blocked(s, "claims pass it over", {})
    return _alone(s) if s.suspect else _in_line(s)


def _paused(s: Situation) -> Reason:
    pause = s.pauses[0]
    what = f"The partition {pause.partition}" if pause.partition else f"The queue {s.queue.name}"
    why = f": {said(pause.reason)}" if pause.reason else ", without a reason"
    sentence = (
        f"{what} has been paused by {pause.paused_by} since {when(pause.paused_at)}{why}."
        " It is claimed after somebody resumes that."
    )
    facts = {
        "paused_by": pause.paused_by,
        "paused_partition": pause.partition or None,
        "pause_reason": pause.reason,
        "since": pause.paused_at,
        "seconds": s.ago(pause.paused_at),
    }
    return Reason("paused", sentence, facts)


def _later(s: Situation) -> Reason:
    if s.row.available_at is None:
        return _not_released(s)
    outcome = s.last.outcome if s.last else None
    code, why = {
        "snoozed": ("snoozed", f"It was put off, no attempt burnt: {said(s.row.error)}."),
        "retry": ("backing-off", f"{_attempt(s)} failed: {said(s.row.error)}."),
        "died": ("backing-off", f"Its child process died: {said(s.row.error)}."),
    }.get(outcome or "", ("scheduled", "It is not due yet."))
    alone = ", alone, because it stalled twice" if s.suspect else ""
    wait = -s.ago(s.row.available_at)
    following = f" It is tried again after {when(s.row.available_at)} (in {span(wait)}){alone}."
    return Reason(code, why + following, {"seconds": wait}, s.row.available_at)


def _attempt(s: Situation) -> str:
    return f"Attempt {s.row.attempts} of {s.row.max_attempts}"


def _not_released(s: Situation) -> Reason:
    unexplained = Meaning("It has no time at which it may run: somebody must release it.")
    meaning = s.queue.meaning.get(s.row.status, unexplained)
    return Reason("waiting-for-person", meaning.sentence)


def _no_worker(s: Situation) -> Reason:
    if not s.workers:
        sentence = (
            f"No live worker serves the queue {s.queue.name}, and none that was lost within a day"
            " is on record. Start one."
        )
        return Reason("no-worker", sentence)
    last = s.workers[0]
    sentence = (
        f"No live worker serves the queue {s.queue.name}: the last one that was lost, {last.name},"
        f" was seen {span(s.ago(last.heartbeat_at))} ago. Start one."
    )
    facts = {
        "worker": last.name,
        "since": last.heartbeat_at,
        "seconds": s.ago(last.heartbeat_at),
    }
    return Reason("no-worker", sentence, facts)


def _nobody_claims(s: Situation) -> Reason:
    names = ", ".join(worker.name for worker in s.live)
    sentence = (
        f"Every live worker of the queue {s.queue.name} is draining and claims no more ({names})."
        " It is claimed after one starts."
    )
    return Reason("draining", sentence, {"worker": s.live[0].name})


def _blocked(s: Situation, meanwhile: str, facts: Mapping[str, Any]) -> Reason:
    assert s.locker is not None
    pid, seconds = s.locker.pid, float(s.locker.seconds)
    sentence = (
        f"A transaction of pid {pid} (application {s.locker.application_name!r}), open for"
        f" {span(seconds)}, has it locked: {meanwhile} until that ends. End it, or have it ended:"
        f" SELECT pg_terminate_backend({pid})."
    )
    return Reason("blocked", sentence, {**facts, "pid": pid, "seconds": seconds})


def _alone(s: Situation) -> Reason:
    # A requeue that is to run alone sets the stalls and clears the error.
    why = (
        f"It stalled {s.row.stalls} times (the last one: {said(s.row.error)}), so it"
        if s.row.error
        else "It was requeued to run alone: it"
    )
    sentence = (
        f"{why} waits for a worker process that holds nothing else, and runs there alone. If it"
        " finishes a step it is cleared; if it stalls again it is set aside as poison."
    )
    return Reason("suspect", sentence)


def _in_line(s: Situation) -> Reason:
    served = ""
    if s.row.partition is not None:
        served = (
            f" Which partitions a worker serves is not on record: if nothing moves, see that one"
            f" serves {s.row.partition}."
        )
    if not s.ahead:
        return Reason("next", f"It is next: a worker takes it with its next claim.{served}")
    many = s.ahead > COUNTED
    number = f"over {COUNTED:,}" if many else f"{s.ahead:,}"
    rows = "row" if s.ahead == 1 else "rows"
    whose = (
        f"of its own key in the queue {s.queue.name}, whose keys take turns"
        if s.queue.fair
        else f"of the queue {s.queue.name} that are claimed earlier"
    )
    facts = {"behind": min(s.ahead, COUNTED), "behind_more": many}
    return Reason("waiting", f"It waits behind {number} {rows} {whose}.{served}", facts)


# --- held ----------------------------------------------------------------------------------------


def _held(s: Situation) -> Reason:
    row = s.row
    stage = s.queue.next_stage(row.step)
    facts = {
        "worker": row.leased_by,
        "since": row.started_at,
        "working_on": stage.name if stage else row.status,
        "lease_expires_at": row.lease_expires_at,
        "progressed_at": row.progressed_at,
    }
    if row.lease_expires_at < row.now:
        expired = "its lease has ended and nobody can take it back"
        return _blocked(s, expired, facts) if s.blocked else _stalled(s, facts)
    if s.holder is None or not s.holder.alive:
        return _worker_gone(s, facts)
    if s.holder.draining:
        return _held_by_draining(s, facts)
    return _working(s, facts)


def _working(s: Situation, facts: Mapping[str, Any]) -> Reason:
    row = s.row
    alone = " It is under suspicion and runs alone." if s.suspect else ""
    sentence = (
        f"Worker {row.leased_by} has held it for {span(s.ago(row.started_at))} and works on"
        f" {facts['working_on']!r}, attempt {row.attempts} of {row.max_attempts}; the last"
        f" progress was {span(s.ago(row.progressed_at))} ago.{alone} The lease runs until"
        f" {when(row.lease_expires_at)} and is renewed while the worker lives."
    )
    return Reason("held", sentence, {**facts, "seconds": s.ago(row.started_at)})


def _held_by_draining(s: Situation, facts: Mapping[str, Any]) -> Reason:
    sentence = (
        f"Worker {s.row.leased_by} holds it and is draining: it finishes"
        f" {facts['working_on']!r} within its grace period, or hands the row back, no attempt"
        " burnt."
    )
    return Reason("draining", sentence, {**facts, "seconds": s.ago(s.row.started_at)})


def _worker_gone(s: Situation, facts: Mapping[str, Any]) -> Reason:
    seen = f"was last seen {span(s.ago(s.holder.heartbeat_at))} ago" if s.holder else "left"
    sentence = (
        f"Worker {s.row.leased_by} holds it but is not alive: it {seen}. Its lease ends at"
        f" {when(s.row.lease_expires_at)}; {_taken_back(s)}."
    )
    gone = {"seconds": s.ago(s.holder.heartbeat_at)} if s.holder else {}
    return Reason("worker-gone", sentence, {**facts, **gone}, s.row.lease_expires_at)


def _stalled(s: Situation, facts: Mapping[str, Any]) -> Reason:
    ended = s.row.lease_expires_at
    late = s.ago(ended)
    sentence = (
        f"The lease of worker {s.row.leased_by} ended at {when(ended)} ({span(late)} ago);"
        f" {_taken_back(s)}."
    )
    return Reason("stalled", sentence, {**facts, "seconds": late}, _reaped_at(s))


def _reaped_at(s: Situation) -> datetime | None:
    """The earliest time: nothing is reaped until the server has been up for one lease time."""
    if not s.live:
        return None
    ttl: timedelta = s.row.lease_expires_at - s.row.heartbeat_at
    earliest: datetime = max(s.row.now, s.row.server_since + ttl)
    return earliest


def _taken_back(s: Situation) -> str:
    if not s.live:
        return "no live worker is there to take it back: start one"
    if s.suspect:
        return "a worker takes it back within seconds and sets it aside as poison: it ran alone"
    return "a worker takes it back within seconds, and it is ready again, the attempt handed back"


# --- ended ---------------------------------------------------------------------------------------

_AFRESH: Final = "A person may requeue it: it starts from the first step with all its attempts."

_FAILED: Final[Mapping[str, tuple[str, Callable[[Situation], str]]]] = {
    "policy": ("rejected", lambda s: (
        f"Policy refused it: {said(s.row.error)}. That is a verdict: it stands until a person has"
        " it judged again."
    )),
    "human": ("human", lambda s: (
        f"A person refused it: {said(s.row.error)}. It stands until a person decides otherwise."
    )),
    "permanent": ("permanent", lambda s: (
        f"Its own input is at fault: {said(s.row.error)}. Another attempt would fail alike unless"
        f" that changes. {_AFRESH}"
    )),
    "exhausted": ("exhausted", lambda s: (
        f"It failed {s.row.attempts} times of at most {s.row.max_attempts}, the last time with:"
        f" {said(s.row.error)}. {_AFRESH}"
    )),
    "timeout": ("timeout", lambda s: (
        f"Its last attempt of {s.row.max_attempts} ran into the time limit: {said(s.row.error)}."
        f" {_AFRESH}"
    )),
    "poison": ("poison", lambda s: (
        f"It ran alone and brought down what it ran in: {said(s.row.error)}. It is set aside so"
        f" that it harms no other row. Find out why first. {_AFRESH} Let it run alone then."
    )),
    "cancelled": ("cancelled", lambda s: (
        f"It was {_cancelled(s)}. It stays so until a person asks for it anew: a requeue of what"
        " failed leaves it alone."
    )),
}  # fmt: skip


def _cancelled(s: Situation) -> str:
    """An act of a person begins with the word itself: ``cancelled by anna: not needed``."""
    why = said(s.row.error)
    return why if why.startswith("cancelled") else f"cancelled: {why}"


def _failed(s: Situation) -> Reason:
    newer = (s.row.failure, lambda s: f"It failed: {said(s.row.error)}.")
    code, sentence = _FAILED.get(s.row.failure, newer)
    facts = {
        "failure": s.row.failure,
        "failed_from": s.row.failed_from,
        "since": s.row.completed_at,
        "seconds": s.ago(s.row.completed_at) if s.row.completed_at else None,
    }
    return Reason(code, sentence(s), facts)


def _resting(s: Situation) -> Reason:
    row, done = s.row, s.row.status == s.queue.done
    ended = f" at {when(row.completed_at)}" if row.completed_at else ""
    unexplained = Meaning(
        f"It is finished{ended}; nothing more happens."
        if done
        else f"It rests as {row.status!r}: no queue works on it."
    )
    meaning = s.queue.meaning.get(row.status, unexplained)
    facts = {"since": row.completed_at}
    if row.completed_at:
        facts["seconds"] = s.ago(row.completed_at)
    if row.status in s.queue.entering:
        return Reason("entering", meaning.sentence, facts)
    code = "waiting-for-person" if meaning.person else "done" if done else "resting"
    return Reason(code, meaning.sentence, facts)
