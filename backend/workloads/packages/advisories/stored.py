"""An advisory as it is stored, and back."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from backend.workloads.packages.scanning.findings import Severity
from backend.workloads.packages.scanning.osv_record import Advisory, Affected, RecordError

LONGEST_NAME = 214  # characters; npm's own limit


def staged(advisory: Advisory) -> str:
    """All that is kept of an advisory, as JSON text that PostgreSQL takes.

    ``packages`` holds the blocks of each name that a package could have.

    Raises:
        RecordError: it holds a character that cannot be stored.
    """
    packages: dict[str, list[dict[str, Any]]] = {}
    for block in advisory.affected:
        if len(block.name) <= LONGEST_NAME:
            packages.setdefault(block.name, []).append(_block(block))
    record = {
        "id": advisory.id,
        "aliases": advisory.aliases,
        "title": advisory.title,
        "severity": advisory.severity,
        "withdrawn": advisory.withdrawn,
        "modified_at": advisory.modified.isoformat() if advisory.modified else None,
        "packages": packages,
    }
    text = json.dumps(record, ensure_ascii=False)
    if "\\u0000" in text or not _encodes(text):
        raise RecordError("it holds a character that cannot be stored")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"digest": "{digest}", {text[1:]}'


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _block(block: Affected) -> dict[str, Any]:
    return {"ranges": block.ranges, "versions": block.versions, "severity": block.severity}


def restored(name: str, record: Mapping[str, Any]) -> Advisory:
    """The advisory in what it says of one package.

    Args:
        name: the package's.
        record: ``id``, ``aliases``, ``title``, ``severity`` and ``affected``, as stored.
    """
    return Advisory(
        id=record["id"],
        aliases=tuple(record["aliases"]),
        title=record["title"],
        severity=Severity(record["severity"]),
        modified=None,
        withdrawn=False,
        affected=tuple(
            Affected(
                name=name,
                ranges=tuple(
                    None if events is None else tuple((kind, text) for kind, text in events)
                    for events in block["ranges"]
                ),
                versions=tuple(block["versions"]),
                severity=Severity(block["severity"]),
            )
            for block in record["affected"]
        ),
    )
