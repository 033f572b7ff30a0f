"""The mutants: one guard of the protocol taken away each, and the tests that must notice.

Tests are named by a file below tests/ and, after a colon, an expression of pytest's ``-k``.
"""

from dataclasses import dataclass
from typing import Final

FENCE: Final = "integration/queue/test_queue_fence.py"
CLAIM: Final = "integration/queue/test_queue_claim.py"
SETTLE: Final = "integration/queue/test_queue_settle.py"
REAP: Final = "integration/queue/test_queue_reap.py"
LOCKS: Final = "integration/queue/test_queue_locks.py"
DAEMON: Final = "integration/queue/test_worker_daemon.py"
KILLS: Final = "chaos/test_faults_kill.py"

HOLDING: Final = "backend/queue/sql/holding.py"
CLAIMING: Final = "backend/queue/sql/claiming.py"
LANES: Final = "backend/queue/sql/lanes.py"
ENDING: Final = "backend/queue/sql/ending.py"
LEASES: Final = "backend/queue/leases.py"
SETTLEMENTS: Final = "backend/queue/settlements.py"
DATABASE: Final = "backend/db.py"
FLEET: Final = "backend/queue/fleet.py"
EXECUTOR: Final = "workers/executor.py"
COMMITTING: Final = "workers/committing.py"
RIDERS: Final = "integration/queue/test_worker_riders.py"
TURNING: Final = "workers/turning.py"
TURNS: Final = "integration/queue/test_queue_turn.py"
CREW: Final = "workers/crew.py"
WRITES: Final = "backend/queue/writes.py"
WRITTEN: Final = "integration/queue/test_queue_writes.py"
REAPING: Final = "workers/reaping.py"
WORKER: Final = "workers/daemon.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """``before`` occurs exactly once in ``path`` and becomes ``after``; ``tests`` must turn red."""

    name: str
    path: str
    before: str
    after: str
    tests: tuple[str, ...]


_TOKEN = 'bindparam("token", type_=Uuid)'
_SETTLE_LOCK = """ends.c.token))
        .order_by(q.c.id)
        .with_for_update(key_share=True, of=q)
"""
_CANCEL_LOCK = """open_rows)
        .order_by(q.c.id)
        .with_for_update(key_share=True, of=q)
"""
_REQUEUE_LOCK = """            ),
        )
        .order_by(q.c.id)
        .with_for_update(key_share=True, of=q)
"""
_REAP_LOCK = """        .with_for_update(key_share=True, skip_locked=True, of=q)
        .cte("stale")
        .prefix_with("MATERIALIZED")
    )
"""
_LOCKED_LATER = """        .cte("chosen")
        .prefix_with("MATERIALIZED")
    )
    again = rows.alias("again")
    stale = (
        select(*(again.c[name] for name in HISTORY))
        .where(again.c.id == array_of(stale))
        .with_for_update(key_share=True, skip_locked=True, of=again)
        .cte("stale")
        .prefix_with("MATERIALIZED")
    )
"""
_ORDER = "        .order_by(q.c.id)\n"
_LOCK = "        .with_for_update(key_share=True, of=q)\n"
_CLAIM_LOCK = """        .limit(bindparam("share", type_=BigInteger))
        .with_for_update(key_share=True, skip_locked=True)
