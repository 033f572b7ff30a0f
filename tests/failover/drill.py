"""The primary dies amid submissions and its standby takes over; then everything is counted."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from backend.embedded.installation import Installation
from tests.chaos.proxy import Proxy
from tests.command_line import lockkeeper
from tests.failover.cluster import Node, pair, until, url_of
from tests.failover.house import House, Load, when

Mode = Literal["sync", "async"]

FATE: Final = """
SELECT t.task_id::text, t.id, t.status,
       count(a.*) AS attempts, count(a.*) FILTER (WHERE a.outcome = 'done') AS done
FROM tasks t LEFT JOIN attempts a ON a.queue = 'tasks' AND a.row_id = t.id GROUP BY t.id
"""
FIRST_CLAIM: Final = """
SELECT extract(epoch FROM min(started_at)) FROM attempts
WHERE queue = 'tasks' AND started_at > to_timestamp(%s)
"""
PICKED_UP: Final = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM a.started_at - t.created_at))
FROM tasks t JOIN attempts a ON a.queue = 'tasks' AND a.row_id = t.id AND a.attempt = 1
WHERE t.created_at > to_timestamp(%s)
"""
LISTENING: Final = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
CONNECTED: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'lockkeeper%' OR application_name LIKE 'worker-%'
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds: of load before the fault, ``behind`` without the standby, until it is promoted."""

    mode: Mode
    rate: float = 30.0
    before: float = 5.0
    behind: float = 0.0
    detect: float = 2.0
    after: float = 5.0


@dataclass
class Report:
    """What happened, in seconds from the kill, and what became of each submission."""

    plan: Plan
    timeline: dict[str, float] = field(default_factory=dict)
    accepted: int = 0
    lost: int = 0
    lost_window: float = 0.0
    unanswered: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    done: Counter[int] = field(default_factory=Counter)
    picked_up: float = 0.0
    seen: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        moments = sorted(self.timeline.items(), key=lambda moment: moment[1])
        said = [f"{self.plan.mode}hronous replication, {self.plan.rate:.0f} submissions a second"]
        said += [f"  {at:+8.2f} s  {what}" for what, at in moments]
        said += [
            f"  accepted {self.accepted}, lost {self.lost}"
            + (f" (the last {self.lost_window:.2f} s before the kill)" if self.lost else ""),
            f"  stored without an answer to its caller: {self.unanswered}",
            f"  refused, by status (0: no answer): {dict(self.refused)}",
            f"  ends: {dict(self.ends)}",
            f"  attempts a row: {dict(self.attempts)}; of these done: {dict(self.done)}",
            f"  picked up, once that is over, after {self.picked_up * 1000:.0f} ms (median)",
        ]
        said += [f"  {what}: {found}" for what, found in self.seen.items()]
        return said + [f"  BROKEN: {promise}" for promise in self.broken]


@contextmanager
def _standby(one: Node, two: Node, plan: Plan) -> Iterator[Proxy]:
    """``two`` follows ``one`` by way of a proxy that can lose what passes."""
    one.create()
    with Proxy(one.port) as link:
        two.follow(one, port=link.port)
        until(lambda: one.is_followed(two), "the standby does not follow")
        if plan.mode == "sync":
            one.wait_for_whom(two.name)
        yield link


def play(plan: Plan, found: Installation, servers: Path, folder: Path) -> Report:
    """One fail-over, from two empty servers to the last row; ``servers`` is open to other users."""
    report = Report(plan)
    with ExitStack() as running:
        one, two = running.enter_context(pair(servers, found))
        link = running.enter_context(_standby(one, two, plan))
        house = running.enter_context(House(url_of(one, two), folder))
        load = running.enter_context(Load(house, plan.rate))
        killed = _fail_over(plan, report, one, two, link, load)
        load.finish()
        report.timeline["the load ends"] = time.time() - killed
        _wait_for_all(two, load)
        report.timeline["all that was accepted and is there has ended"] = time.time() - killed
        _judge(report, two, load, killed)
        _look_around(report, one, two, house, load)
        if not house.alive:
            report.broken.append("a process of the house has ended")
    return report


def _fail_over(plan: Plan, report: Report, one: Node, two: Node, link: Proxy, load: Load) -> float:
    """Until submissions are accepted again and were for a while; answers when the kill was."""
    pause = threading.Event()
    until(lambda: load.accepted, "nothing is accepted")
    pause.wait(plan.before)
    cut = time.time()
    if plan.behind:
        link.blackhole(3600)
        pause.wait(plan.behind)
    one.kill()
    killed = time.time()
    pause.wait(plan.detect)
    last = max(load.accepted, key=when)
    asked = time.time()
    two.promote()
    promoted = time.time()
    until(lambda: load.since(asked), "nothing is accepted any more")
    first = load.since(asked)
    assert first is not None
    until(lambda: two.ask(FIRST_CLAIM, killed), "nothing is claimed any more")
    report.timeline = {
        **({"the standby's link is cut": cut - killed} if plan.behind else {}),
        "the last submission is accepted": last.at - killed,
        "the primary is killed": 0.0,
        "the standby is told to take over": asked - killed,
        "it has taken over": promoted - killed,
        "the first submission is accepted": first.at - killed,
        "the first row is claimed": float(two.ask(FIRST_CLAIM, killed)) - killed,
    }
    pause.wait(plan.after)
    return killed


def _wait_for_all(two: Node, load: Load) -> None:
    ids = [accepted.task_id for accepted in load.accepted]
    waiting = (
        "SELECT count(*) FROM tasks WHERE task_id = ANY(%s::uuid[])"
        " AND status IN ('pending', 'running')"
    )
    until(lambda: two.ask(waiting, ids) == 0, "rows do not end", within=120)


def _judge(report: Report, two: Node, load: Load, killed: float) -> None:
    with two.admin() as cursor:
        cursor.execute(FATE)
        rows = {task_id: rest for task_id, *rest in cursor.fetchall()}
    there = [rows[a.task_id] for a in load.accepted if a.task_id in rows]
    lost = [a for a in load.accepted if a.task_id not in rows]
    report.accepted, report.lost = len(load.accepted), len(lost)
    report.lost_window = killed - min((a.at for a in lost), default=killed)
    report.unanswered = len(rows) - len(there)
    report.refused = Counter(status for _, status in load.refused)
    report.ends = Counter(status for _, status, _, _ in there)
    report.attempts = Counter(attempts for _, _, attempts, _ in there)
    report.done = Counter(done for _, _, _, done in there)
    settled = killed + report.timeline["the first row is claimed"] + 1
    report.picked_up = float(two.ask(PICKED_UP, settled) or 0)
    if set(report.ends) - {"completed"} or set(report.done) - {1}:
        report.broken.append("a row that is there did not end once, and well")
    if lost and report.plan.mode == "sync":
        report.broken.append(f"{len(lost)} submissions were accepted and are lost")
    if report.unanswered:
        report.broken.append("a row nobody was told of, though its caller repeated its key")
    if set(report.refused) - {0, 503}:
        report.broken.append("a submission was refused with another status than 503")


def _look_around(report: Report, one: Node, two: Node, house: House, load: Load) -> None:
    """What callers see of what was lost, who listens, and how the old primary comes back."""
    ids = {a.task_id for a in load.accepted} - set(_task_ids(two))
    lost = [a for a in load.accepted if a.task_id in ids]
    if lost:
        asked = Counter(house.call("GET", f"/api/tasks/status/{a.task_id}")[0] for a in lost)
        report.seen["the status of a lost one is answered with"] = dict(asked)
        taken = two.ask("SELECT count(*) FROM tasks WHERE id = ANY(%s)", [a.row_id for a in lost])
        report.seen["row numbers of lost ones that now mean another row"] = taken
        again = Counter(house.submit(a.key)[0] for a in lost)
        report.seen["the same request with the same key, again"] = dict(again)
    report.seen["workers that listen at the new primary"] = two.ask(LISTENING)
    with one.aside():
        report.seen["lost ones that the old primary's disk still has"] = len(
            ids & set(_task_ids(one))
        )
    one.rewind(two)
    until(lambda: two.is_followed(one), "the old primary does not follow")
    report.seen["the old primary, rewound, follows; connections of the house to it"] = one.ask(
        CONNECTED
    )
    doctor = lockkeeper("doctor", env=house.env)
    report.seen["lockkeeper doctor"] = doctor.returncode
    if doctor.returncode:
        report.broken.append(f"doctor: {doctor.stdout.strip().splitlines()[-1:]}")


def _task_ids(node: Node) -> list[str]:
    with node.admin() as cursor:
        cursor.execute("SELECT task_id::text FROM tasks")
        return [task_id for (task_id,) in cursor]
