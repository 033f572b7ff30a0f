"""What PostgreSQL gives a bare loop: ``python -m tests.benchmark.floor URL [options]``.

One prepared statement a round trip settles the last batch and claims the next, in autocommit: no
history, no heartbeat, no wake-up, nobody else's errors, and no Python around it but the loop. It
keeps and clears the tokens and fills every column that the table's CHECKs ask for. It knows the
one lane that its rows are in.

It says ``ready`` on its standard output, begins at a line on its standard input, and is through
when the queue is empty, unless it is to stay. Four times a second it says how many rows it has
settled. With ``--listen`` it waits for notifications instead, and says when it began on each row.
"""

import argparse
import select
import sys
import threading
import time
from typing import Any, Final
from uuid import uuid4

import psycopg2
from psycopg2.errors import DeadlockDetected

SAY_EVERY: Final = 0.25  # seconds
CHANNEL: Final = "bench"
EMPTY: Final = 0.001  # seconds to the next look at an empty queue, where more rows are to come

SETTINGS: Final = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off"
)

TURN: Final = """
PREPARE turn(bigint[], uuid[], uuid) AS
WITH settled AS (
  UPDATE bench SET status = 'closed', completed_at = clock_timestamp(),
    lease_token = NULL, leased_by = NULL, lease_expires_at = NULL, heartbeat_at = NULL
  FROM unnest($1, $2) AS ends(id, token)
  WHERE bench.id = ends.id AND bench.lease_token = ends.token
)
UPDATE bench SET status = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
  lease_token = $3, leased_by = 'floor', heartbeat_at = clock_timestamp(),
  lease_expires_at = clock_timestamp() + interval '12 s'
WHERE id = ANY (ARRAY(
  SELECT id FROM bench
  WHERE status = 'open' AND stalls < 2 AND queue = 'alpha' AND priority = 5
    AND fairness_key = 'key 0' AND available_at <= now()
  ORDER BY available_at, id
  LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id
"""


class Loop:
    """One connection that settles and claims until it is told to stop."""

    def __init__(self, url: str, limit: int) -> None:
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True
        self._cursor = self.connection.cursor()
        self._cursor.execute(SETTINGS)
        self._cursor.execute(TURN.format(limit=limit))
        self._held: list[Any] = []
        self._token = uuid4()
        self.settled = 0

    def turn(self) -> bool:
        """Settle what is held and claim the next rows; False where there are none."""
        token = uuid4()
        held = ",".join([str(row[0]) for row in self._held])
        tokens = ",".join([str(self._token)] * len(self._held))
        self._execute(f"EXECUTE turn('{{{held}}}', '{{{tokens}}}', '{token}')")
        self.settled += len(self._held)
        self._held, self._token = self._cursor.fetchall(), token
        return bool(self._held)

    def _execute(self, statement: str) -> None:
        """Until it is taken: a claim may lock rows that it rejects, and a settle waits for them."""
        while True:
            try:
                return self._cursor.execute(statement)
            except DeadlockDetected:
                continue

    def run(self, *, stay: bool) -> None:
        """Work until the queue is empty; for ever where it is to ``stay``."""
        while self.turn() or stay:
            if not self._held:
                time.sleep(EMPTY)

    def close(self) -> None:
        self._cursor.close()
        self.connection.close()


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def serve(url: str, limit: int, threads: int, *, stay: bool) -> None:
    loops = [Loop(url, limit) for _ in range(threads)]
    workers = [
        threading.Thread(target=loop.run, kwargs={"stay": stay}, daemon=True) for loop in loops
    ]
    say("ready")
    sys.stdin.readline()
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            worker.join(SAY_EVERY)
            say(sum(loop.settled for loop in loops))
    for loop in loops:
        loop.close()
    sys.stdin.read()  # its processor time can be read for as long as it lives


def serve_hints(url: str, limit: int) -> None:
    """The idle loop: asleep in select() until it is notified; CLOCK_MONOTONIC at each row."""
    loop = Loop(url, limit)
    connection = loop.connection
    connection.cursor().execute(f"LISTEN {CHANNEL}")
    say("ready")
    while True:
        select.select([connection], [], [])
        connection.poll()
        if connection.notifies:
            connection.notifies.clear()
            while loop.turn():
                say(time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stay", action="store_true")
    parser.add_argument("--listen", action="store_true")
    asked = parser.parse_args()
    if asked.listen:
        serve_hints(asked.url, asked.batch)
    else:
        serve(asked.url, asked.batch, asked.threads, stay=asked.stay)


if __name__ == "__main__":
    main()
