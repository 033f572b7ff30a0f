"""The API against its own description: no crash, and every answer as it is described."""

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.identity.roles import Role
from backend.operations import JSON_LINES
from tests import splunk_tree
from tests.callers import Caller
from tests.integration.packages.house import House

EXAMPLES = 10  # of each operation and mode
FEW = 3  # of those on one run: they are many, and read their paths, pages and contexts alike
PROPS = "apps/web/local/props.conf"
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
)  # fmt: skip
PROFILE = hypothesis.settings(
    deadline=None, database=None, derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck), print_blob=False,
    phases=[hypothesis.Phase.generate],
)  # fmt: skip


@pytest.fixture(scope="module")
def lively_house(busy_house: House, tmp_path_factory: pytest.TempPathFactory) -> House:
    """With a vetted request and a parsed run, so that ids of one are found; and a worker."""
    store = {"SPLUNK_KEY": "k" * 32, "STORAGE_DIR": tmp_path_factory.mktemp("store")}
    rates = {"LOGIN_RATE_PER_MINUTE": 100_000, "UPLOAD_RATE_PER_MINUTE": 100_000}
    busy_house.changes |= {**store, **rates}
    busy_house.vet(busy_house.lock("left", "right"))
    busy_house.database.run(
        "INSERT INTO workers (name, hostname, pid, version, queues, heartbeat_at)"
        " VALUES ('w', 'h', 1, '1', '{packages,splunk}', now() + interval '1 hour')"
    )
    with busy_house.sessions.begin() as session:
        splunk_tree.store(session, {PROPS: "[a]\nTZ = UTC\n"}, by=busy_house.people.user.id)
    return busy_house


def seen_by(house: House, caller: Caller) -> dict[tuple[str, str], int]:
    """The status of each operation of users that names one thing by its id, for somebody's."""
    document = house.app.test_client().get("/openapi.json").get_json()
    statuses = {}
    for template, item in document["paths"].items():
        if template.startswith("/api/packages/") and "{id}" in template:
            path = template.replace("{id}", "1").replace("{package_id}", "1")
            for method in (name for name in item if item[name]["x-required-role"] == Role.USER):
                statuses[method, template] = caller(method.upper(), path).status_code
    return statuses


def test_no_operation_shows_or_changes_somebody_elses_request(lively_house: House) -> None:
    statuses = seen_by(lively_house, lively_house.people.other)

    assert len(statuses) >= 5
    assert set(statuses.values()) == {404}
    assert lively_house.detail(1)["request"]["status"] == "pending_approval"


@schemathesis.serializer(JSON_LINES)
def json_lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """What is described is a string; what is generated against the description is anything."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def operations(house: House) -> Iterator[Any]:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", house.app)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


def try_out(house: House, operation: Any, mode: GenerationMode) -> None:
    caller = house.people(f"admin-{operation.method}-{len(house.people.known)}", Role.ADMIN)
    headers = {"Authorization": f"Bearer {caller.token}"}

    few = operation.path.startswith("/v1/runs/{")
    profile = hypothesis.settings(PROFILE, max_examples=FEW if few else EXAMPLES)

    @profile
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    ask()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_generated_call_crashes_the_api_or_gets_an_answer_that_is_not_described(
    lively_house: House, mode: GenerationMode
) -> None:
    tried = 0
    for operation in operations(lively_house):
        try:
            try_out(lively_house, operation, mode)
        except hypothesis.errors.Unsatisfiable:
            continue  # it takes nothing that could be wrong
        tried += 1

    assert tried > 10
