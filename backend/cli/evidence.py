"""What a request leaves behind: ``evidence``, ``evidence verify``, ``why``."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from backend.cli.account import url_option
from backend.cli.client import Client
from backend.cli.errors import EXIT_CODES, FAILED, WRONG_USAGE, CommandError
from backend.cli.new_file import download
from backend.cli.requests import caller, json_option
from backend.cli.words import count, plain

if TYPE_CHECKING:
    from backend.workloads.packages.evidence.verification import Verified

FILE: Final = click.Path(dir_okay=False, path_type=Path)
EXPORT: Final = "export"
LONGEST_KEY: Final = 64 * 1024  # bytes of a PEM file


class _Evidence(click.Group):
    """``evidence 7`` is short for ``evidence export 7``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        named = args[0] in self.commands
        return super().resolve_command(ctx, args if named else [EXPORT, *args])


@click.group(cls=_Evidence, short_help="Download a request's evidence, or verify it.")
def evidence() -> None:
    """Evidence of a request: SBOMs, licences, findings, decisions, policy, hashes, in one zip.

    `lockkeeper evidence REQUEST -o FILE` is short for `lockkeeper evidence export`.
    """


@evidence.command(EXPORT, short_help="Download the bundle of a request.", epilog=EXIT_CODES)
@click.argument("request_id", type=click.IntRange(min=1))
@click.option(
    "-o", "--output", required=True, type=FILE,
    metavar="FILE",
    help="A new file.",
)  # fmt: skip
@url_option
def export(request_id: int, output: Path, url: str | None) -> None:
    """Write the evidence bundle of REQUEST_ID to a file."""
    size = download(caller(url), f"/api/packages/requests/{request_id}/evidence", output)
    click.echo(f"{plain(str(output))}: evidence of request {request_id}, {size} bytes")


@evidence.command(short_help="Check a bundle, offline.", epilog=EXIT_CODES)
@click.argument("file", type=FILE)
@click.option(
    "--key", type=FILE, metavar="PEM",
    help="The public key that must have signed it.",
)  # fmt: skip
@json_option
def verify(file: Path, key: Path | None, as_json: bool) -> None:
    """Check that FILE is whole, and what was made; needs no server.

    Without --key a signature is checked against the key that the bundle itself names.
    """
    from backend.problems import Problem
    from backend.workloads.packages.evidence import verification

    trusted = None if key is None else _public_key(key)
    try:
        found = verification.verify(file, key=trusted)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}", WRONG_USAGE) from None
    except Problem as error:
        raise CommandError(f"{file}: {error.detail}", FAILED) from None
    if as_json:
        seal = found.seal.model_dump(mode="json") if found.seal else None
        click.echo(json.dumps({**asdict(found), "seal": seal}))
    else:
        click.echo("\n".join(_told(found, trusted=trusted is not None)))


def _public_key(file: Path) -> bytes:
    from backend.audit import signing

    try:
        with file.open("rb") as stream:
            return signing.public_key(stream.read(LONGEST_KEY))
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}", WRONG_USAGE) from None
    except ValueError:
        raise CommandError(f"{file} holds no Ed25519 key in PEM", WRONG_USAGE) from None


def _told(found: "Verified", *, trusted: bool) -> Iterator[str]:
    packages = count(found.packages, "package")
    yield (
        f"whole: evidence of request {found.request} ({plain(found.application)}), {packages},"
        f" as of {plain(found.taken_at)}"
    )
    yield f"manifest: sha256 {found.manifest_sha256}"
    if found.key is None:
        yield "not signed: compare the manifest's sha256 with the one in the audit log"
    else:
        whose = "the given key" if trusted else f"{_fingerprint(found.key)}; is it yours? see --key"
        yield f"signed with {whose}"
    if found.seal is None:
        yield "audit log: nothing was sealed yet"
    else:
        signed = found.seal.public_key
        by = f"signed with {_fingerprint(signed)}" if signed else "unsigned"
        yield f"audit log: seal {found.seal.seal}, head {found.seal.head}, {by}"


def _fingerprint(key: str) -> str:
    from backend.audit import signing

    return f"key {signing.fingerprint(bytes.fromhex(key))}"


@click.command(short_help="Why a request has a package: every way to it.")
@click.argument("request_id", type=click.IntRange(min=1))
@click.argument("package")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="Ways shown at most.")
@url_option
@json_option
def why(request_id: int, package: str, limit: int, url: str | None, as_json: bool) -> None:
    """Show how REQUEST_ID comes to PACKAGE: a name, name@version, or the package's id."""
    client = caller(url)
    base = f"/api/packages/requests/{request_id}"
    answers = [
        client.get(f"{base}/why/{number}?limit={limit}")
        for number in _ids(client, base, package)
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps({"packages": answers}))
        return
    for answer in answers:
        click.echo("\n".join(_ways(answer)))


def _ids(client: Client, base: str, package: str) -> list[int]:
    """Those of the package that is meant; several where the request has several of that name."""
    if package.isdecimal():
        return [int(package)]
    named = {
        it["id"]
        for it in client.get(base)["packages"]
        if package in (it["name"], f"{it['name']}@{it['version']}")
    }
    if not named:
        raise CommandError(f"the request has no package {package}")
    return sorted(named)


def _ways(answer: Mapping[str, Any]) -> Iterator[str]:
    yield plain(answer["message"], limit=500)
    for way in answer["ways"]:
        hops = (f"{hop['name']}@{hop['version'] or '?'}{_asked(hop)}" for hop in way)
        yield "  " + plain(" > ".join([answer["application"], *hops]), limit=2000)


def _asked(hop: Mapping[str, Any]) -> str:
    words = [hop["spec"], *([] if hop["kind"] in {"prod", "unsaid"} else [hop["kind"]])]
    said = ", ".join(word for word in words if word)
    return f" ({said})" if said else ""
