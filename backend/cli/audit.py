"""The audit log's chain, in the database of DATABASE_URL or in a file: ``audit``."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.cli.errors import EXIT_CODES, FAILED, OK, CommandError, database_errors
from backend.cli.requests import json_option
from backend.cli.words import count, plain

if TYPE_CHECKING:
    from backend.audit.signing import Signer
    from backend.audit.statements import CheckpointStatement, SealStatement
    from backend.audit.walking import Walk
    from backend.db import Sessions
    from backend.settings import Settings

FILE = click.Path(dir_okay=False, path_type=Path)
output_option = click.option(
    "-o", "--output", "file", type=FILE, required=True, metavar="FILE", help="A new file."
)


@click.group()
def audit() -> None:
    """Verify, export and archive the audit log."""


@audit.command(epilog=EXIT_CODES)
@click.option("--file", type=FILE, metavar="FILE", help="Verify an export or archive instead.")
@click.option(
    "--key", "keys", type=FILE, metavar="PEM", multiple=True,
    help="A public key that you trust, besides AUDIT_SIGNING_KEY_FILE's own.",
)  # fmt: skip
@click.option(
    "--against", "kept", type=FILE, metavar="JSON", multiple=True,
    help="What `audit checkpoint` printed earlier: must be in the chain still.",
)  # fmt: skip
@json_option
def verify(file: Path | None, keys: tuple[Path, ...], kept: tuple[Path, ...], as_json: bool) -> int:
    """Verify that no entry was changed, removed or put in since it was sealed.

    Exits 1 where anything does not fit. The chain alone is consistent with itself; who holds a key
    or an earlier checkpoint outside the database knows more: give them.
    """
    from backend.audit.verification import verify_file
    from backend.audit.walking import Walk

    walk = Walk(trusted=_trusted(keys), witnesses={one.seal: one for one in map(_kept, kept)})
    left: dict[str, Any] = {}
    if file is None:
        left = _verify_database(walk)
    else:
        with database_errors():
            verify_file(file, walk)
    document = _document(walk) | left
    click.echo(json.dumps(document) if as_json else "\n".join(_sentences(document)))
    return FAILED if walk.faults else OK


@audit.command(epilog=EXIT_CODES)
@click.option("-o", "--output", "file", type=FILE, metavar="FILE", help="Instead of printing it.")
def checkpoint(file: Path | None) -> None:
    """Seal what is committed, and print the newest seal as JSON.

    Kept where the database's owners cannot reach, it proves what the log was: see `audit verify
    --against`.
    """
    from backend.audit import sealing
    from backend.audit.statements import CheckpointStatement, SealStatement

    with _database() as (sessions, signer):
        while True:
            with sessions.begin() as session:
                if sealing.seal(session, signer) is None:
                    break
        with sessions.begin() as session:
            seal, archived = sealing.newest(session), sealing.newest_checkpoint(session)
    if seal is not None:
        said = SealStatement.of(seal).model_dump(mode="json")
    elif archived is not None:
        said = CheckpointStatement.of(archived).model_dump(mode="json")
    else:
        raise CommandError("the audit log is empty: there is nothing to seal")
    _put(json.dumps(said), file)


@audit.command(epilog=EXIT_CODES)
@output_option
@click.option("--first", type=click.IntRange(1), metavar="SEAL", help="The first that is there.")
@click.option("--last", type=click.IntRange(1), metavar="SEAL", help="The newest.")
def export(file: Path, first: int | None, last: int | None) -> None:
    """Write sealed entries into FILE, verifiable without the database; removes nothing."""
    from backend.audit import archive as archives

    with _database() as (sessions, _):
        written = archives.export(sessions, file, first=first, last=last)
    click.echo(
        f"wrote seals {written.first} to {written.last} with"
        f" {count(written.entries, 'entry', 'entries')}"
    )


@audit.command(epilog=EXIT_CODES)
@output_option
@click.option("--keep-days", type=click.IntRange(0, 36500), required=True, metavar="DAYS")
@click.option("--dry-run", is_flag=True, help="Only say what would be archived.")
def archive(file: Path, keep_days: int, dry_run: bool) -> None:
    """Move what was sealed more than DAYS days ago into FILE; a signed checkpoint stays."""
    from backend.audit import archive as archives

    keep = timedelta(days=keep_days)
    with _database() as (sessions, signer):
        if dry_run:
            with sessions.begin() as session:
                last = archives.archivable(session, keep)
            click.echo(
                f"would archive everything up to seal {last.id} of {last.sealed_at:%Y-%m-%d}"
            )
            return
        done = archives.archive(sessions, file, keep=keep, signer=signer)
    click.echo(
        f"archived seals {done.written.first} to {done.written.last} with"
        f" {count(done.written.entries, 'entry', 'entries')};"
        f" SHA-256 of the file: {done.checkpoint.file_sha256}"
    )


@contextmanager
def _database() -> "Iterator[tuple[Sessions, Signer | None]]":
    """What commands need, and their errors in one line."""
    from backend.audit.signing import signer
    from backend.db import make_engine, make_sessions

    with database_errors():
        settings = _settings()
        key = signer(settings.audit_signing_key_file)
        engine = make_engine(
            settings.require_database_url(), pool_size=1, application_name="lockkeeper-audit"
        )
        try:
            yield make_sessions(engine), key
        finally:
            engine.dispose()


def _settings() -> "Settings":
    from backend.settings import Settings

    return Settings.load()


def _verify_database(walk: "Walk") -> dict[str, Any]:
    from backend.audit.verification import verify as verify_log

    with _database() as (sessions, _), sessions() as session:
        left = verify_log(session, walk)
    oldest = left.oldest.isoformat() if left.oldest else None
    return {"unsealed": left.entries, "oldest_unsealed": oldest}


def _trusted(files: tuple[Path, ...]) -> set[bytes]:
    from backend.audit.signing import public_key, signer

    with database_errors():
        own = signer(_settings().audit_signing_key_file)
    keys = {own.public_key} if own else set()
    for file in files:
        try:
            keys.add(public_key(file.read_bytes()))
        except ValueError:
            raise CommandError(f"{file} holds no Ed25519 key in PEM") from None
    return keys


def _kept(file: Path) -> "SealStatement | CheckpointStatement":
    from pydantic import ValidationError

    from backend import strictjson
    from backend.audit.signing import verifies
    from backend.audit.statements import HEAD
    from backend.problems import Malformed

    try:
        kept = HEAD.validate_python(strictjson.loads(file.read_bytes()))
    except (ValidationError, Malformed):
        raise CommandError(f"{file} is nothing that `audit checkpoint` printed") from None
    if kept.signature is not None and not verifies(kept):
        raise CommandError(f"{file} has a signature that is not its key's")
    return kept


def _document(walk: "Walk") -> dict[str, Any]:
    return {
        "ok": not walk.faults,
        "entries": walk.entries,
        "seals": walk.seals,
        "begins_after": walk.seal - walk.seals,
        "seal": walk.seal,
        "total": walk.total,
        "head": walk.head.hex(),
        "signed": walk.signed,
        "attested": walk.attested if walk.trusted else None,
        "keys": sorted(walk.keys),
        "unchecked": sorted(walk.witnesses),
        "faults": walk.faults,
    }


def _sentences(found: dict[str, Any]) -> Iterator[str]:
    entries, seals = count(found["entries"], "entry", "entries"), count(found["seals"], "seal")
    archived = f", after {count(found['begins_after'], 'archived seal')}"
    yield f"{entries} in {seals}{archived if found['begins_after'] else ''}. Head: {found['head']}"
    yield _signatures(found)
    if found.get("unsealed"):
        waiting = count(found["unsealed"], "entry", "entries")
        yield f"Not sealed yet: {waiting}, the oldest of {found['oldest_unsealed']}."
    for seal in found["unchecked"]:
        yield f"Not compared: seal {seal}, which lies in another archive."
    yield from (f"WRONG: {plain(fault, limit=500)}" for fault in found["faults"])
    if found["ok"]:
        yield "All fits."


def _signatures(found: dict[str, Any]) -> str:
    if not found["signed"]:
        return "Not signed: whoever may write to the database can forge all of it."
    by = f"up to seal {found['signed']} by {', '.join(found['keys'])}"
    if found["attested"] is None:
        return f"Signed {by}; no key was given to compare with."
    return f"Signed {by}; a key that was given vouches up to seal {found['attested']}."


def _put(line: str, file: Path | None) -> None:
    if file is None:
        click.echo(line)
        return
    with file.open("x") as out:
        out.write(f"{line}\n")
