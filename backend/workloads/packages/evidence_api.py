"""What a request leaves behind: parse → service → shape."""

import json
from collections.abc import Sequence
from typing import Any, Final

from flask import Blueprint, Response

from backend.audit.signing import Signer, signer
from backend.identity import audit
from backend.identity.guard import Reading, Role, current_user, found, requires
from backend.operations import JSON, operation, settings, transaction
from backend.problems import Conflict, NotFound, Unavailable
from backend.settings import SettingsError
from backend.strictjson import shown
from backend.workloads.packages import schemas
from backend.workloads.packages.evidence import reading
from backend.workloads.packages.evidence.bundle import bundle
from backend.workloads.packages.evidence.collected import collected
from backend.workloads.packages.evidence.explanation import explained
from backend.workloads.packages.evidence.rewriting import Vetted, rewritten
from backend.workloads.packages.evidence.schemas import WhyIn, WhyOut, WhyPath
from backend.workloads.packages.evidence.stored_lock import read_stored
from backend.workloads.packages.service import no_request

bp = Blueprint("evidence", __name__, url_prefix="/api/packages/requests")

ZIP: Final = "application/zip"
EVIDENCE: Final = Reading(reading.EVIDENCE, schemas.ById)
WHY: Final = Reading(reading.WHY, WhyPath)
LOCK: Final = Reading(reading.LOCK, schemas.ById)


@bp.get("/<id>/evidence")
@requires(Role.USER, reading=EVIDENCE)
@operation(problems=[NotFound, Unavailable], media_type=ZIP)
def evidence(path: schemas.ById) -> Response:
    """All about one request in one zip, which `lockkeeper evidence verify` checks offline."""
    made = bundle(collected(path.id, found()), _signer())
    with transaction() as session:
        audit.record(
            session, current_user(), "evidence.exported", f"request:{path.id}",
            manifest_sha256=made.manifest_sha256,
        )  # fmt: skip
    return _file(made.content, ZIP, f"evidence-{path.id}.zip")


@bp.get("/<id>/why/<package_id>")
@requires(Role.USER, reading=WHY)
@operation(problems=[NotFound])
def why(path: WhyPath, query: WhyIn) -> WhyOut:
    """Every way on which the application comes to one package, the shortest first."""
    return explained(path, found(), limit=query.limit)


@bp.get("/<id>/lock")
@requires(Role.USER, reading=LOCK)
@operation(problems=[NotFound, Conflict], media_type=JSON)
def lock(path: schemas.ById) -> Response:
    """The lock as uploaded, rewritten to install the vetted bytes from the internal registry."""
    return _file(_rewritten(path.id, found()), JSON, "package-lock.json")


def _rewritten(request_id: int, answer: Sequence[Any]) -> bytes:
    stored, packages, unpinned = answer
    if stored is None:
        raise no_request(request_id)
    registry = settings().target_repository_url
    if registry is None:
        raise Conflict(
            "There is no internal registry to install from: TARGET_REPOSITORY_URL is not set.",
            code="no-target-registry",
        )
    if unpinned is not None:
        # A commit is a URL's fragment, which is not stored: npm would fetch whatever is newest.
        raise Conflict(
            f"The entry {shown(unpinned)} comes from git, and its commit is not kept: this lock"
            " cannot be installed by.",
            code="unpinned-entry",
        )
    vetted = {
        entry: Vetted(package["name"], package["version"], package["sha512"])
        for package in json.loads(packages)
        for entry in package["entries"]
    }
    return rewritten(read_stored(bytes(stored)), vetted, registry=registry)


def _signer() -> Signer | None:
    try:
        return signer(settings().audit_signing_key_file)
    except SettingsError as error:
        raise Unavailable(f"The bundle cannot be signed. {error}") from None


def _file(content: bytes, media_type: str, name: str) -> Response:
    disposition = f'attachment; filename="{name}"'
    return Response(content, mimetype=media_type, headers={"Content-Disposition": disposition})
