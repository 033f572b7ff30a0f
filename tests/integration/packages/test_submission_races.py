"""Uploads, withdrawals and workers at the same time: no deadlock, nothing stranded."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy.orm import Session

from backend.queue import leases
from backend.queue.leases import Lease
from backend.workloads.packages.recording import save_download
from backend.workloads.packages.steps.download import DownloadResult
from tests.integration.packages.house import House, Lock, lock_of, multipart, wait_until
from tests.registry_server import integrity

ROUNDS = 6


def uploading(house: House, lock: Lock, *, token: str) -> int:
    """An upload from a thread of its own; answers the status code."""
    headers = {"Authorization": f"Bearer {token}"}
    client = house.app.test_client()
    return client.post("/api/packages/upload", headers=headers, **multipart(lock)).status_code


def withdrawing(house: House, request_id: int, *, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/api/packages/requests/{request_id}/withdraw"
    return house.app.test_client().post(path, headers=headers).status_code


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run all at once, each in its thread, and give back what they answered."""
    start = Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


def pinned(house: House, names: list[str]) -> Lock:
    return lock_of({name: house.entry(name, tarball=name.encode()) for name in names})


def deadlocks(house: House) -> int:
    house.database.run("SELECT pg_stat_clear_snapshot()")
    count: int = house.database.one(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return count


@contextmanager
def without_deadlock(house: House) -> Iterator[None]:
    before = deadlocks(house)
    yield
    assert deadlocks(house) == before


def test_uploads_of_one_lock_in_different_orders_do_not_deadlock(house: House) -> None:
    tokens = [house.people.user.token, house.people.other.token, house.people.admin.token]
    with without_deadlock(house):
        for turn in range(ROUNDS):
            names = [f"p{turn}-{number}" for number in range(300)]
            locks = [pinned(house, random.sample(names, len(names))) for _ in tokens]
            answers = together(
                *(
                    partial(uploading, house, lock, token=token)
                    for lock, token in zip(locks, tokens, strict=True)
                )
            )
            assert answers == [202, 202, 202]

    assert house.database.one("SELECT count(*) FROM package_status") == 300 * ROUNDS
    assert house.database.one("SELECT count(*) FROM request_packages") == 900 * ROUNDS
    assert house.database.one("SELECT count(*) FROM request_packages WHERE type = 'new'") == (
        300 * ROUNDS
    )


def test_a_withdrawal_beside_an_upload_never_strands_a_package(house: House) -> None:
    token, other = house.people.user.token, house.people.other.token
    with without_deadlock(house):
        for turn in range(ROUNDS * 3):
            lock = pinned(house, [f"w{turn}-{number}" for number in range(20)])
            request_id = house.submit(lock)
            answers = together(
                partial(withdrawing, house, request_id, token=token),
                partial(uploading, house, lock, token=other),
            )
            assert answers == [200, 202]

    stranded = house.database.one(
        "SELECT count(*) FROM package_status s WHERE s.status <> 'Requested' AND EXISTS ("
        " SELECT FROM request_packages p JOIN requests r ON r.id = p.request_id"
        " WHERE p.artifact_id = s.artifact_id AND r.withdrawn_at IS NULL)"
    )
    assert stranded == 0


def a_download_in_commit(house: House, lease: Lease, sha512: str) -> Callable[[Session], None]:
    """The second half of the transaction in which a worker records a download."""
    result = DownloadResult(sha512=sha512, size=1, checked="none", registry_agrees=None)

    def finish(session: Session) -> None:
        save_download(session, lease, result)

    return finish


def settled_or_waiting(house: House, future: Future[Any]) -> bool:
    """Whether a request has ended, or waits for a lock of somebody else's."""
    return future.done() or bool(
        house.database.one(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize("what", ["upload", "withdraw", "upload of the twin"])
def test_a_worker_that_records_a_download_and_a_caller_of_the_api_do_not_deadlock(
    house: House, what: str
) -> None:
    tarball = house.publish("left")
    weak = lock_of({"left": house.entry("left", integrity=integrity(tarball, "sha1"))})
    strong = lock_of({"left": house.entry("left", tarball=tarball)})
    if what == "upload of the twin":
        house.vet(strong)
    request_id = house.submit(weak)
    (lease,) = house.worker.claim()
    licensed = leases.advanced(lease)
    with house.sessions.begin() as session:
        leases.commit(session, lease)
    (path,) = (house.folder / "cache" / "sha512").glob("*/*") if what.endswith("twin") else (None,)
    finish = a_download_in_commit(house, licensed, path.name if path else "0" * 128)
    token = house.people.user.token

    call = (
        partial(withdrawing, house, request_id, token=token)
        if what == "withdraw"
        else partial(uploading, house, weak, token=token)
    )
    with without_deadlock(house), ThreadPoolExecutor(1) as pool:
        with house.sessions.begin() as session:
            leases.commit(session, licensed)
            calling = pool.submit(call)
            wait_until(
                lambda: settled_or_waiting(house, calling), seconds=10, what="the call to wait"
            )
            finish(session)
        assert calling.result(timeout=10) in {200, 202}

    statuses = {package["status"] for package in house.detail(request_id)["packages"]}
    expected = {
        "upload": {"Downloaded"}, "withdraw": {"Rejected"},
        "upload of the twin": {"Pending Approval"},
    }  # fmt: skip
    assert statuses == expected[what]
