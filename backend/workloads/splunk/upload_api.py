"""The upload: parse → service → shape."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from flask import Blueprint, current_app, g, request

from backend.forms import MULTIPART
from backend.identity.guard import Role, Scope, current_user, requires
from backend.identity.limits import Rate
from backend.operations import operation, settings, validated
from backend.problems import Malformed, TooLarge, TooManyRequests, Unavailable
from backend.workloads.splunk import uploading
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.schemas import RunOut, UploadFields, UploadIn
from backend.workloads.splunk.upload_form import AROUND, UploadDied

bp = Blueprint("splunk_uploads", __name__, url_prefix="/v1")

UPLOADS: Final = Rate("splunk upload", lambda: settings().upload_rate_per_minute)


@bp.post("/uploads")
@requires(Role.USER, scope=Scope.SUBMIT, rate=UPLOADS)
@operation(
    status=HTTPStatus.CREATED,
    streams=UploadIn,
    problems=[Malformed, TooLarge, TooManyRequests, Unavailable, UploadDied],
)
def upload() -> RunOut:
    """Store one archive and queue it to be parsed; it is read while it arrives."""
    store = uploading.Store.of(settings())
    boundary = _boundary(store.limit)
    run = uploading.receive(
        g.statements, g.sessions, store, request.stream.read, boundary,
        told=_told, by=current_user(),
    )  # fmt: skip
    current_app.extensions["lockkeeper"].ready(SPLUNK_QUEUE.name)
    return RunOut.of(run)


def _boundary(limit: int) -> str:
    """Of the form that the request is. The application's own limit does not hold for it.

    Args:
        limit: bytes of the file.

    Raises:
        Malformed: it is no form.
        TooLarge: it says that it is longer than such a form can be.
    """
    if request.mimetype != MULTIPART:
        raise Malformed(f"Send a form ({MULTIPART}) with the parts file and type.")
    if (request.content_length or 0) > limit + AROUND:
        raise TooLarge(f"The archive is larger than the {limit} bytes allowed here.")
    request.max_content_length = limit + 2 * AROUND  # whoever reads it counts as well
    return request.mimetype_params.get("boundary", "")


def _told(fields: Mapping[str, str]) -> UploadFields:
    return validated("form", UploadFields, fields)
