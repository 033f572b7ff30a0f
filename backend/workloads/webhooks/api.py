"""The webhooks API: parse → service → shape."""

from http import HTTPStatus

from flask import Blueprint, current_app

from backend.identity.guard import Role, Scope, current_user, requires
from backend.operations import operation, settings, transaction
from backend.problems import Conflict, Malformed, NotFound
from backend.workloads.webhooks import schemas, service
from backend.workloads.webhooks.lifecycle import DELIVERIES_QUEUE

bp = Blueprint("webhooks", __name__, url_prefix="/api/webhooks")
BLUEPRINTS = (bp,)


def _queued(delivery_id: int) -> schemas.QueuedOut:
    """After the commit: the workers are told."""
    current_app.extensions["lockkeeper"].ready(DELIVERIES_QUEUE.name)
    return schemas.QueuedOut(delivery_id=delivery_id, message="It is sent by a worker.")


@bp.get("")
@requires(Role.APPROVER)
@operation()
def webhooks() -> schemas.WebhooksOut:
    """Every webhook, oldest first."""
    with transaction() as session:
        found = [schemas.WebhookOut.model_validate(one) for one in service.listed(session)]
    return schemas.WebhooksOut(webhooks=found)


@bp.post("")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(status=HTTPStatus.CREATED, problems=[Malformed, Conflict])
def add_webhook(body: schemas.WebhookIn) -> schemas.WebhookWithSecret:
    """Have events sent to a URL. The answer holds the secret that signs them, once."""
    with transaction() as session:
        made, secret = service.add(session, settings(), **body.model_dump(), by=current_user())
        shown = schemas.WebhookOut.model_validate(made)
    return schemas.WebhookWithSecret(**shown.model_dump(), secret=secret)


@bp.get("/<id>")
@requires(Role.APPROVER)
@operation(problems=[NotFound])
def webhook(path: schemas.ById) -> schemas.WebhookOut:
    """One webhook."""
    with transaction() as session:
        return schemas.WebhookOut.model_validate(service.one(session, path.id))


@bp.patch("/<id>")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Malformed])
def change_webhook(path: schemas.ById, body: schemas.WebhookChange) -> schemas.WebhookOut:
    """Change what is named; the secret stays."""
    changes = body.model_dump(exclude_unset=True)
    with transaction() as session:
        changed = service.change(session, settings(), path.id, changes, by=current_user())
        return schemas.WebhookOut.model_validate(changed)


@bp.delete("/<id>")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound])
def remove_webhook(path: schemas.ById) -> None:
    """Remove a webhook and the history of its deliveries."""
    with transaction() as session:
        service.remove(session, path.id, by=current_user())


@bp.post("/<id>/secret")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Conflict])
def rotate_secret(path: schemas.ById) -> schemas.WebhookWithSecret:
    """Give a webhook another secret; it signs from now on, and is shown this once."""
    with transaction() as session:
        changed, secret = service.rotate(session, settings(), path.id, by=current_user())
        shown = schemas.WebhookOut.model_validate(changed)
    return schemas.WebhookWithSecret(**shown.model_dump(), secret=secret)


@bp.post("/<id>/ping")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(status=HTTPStatus.ACCEPTED, problems=[NotFound, Conflict])
def ping(path: schemas.ById) -> schemas.QueuedOut:
    """Send a webhook an event that says nothing, to see whether it arrives."""
    with transaction() as session:
        delivery_id = service.ping(session, path.id, by=current_user())
    return _queued(delivery_id)


@bp.get("/<id>/deliveries")
@requires(Role.APPROVER)
@operation(problems=[NotFound])
def deliveries(path: schemas.ById, query: schemas.Page) -> schemas.DeliveriesOut:
    """What was sent to a webhook and how that went, newest first."""
    limit = query.limit
    with transaction() as session:
        found = service.deliveries(session, path.id, before=query.before, limit=limit + 1)
    page = [schemas.DeliveryOut.model_validate(one) for one in found[:limit]]
    return schemas.DeliveriesOut(deliveries=page, next=page[-1].id if len(found) > limit else None)


@bp.post("/<id>/deliveries/<delivery_id>/redeliver")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(status=HTTPStatus.ACCEPTED, problems=[NotFound, Conflict])
def redeliver(path: schemas.OfWebhook) -> schemas.QueuedOut:
    """Send an event once more, under the same id; failed or not."""
    with transaction() as session:
        service.redeliver(session, path.id, path.delivery_id, by=current_user())
    return _queued(path.delivery_id)
