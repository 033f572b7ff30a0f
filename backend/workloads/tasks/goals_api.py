"""Goals and their blocks: parse → service → shape."""

from collections.abc import Sequence
from http import HTTPStatus

from flask import Blueprint

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, transaction
from backend.problems import Conflict, Forbidden, NotFound
from backend.workloads.tasks import data_schemas as shapes
from backend.workloads.tasks import data_service, goals_service
from backend.workloads.tasks.data_model import Goal
from backend.workloads.tasks.data_service import GOALS
from backend.workloads.tasks.importing import Imported
from backend.workloads.tasks.importing_api import IMPORT_PROBLEMS, IMPORTS, received

bp = Blueprint("task_goals", __name__, url_prefix="/api/data/goals")


@bp.get("")
@requires(Role.USER)
@operation(problems=[Forbidden])
def goals(query: shapes.GoalPage) -> shapes.GoalsOut:
    """The caller's goals, what came last first; for admins everybody's."""
    wanted = [] if query.status is None else [Goal.status == query.status.value]
    with transaction() as session:
        page, following = data_service.listed(session, GOALS, query, current_user(), *wanted)
    return shapes.GoalsOut(
        goals=[shapes.GoalOut.model_validate(row) for row in page], next=following
    )


@bp.post("")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(status=HTTPStatus.CREATED, problems=[Forbidden, NotFound, Conflict])
def add_goal(body: shapes.GoalIn) -> shapes.GoalDetail:
    """Store one goal, without blocks."""
    with transaction() as session:
        goal = data_service.add(session, GOALS, body.model_dump(), current_user())
        return _detail(goal, [])


@bp.post("/import")
@requires(Role.USER, scope=Scope.SUBMIT, rate=IMPORTS)
@operation(lines=shapes.GoalLine, problems=IMPORT_PROBLEMS)
def import_goals(query: shapes.Whose) -> Imported:
    """Store goals, one JSON object a line; all or nothing."""
    with received(shapes.GoalLine) as staged, transaction() as session:
        return data_service.take(session, GOALS, staged, query.user_id, current_user())


@bp.get("/<id>")
@requires(Role.USER)
@operation(problems=[NotFound])
def goal(path: shapes.ById) -> shapes.GoalDetail:
    """One goal with its blocks."""
    with transaction() as session:
        found = data_service.one(session, GOALS, path.id, current_user())
        return _detail(found, goals_service.blocks_of(session, path.id))


@bp.patch("/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def change_goal(path: shapes.ById, body: shapes.GoalChange) -> shapes.GoalDetail:
    """Change what is given of a goal."""
    with transaction() as session:
        found = goals_service.change(session, path.id, body, current_user())
        return _detail(found, goals_service.blocks_of(session, path.id))


@bp.delete("/<id>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def remove_goal(path: shapes.ById) -> None:
    """Delete a goal with its blocks."""
    with transaction() as session:
        data_service.remove(session, GOALS, path.id, current_user())


@bp.post("/<id>/blocks")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(status=HTTPStatus.CREATED, problems=[NotFound, Conflict])
def add_block(path: shapes.ById, body: shapes.BlockIn) -> shapes.BlockOut:
    """Put a block behind those that a goal has."""
    with transaction() as session:
        block = goals_service.add_block(session, path.id, body, current_user())
        return shapes.BlockOut.model_validate(block)


@bp.patch("/<id>/blocks/<block_no>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound])
def mark_block(path: shapes.BlockPath, body: shapes.BlockChange) -> shapes.BlockOut:
    """Say where a block is: todo, doing or done."""
    with transaction() as session:
        block = goals_service.mark(session, path.id, path.block_no, body.status, current_user())
        return shapes.BlockOut.model_validate(block)


@bp.delete("/<id>/blocks/<block_no>")
@requires(Role.USER, scope=Scope.SUBMIT)
@operation(problems=[NotFound, Conflict])
def remove_block(path: shapes.BlockPath) -> None:
    """Delete a block that no other depends on."""
    with transaction() as session:
        goals_service.remove_block(session, path.id, path.block_no, current_user())


def _detail(goal: Goal, blocks: Sequence[object]) -> shapes.GoalDetail:
    shown = shapes.GoalOut.model_validate(goal)
    return shapes.GoalDetail(
        **dict(shown), blocks=[shapes.BlockOut.model_validate(block) for block in blocks]
    )
