"""The files and stanzas of runs: parse → service → shape."""

from flask import Blueprint

from backend.identity.guard import Role, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Malformed, NotFound, TooLarge
from backend.workloads.splunk import contents_schemas as shapes
from backend.workloads.splunk import contents_service as service
from backend.workloads.splunk.resolution.schemas import RunPath

bp = Blueprint("splunk_contents", __name__, url_prefix="/v1/runs")

PROBLEMS = (Malformed, NotFound, TooLarge)


@bp.get("/<id>/files")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def files(path: RunPath, query: shapes.FilesIn) -> shapes.FilesOut:
    """Every member of the archive: what it is, where it stands, what is strange about it."""
    with transaction() as session:
        return service.files(session, path.id, query, current_user())


@bp.get("/<id>/stanzas")
@requires(Role.USER)
@operation(problems=PROBLEMS)
def stanzas(path: RunPath, query: shapes.StanzasIn) -> shapes.StanzasOut:
    """Stanzas as they stand in their files, with their keys, values and lines."""
    with transaction() as session:
        return service.stanzas(session, path.id, query, current_user())


def _add_typed(models: shapes.Typed) -> None:
    """A view of one table of typed columns."""
    table, conf_type = models.projection.table, models.projection.conf_type

    def view(path: RunPath, query: shapes.TypedIn) -> shapes.Contents:
        with transaction() as session:
            return service.typed(session, path.id, models, query, current_user())

    view.__doc__ = f"Stanzas of {conf_type}.conf by typed columns, each of which may be asked for."
    view.__annotations__ |= {"query": models.asked, "return": models.answer}
    bp.get(f"/<id>/{table}", endpoint=table)(
        requires(Role.USER)(operation(problems=PROBLEMS)(view))
    )


for each in shapes.TYPED.values():
    _add_typed(each)