"""
_SUSPECT_LOCK = """        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
"""
_HEARTBEAT_LOCK = "        .with_for_update(key_share=True, skip_locked=True, of=q)\n"

FENCES: Final = (
    Mutant(
        "heartbeat without the token", HOLDING,
        "leases, and_(q.c.id == leases.c.id, q.c.lease_token == leases.c.token)",
        "leases, q.c.id == leases.c.id",
        (f"{FENCE}:heartbeat",),
    ),
    Mutant(
        "still_mine without the token", HOLDING,
        "leases, and_(rows.c.id == leases.c.id, rows.c.lease_token == leases.c.token)",
        "leases, rows.c.id == leases.c.id",
        (f"{FENCE}:heartbeat",),
    ),
    Mutant(
        "commit without the token", HOLDING,
        ".where(*fence(rows))\n        .values(\n            status",
        f".where(fence(rows)[0], {_TOKEN}.is_not(None), fence(rows)[2])\n"
        "        .values(\n            status",
        (f"{FENCE}:commit",),
    ),
    Mutant(
        "commit without the step before", HOLDING,
        ".where(*fence(rows))\n        .values(\n            status",
        '.where(*fence(rows)[:2], bindparam("from_step", type_=Text).is_distinct_from(""))\n'
        "        .values(\n            status",
        (f"{FENCE}:commit",),
    ),
    Mutant(
        "progress without the token", HOLDING,
        ".where(*fence(rows))\n        .values(status",
        f".where(fence(rows)[0], {_TOKEN}.is_not(None), fence(rows)[2])\n        .values(status",
        (f"{FENCE}:progress",),
    ),
    Mutant(
        "progress without the step before", HOLDING,
        ".where(*fence(rows))\n        .values(status",
        '.where(*fence(rows)[:2], bindparam("from_step", type_=Text).is_distinct_from(""))\n'
        "        .values(status",
        (f"{FENCE}:progress",),
    ),
    Mutant(
        "settle without the token", ENDING,
        "ends, and_(q.c.id == ends.c.id, q.c.lease_token == ends.c.token)",
        "ends, q.c.id == ends.c.id",
        (f"{FENCE}:settle",),
    ),
    Mutant(
        "adopt without the token", CLAIMING,
        f"queue.rows.c.lease_token == {_TOKEN}",
        f"{_TOKEN}.is_not(None)",
        (f"{CLAIM}:adopted",),
    ),
    Mutant(
        "a lost commit recognised without the token", LEASES,
        "found.lease_token == lease.token and ",
        "",
        (f"{FENCE}:taken_for_committed",),
    ),
    Mutant(
        "a lost commit recognised without the step", LEASES,
        " and found.step == step",
        "",
        (f"{FENCE}:repeated",),
    ),
    Mutant(
        "a refused commit goes unnoticed", LEASES,
        """    if session.execute(sql.commit_step(lease.queue), params).first() is None:
        raise""",
        """    if session.execute(sql.commit_step(lease.queue), params).first() is None and False:
        raise""",
        (f"{FENCE}:commit",),
    ),
    Mutant(
        "no adoption after a claim without an answer", TURNING,
        "leases.adopt(session, self.queue, request.token)",
        "[]",
        (f"{DAEMON}:hears_no_answer",),
    ),
    Mutant(
        "no question after a commit without an answer", COMMITTING,
        "lambda session: leases.had_committed(session, lease, step.stage)",
        "lambda _session: False",
        (f"{DAEMON}:hears_no_answer",),
    ),
    Mutant(
        "history tells of what was locked, whether it was settled or not", ENDING,
        "write_attempts(queue, settled, *(settled.c[name]",
        "write_attempts(queue, locked, *(locked.c[name]",
        (f"{TURNS}:written_after_a_turn",),
    ),
    Mutant(
        "nobody looks whether the one thread that runs is quick", CREW,
        "if all(began > recently for _, began in self._running.values()):",
        "if recently:",
        (f"{DAEMON}:slow_rows_behind",),
    ),
    Mutant(
        "steps that were not stored early count as stored", COMMITTING,
        "self._doubtful = not self._sent()",
        "self._doubtful = self._sent() is None",
        (f"{RIDERS}:answer_that_is_lost",),
    ),
    Mutant(
        "steps of a row that stalled before wait", COMMITTING,
        "seconds < PATIENCE and lease.stalls == 0",
        "seconds < PATIENCE",
        (f"{RIDERS}:stalled",),
    ),
    Mutant(
        "steps that wait are dropped where the next one fails", EXECUTOR,
        "            self._committer.store(riders)\n        except (LeaseLost, Stopped):",
        "            pass\n        except (LeaseLost, Stopped):",
        (f"{RIDERS}:however",),
    ),
    Mutant(
        "what waits is answered for a row that is lost", WRITES,
        'HELD: Final = "lease_token = CAST(%(token)s AS uuid) AND step',
        'HELD: Final = "lease_token = CAST(%(token)s AS uuid) OR step',
        (f"{RIDERS}:behind_a_commit",),
    ),
    Mutant(
        "rows are written without their fence", WRITES,
        'OURS: Final = "xmin = pg_current_xact_id()::xid"',
        'OURS: Final = "true"',
        (f"{WRITTEN}:lease",),
    ),
)  # fmt: skip

LOCKING: Final = (
    Mutant(
        "claim waits for locked rows", CLAIMING,
        _CLAIM_LOCK, _CLAIM_LOCK.replace(", skip_locked=True", ""),
        (f"{CLAIM}:never_waits",),
    ),
    Mutant(
        "claim does not lock", CLAIMING,
        _CLAIM_LOCK, _CLAIM_LOCK.partition("\n")[0] + "\n",
        (f"{CLAIM}:never_waits",),
    ),
    Mutant(
        "claim locks against children too", CLAIMING,
        _CLAIM_LOCK, _CLAIM_LOCK.replace("key_share=True, ", ""),
        (f"{CLAIM}:uncommitted_insert",),
    ),
    Mutant(
        "claim of a suspect waits for locked rows", CLAIMING,
        _SUSPECT_LOCK, _SUSPECT_LOCK.replace(", skip_locked=True", ""),
        (f"{LOCKS}:suspect",),
    ),
    Mutant(
        "claim of a suspect does not lock", CLAIMING,
        _SUSPECT_LOCK, _SUSPECT_LOCK.partition("\n")[0] + "\n",
        (f"{LOCKS}:suspect",),
    ),
    Mutant(
        "heartbeat waits for locked rows", HOLDING,
        _HEARTBEAT_LOCK, _HEARTBEAT_LOCK.replace(", skip_locked=True", ""),
        (f"{FENCE}:skips",),
    ),
    Mutant(
        "heartbeat does not lock", HOLDING,
        _HEARTBEAT_LOCK, "",
        (f"{FENCE}:skips",),
    ),
    Mutant(
        "reap waits for locked rows", ENDING,
        _REAP_LOCK, _REAP_LOCK.replace(", skip_locked=True", ""),
        (f"{REAP}:locked",),
    ),
    Mutant(
        "reap does not lock", ENDING,
        _REAP_LOCK, _REAP_LOCK.partition("\n")[2],
        (f"{REAP}:locked",),
    ),
    Mutant(
        "reap locks what it chose and does not look again", ENDING,
        _REAP_LOCK, _LOCKED_LATER,
        (f"{LOCKS}:reaped",),
    ),
    Mutant(
        "two reapers at a table", ENDING,
        'func.pg_try_advisory_xact_lock(func.hashtextextended(f"reap {table}", 0))',
        'func.hashtextextended(f"reap {table}", 0) == func.hashtextextended(f"reap {table}", 0)',
        (f"{REAP}:second_reaper",),
    ),
    *(
        mutant
        for name, lock, test in (
            ("settle", _SETTLE_LOCK, "settle"),
            ("cancel", _CANCEL_LOCK, "cancel"),
            ("requeue", _REQUEUE_LOCK, "requeue"),
        )
        for mutant in (
            Mutant(
                f"{name} locks in any order", ENDING, lock, lock.replace(_ORDER, ""),
                (f"{LOCKS}:lowest_id and {test}",),
            ),
            Mutant(
                f"{name} does not lock", ENDING, lock, lock.replace(_LOCK, ""),
                (f"{LOCKS}:waited and {test}",),
            ),
        )
    ),
)  # fmt: skip

STALLS: Final = (
    Mutant(
        "reap of living leases", ENDING,
        "or_(q.c.lease_expires_at < CLOCK, ",
        "or_(q.c.lease_expires_at.is_not(None), ",
        (f"{REAP}:living",),
    ),
    Mutant(
        "reap without a horizon", ENDING,
        ", q.c.progressed_at < CLOCK - longest)",
        ")",
        (f"{REAP}:progress",),
    ),
    Mutant(
        "reap right after the server's start", ENDING,
        'func.pg_postmaster_start_time() < CLOCK - bindparam("ttl", type_=Interval)',
        'bindparam("ttl", type_=Interval).is_not(None)',
        (f"{REAP}:servers_start",),
    ),
    Mutant(
        "reap burns the attempt", ENDING,
        "func.greatest(rows.c.attempts - 1, 0)",
        "rows.c.attempts",
        (f"{REAP}:handed_back",),
    ),
    Mutant(
        "reap counts no stall", ENDING,
        "stalls=rows.c.stalls + 1",
        "stalls=rows.c.stalls",
        (f"{REAP}:handed_back",),
    ),
    Mutant(
        "poison one stall early", ENDING,
        "poison = stale.c.stalls >= SUSPECT_STALLS",
        "poison = stale.c.stalls >= SUSPECT_STALLS - 1",
        (f"{REAP}:poison",),
    ),
    Mutant(
        "poison one stall late", ENDING,
        "poison = stale.c.stalls >= SUSPECT_STALLS",
        "poison = stale.c.stalls > SUSPECT_STALLS",
        (f"{REAP}:poison",),
    ),
    Mutant(
        "a death beside neighbours convicts", SETTLEMENTS,
        "    if lease.suspect:\n",
        "    if lease.stalls >= 1:\n",
        (f"{SETTLE}:death",),
    ),
    Mutant(
        "a death alone does not convict", SETTLEMENTS,
        "    if lease.suspect:\n",
        "    if lease.stalls > 2:\n",
        (f"{SETTLE}:death",),
    ),
    Mutant(
        "suspects in the ordinary claim", LANES,
        "rows.c.stalls < literal(SUSPECT_STALLS, literal_execute=True)",
        "rows.c.stalls >= 0",
        (f"{CLAIM}:suspect",),
    ),
    Mutant(
        "innocent rows among the suspects", CLAIMING,
        "rows.c.stalls >= literal(SUSPECT_STALLS, literal_execute=True)",
        "rows.c.stalls >= 0",
        (f"{CLAIM}:suspect",),
    ),
    Mutant(
        "a commit clears no stall", HOLDING,
        "            stalls=0,\n",
        "",
        (f"{SETTLE}:innocent",),
    ),
    Mutant(
        "a release burns the attempt", SETTLEMENTS,
        "None, None, attempts=lease.attempts - 1, stalls=lease.stalls",
        "None, None, attempts=lease.attempts, stalls=lease.stalls",
        (f"{SETTLE}:release",),
    ),
)  # fmt: skip

FREEZES: Final = (
    Mutant(
        "anybody may judge", ENDING,
        "            may_judge(),\n",
        "",
        (f"{REAP}:steady_contact",),
    ),
    Mutant(
        "who has just come back may judge", ENDING,
        "            Worker.steady_since < CLOCK - ttl,\n",
        "",
        (f"{REAP}:steady_contact",),
    ),
    Mutant(
        "who is late may judge", ENDING,
        '            Worker.heartbeat_at > CLOCK - bindparam("late", type_=Interval),\n',
        "",
        (f"{REAP}:steady_contact",),
    ),
    Mutant(
        "a late beat is as good as one in time", FLEET,
        "steady = case((in_time, Worker.steady_since), else_=func.clock_timestamp())",
        "steady = case((in_time, Worker.steady_since), else_=Worker.steady_since)",
        (f"{REAP}:steady_contact",),
    ),
    Mutant(
        "a worker reaps in nobody's name", REAPING,
        "worker=self._worker",
        "worker=None",
        (f"{DAEMON}:judges",),
    ),
    Mutant(
        "a frozen transaction keeps its locks", DATABASE,
        'f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}; "',
        '"SET LOCAL idle_in_transaction_session_timeout = 0; "',
        (f"{FENCE}:freezes",),
    ),
    Mutant(
        "a statement may take for ever", DATABASE,
        'f"SET LOCAL statement_timeout = {max(1, milliseconds // 2)}; "',
        '"SET LOCAL statement_timeout = 0; "',
        (f"{FENCE}:cancelled_after",),
    ),
    Mutant(
        "a worker's transactions have no limits", WORKER,
        "make_sessions(engine, limit=policy.ttl)",
        "make_sessions(engine)",
        (f"{KILLS}:frozen",),
    ),
)  # fmt: skip

MUTANTS: Final = (*FENCES, *LOCKING, *STALLS, *FREEZES)
