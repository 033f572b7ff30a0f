"""Small installations for tests: conf files as text, by their paths below ``etc/``."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.workloads.splunk.conf.parsing import parse
from backend.workloads.splunk.model import IngestionRun, RunFile, RunStanza
from backend.workloads.splunk.places import Layer, Place, PlacedStanza, Scope
from backend.workloads.splunk.resolution.effective import Configuration

LAYERS: Final = {
    "apps": Layer.APP,
    "deployment-apps": Layer.DEPLOYMENT_APP,
    "manager-apps": Layer.MANAGER_APP,
    "peer-apps": Layer.PEER_APP,
}


def place_of(path: str) -> Place:
    """Where ``system/…``, ``users/USER/APP/…`` and ``apps/APP/SCOPE/…`` stand."""
    top, *parts = path.split("/")[:-1]
    if top == "system":
        return Place(Layer.SYSTEM, Scope(parts[0]))
    if top == "users":
        return Place(Layer.USER, Scope.USERS, app=parts[1], user=parts[0])
    return Place(LAYERS[top], Scope(parts[1]), app=parts[0])


def placed(files: Mapping[str, str]) -> Iterator[PlacedStanza]:
    """The stanzas of files, read by the product's own parser."""
    for path, text in files.items():
        stem, _, suffix = path.rpartition("/")[2].rpartition(".")
        for it in parse(text.encode()).stanzas:
            conf_type = "meta" if suffix == "meta" else stem
            yield PlacedStanza(
                place_of(path), conf_type, it.name, path, it.line, it.settings, it.lines
            )


def installation(files: Mapping[str, str]) -> Configuration:
    return Configuration(placed(files))


def store(session: Session, files: Mapping[str, str], *, by: int, **values: Any) -> int:
    """A run of the user ``by`` that is parsed: its rows, without an archive; answers its id."""
    run = IngestionRun(
        **{
            "status": "complete", "type": "instance_etc", "filename": "etc.tgz",
            "uploaded_by": by, "completed_at": datetime.now(UTC), "archive_kind": "tar.gz",
            "files_parsed": len(files), "stanzas_created": 0, "parse_errors": 0,
            "duration_seconds": 0.1,
            **values,
        }
    )  # fmt: skip
    session.add(run)
    session.flush()
    add_rows(session, run.id, files)
    return run.id


def add_rows(session: Session, run_id: int, files: Mapping[str, str]) -> None:
    """What a parse writes of these files, without the typed columns."""
    stanza_no = count(1)
    for file_no, (path, text) in enumerate(files.items(), 1):
        found = list(placed({path: text}))
        where = place_of(path)
        standing = {
            "layer": where.layer, "scope": where.scope, "app": where.app, "user_name": where.user
        }  # fmt: skip
        kind = "meta" if path.endswith(".meta") else "conf"
        conf_type = "meta" if kind == "meta" else path.rpartition("/")[2].removesuffix(".conf")
        known = {"sha256": "0" * 64, "size_bytes": len(text), "conf_type": conf_type}
        session.add(
            RunFile(run_id=run_id, file_no=file_no, path=path, kind=kind, **known, **standing)
        )
        session.flush()
        session.add_all(
            RunStanza(
                run_id=run_id, stanza_no=next(stanza_no), file_no=file_no, order_in_file=number,
                line=it.line, conf_type=conf_type, name=it.name, raw_kv=it.settings,
                lines=it.lines, **standing,
            )
            for number, it in enumerate(found)
        )  # fmt: skip
    session.flush()
