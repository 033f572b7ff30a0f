"""Training samples and models: parse → service → shape."""

from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, settings, transaction
from backend.problems import Conflict, Forbidden, NotFound, Unavailable
from backend.storage.configured import blobs_of
from backend.workloads.tasks import data_service
from backend.workloads.tasks.data_schemas import ById, Whose
from backend.workloads.tasks.importing import Imported
from backend.workloads.tasks.importing_api import IMPORT_PROBLEMS, IMPORTS, received
from backend.workloads.tasks.models import schemas as shapes
from backend.workloads.tasks.models import service
from backend.workloads.tasks.models.model import TextModel, TrainingSample
from backend.workloads.tasks.models.service import MODELS, SAMPLES

bp = Blueprint("task_models", __name__, url_prefix="/api/data")

BYTES: Final = "application/octet-stream"
_SAMPLE_FILTERS: Final = {"model_name", "label", "split"}


@bp.get("/training-samples")
@requires(Role.USER)
@operation(problems=[Forbidden])
def samples(query: shapes.SamplePage) -> shapes.SamplesOut:
    """The caller's training samples, what came last first; for admins everybody's."""
    asked = query.model_dump(include=_SAMPLE_FILTERS, exclude_none=True)
    wanted = [getattr(TrainingSample, name) == value for name, value in asked.items()]
    with transaction() as session:
        page, following = data_service.listed(session, SAMPLES, query, current_user(), *wanted)
    return shapes.SamplesOut(
        samples=[shapes.SampleOut.model_validate(row) for row in page], next=following
    )


@bp.post("/training-samples")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(status=HTTPStatus.CREATED, problems=[Forbidden, NotFound, Conflict])
def add_sample(body: shapes.SampleIn) -> shapes.SampleOut:
    """Store one sample."""
    with transaction() as session:
        added = data_service.add(session, SAMPLES, body.model_dump(), current_user())
        return shapes.SampleOut.model_validate(added)


@bp.post("/training-samples/import")
@requires(Role.USER, scope=Scope.SUBMIT, rate=IMPORTS)
@operation(lines=shapes.SampleLine, problems=IMPORT_PROBLEMS)
def import_samples(query: Whose) -> Imported:
    """Store samples, one JSON object a line; all or nothing."""
    with received(shapes.SampleLine) as staged, transaction() as session:
        return data_service.take(session, SAMPLES, staged, query.user_id, current_user())


@bp.delete("/training-samples/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def remove_sample(path: ById) -> None:
    """Delete one sample; models that were trained on it stay what they are."""
    with transaction() as session:
        data_service.remove(session, SAMPLES, path.id, current_user())


@bp.get("/models")
@requires(Role.USER)
@operation(problems=[Forbidden])
def models(query: shapes.ModelPage) -> shapes.ModelsOut:
    """The caller's models, what came last first; for admins everybody's."""
    wanted = [] if query.name is None else [TextModel.name == query.name]
    with transaction() as session:
        page, following = data_service.listed(session, MODELS, query, current_user(), *wanted)
    return shapes.ModelsOut(
        models=[shapes.ModelOut.model_validate(row) for row in page], next=following
    )


@bp.get("/models/<id>")
@requires(Role.USER)
@operation(problems=[NotFound])
def model(path: ById) -> shapes.ModelOut:
    """One version of a model."""
    with transaction() as session:
        found = data_service.one(session, MODELS, path.id, current_user())
        return shapes.ModelOut.model_validate(found)


@bp.get("/models/<id>/artefact")
@requires(Role.USER)
@operation(problems=[NotFound, Unavailable], media_type=BYTES)
def artefact(path: ById) -> Response:
    """The file of one version: a line of JSON, then its numbers; its hash is the model's."""
    with transaction() as session:
        found = data_service.one(session, MODELS, path.id, current_user())
    answer = Response(service.artefact(settings(), found), mimetype=BYTES)
    answer.headers["Content-Disposition"] = f'attachment; filename="model-{found.id}.bin"'
    answer.set_etag(found.sha256)
    return answer


@bp.delete("/models/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def remove_model(path: ById) -> None:
    """Delete one version of a model with its artefact."""
    with transaction() as session:
        blob_key = service.remove(session, path.id, current_user())
    service.discard(blobs_of(settings()), blob_key)
