"""What is hashed, to the byte. ``docs/audit.md`` says the same in words.

A line is an entry as one JSON object in bytes. The chain begins with 32 zero bytes; each entry's
link is SHA-256 over the link before it and the SHA-256 of its line. A seal's head is the link of
its last entry.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

GENESIS: Final = bytes(32)

COLUMNS: Final = """
  entry.id, entry.xid,
  to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at,
  entry.actor_id, entry.actor, entry.action, entry.subject, CAST(entry.detail AS text) AS detail
"""
"""Of ``audit_log AS entry``: what :func:`line` needs. PostgreSQL writes a jsonb one way only."""


def line(row: Any) -> bytes:
    """The entry of a row that has :data:`COLUMNS`, without an end of line."""
    actor_id = "null" if row.actor_id is None else row.actor_id
    actor, action, subject = map(json.dumps, (row.actor, row.action, row.subject))
    return (
        f'{{"id":{row.id},"xid":{row.xid},"at":"{row.at}","actor_id":{actor_id},"actor":{actor},'
        f'"action":{action},"subject":{subject},"detail":{row.detail}}}'
    ).encode()


def link(before: bytes, entry: bytes) -> bytes:
    """The link of an entry, given by its line, after the link ``before``."""
    return sha256(before + sha256(entry).digest()).digest()


def head(before: bytes, lines: Iterable[bytes]) -> bytes:
    """The link of the last of ``lines``; ``before`` where there is none."""
    for one in lines:
        before = link(before, one)
    return before
