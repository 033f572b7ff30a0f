"""Signs of malice in a whole house: found, shown to everybody who decides, refusing nothing."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from alembic import command
from sqlalchemy import Engine, NullPool, create_engine, text

from backend.migrations import run
from backend.workloads.packages.evidence.verification import verify
from backend.workloads.packages.heuristics.names import MOST, keys
from tests.integration.packages.deciding import DECIDE, approved, recall
from tests.integration.packages.house import House, Lock, lock_of

Json = dict[str, Any]


def signs(package: Json) -> list[str]:
    return [found["id"] for found in package["findings"] if found["kind"] == "heuristic"]


def by_name(detail: Json) -> dict[str, Json]:
    return {package["name"]: package for package in detail["packages"]}


def locked(house: House, *names: str, shop: str = "shop") -> Lock:
    return lock_of({name: house.entry(name, tarball=house.publish(name)) for name in names},
                   name=shop)  # fmt: skip


def approved_names(house: House) -> list[str]:
    return [name for (name,) in house.database.rows("SELECT name FROM approved_names ORDER BY 1")]


def test_signs_are_shown_to_all_who_decide_and_change_neither_result_nor_score(
    house: House, tmp_path: Path
) -> None:
    house.advise("other")
    house.changes["OSV_PATH_COMPLETE"] = True
    scripted = house.publish("scripted", scripts={"postinstall": "node steal.js"})
    lock = locked(house, "express", "expres", "@babel/core", "plain")
    lock["packages"]["node_modules/scripted"] = house.entry("scripted", tarball=scripted)
    detail = house.vet(lock)

    packages = by_name(detail)
    assert {name: signs(package) for name, package in packages.items()} == {
        "express": ["similar-name:expres"],
        "expres": ["similar-name:express"],
        "@babel/core": [],
        "plain": [],
        "scripted": ["install-script:postinstall"],
    }
    assert {p["status"] for p in packages.values()} == {"Pending Approval"}
    assert {(p["scan_result"], p["security_score"]) for p in packages.values()} == {("clean", 100)}
    assert {p["notes"][-1] for p in packages.values()} == {
        "guarddog: not run, GUARDDOG_BINARY is not set"
    }
    (found,) = packages["expres"]["findings"]
    assert found["title"] == (
        "its name differs by a missing character from express, which the same lock asks for"
    )
    assert "heuristics" in [ruling["rule"] for ruling in packages["expres"]["rulings"]]
    assert "heuristics" not in [ruling["rule"] for ruling in packages["scripted"]["rulings"]]

    waiting = {
        p["name"]: p
        for p in house.people.approver("GET", f"{DECIDE}/validated").get_json()["packages"]
    }
    report = house.people.user(
        "GET", f"/api/packages/{packages['expres']['id']}/security-scan/report"
    ).get_json()
    for shown in (waiting["expres"], report):
        assert signs(shown) == ["similar-name:express"]
        assert shown["notes"] == packages["expres"]["notes"]
    answer = house.people.user("GET", f"/api/packages/requests/{detail['request']['id']}/evidence")
    (tmp_path / "evidence.zip").write_bytes(answer.data)
    assert verify(tmp_path / "evidence.zip").packages == 5
    with ZipFile(BytesIO(answer.data)) as archive:
        told = json.loads(archive.read("findings.json"))
        vulnerabilities = json.loads(archive.read("sbom.cdx.json"))["vulnerabilities"]
    scans = {it["name"]: it["scan"] for it in told}
    assert [f["advisory"] for f in scans["scripted"]["findings"]] == ["install-script:postinstall"]
    assert scans["scripted"]["notes"] == packages["scripted"]["notes"]
    assert vulnerabilities == []


def test_a_name_like_one_that_is_approved_here_is_suspected_until_that_is_recalled(
    house: House,
) -> None:
    good = by_name(house.vet(locked(house, "lodash", "react")))
    assert signs(good["lodash"]) == []
    approved(house, good["lodash"], good["react"])
    assert approved_names(house) == ["lodash", "react"]

    lock = locked(house, "lodahs", "l0dash", "preact", "react-dom", shop="other")
    seen = by_name(house.vet(lock, by=house.people.other))
    assert {name: signs(package) for name, package in seen.items()} == {
        "lodahs": ["similar-name:lodash"], "l0dash": ["similar-name:lodash"],
        "preact": ["similar-name:react"], "react-dom": [],
    }  # fmt: skip
    assert seen["lodahs"]["findings"][0]["title"].endswith("lodash, which is approved here")

    # A known good name stays that, whatever is asked for beside it.
    again = house.vet(locked(house, "lodash", "lodahs", shop="third"), by=house.people.other)
    assert signs(by_name(again)["lodash"]) == []
    assert recall(house, good["lodash"]["id"])
    assert approved_names(house) == ["react"]
    assert_keys_are_those_of_sql(house)


def test_a_package_that_waits_is_judged_again_where_another_lock_asks_for_a_name_like_it(
    house: House,
) -> None:
    alone_request = house.submit(locked(house, "crossenv"))
    house.worker.run()
    alone = house.package(alone_request)
    assert signs(alone) == []

    pair = locked(house, "crossenv", "cross-env", shop="other")
    first = by_name(house.vet(pair, by=house.people.other))
    assert signs(first["crossenv"]) == ["similar-name:cross-env"]
    assert signs(first["cross-env"]) == ["similar-name:crossenv"]
    assert first["crossenv"]["verdict_digest"] != alone["verdict_digest"]

    # What is told already is not judged again, however often it is asked for.
    house.submit({**pair, "name": "third"}, by=house.people.other)
    assert house.database.one("SELECT count(*) FROM package_status WHERE status = 'Requested'") == 0

    # Nor when there are more than are told of.
    more = ("crosenv", "crossen", "crossenvs", "crossenw", "crossenvz")
    crowd = lock_of({name: house.entry(name) for name in more})
    crowd["packages"].update(pair["packages"])
    del crowd["packages"]["node_modules/cross-env"]
    house.submit(crowd, by=house.people.other)
    house.worker.run()
    assert len(signs(house.package(alone_request))) == MOST
    house.submit(crowd, by=house.people.other)
    assert house.package(alone_request)["status"] == "Pending Approval"


def assert_keys_are_those_of_sql(house: House) -> None:
    names = [
        "express", "@babel/core", "JSONStream", "@Scope/Name", "a", "ab", "abc", "abcd",
        "l0dash_1.x", "rnoment", "vvvebpack", "@a/b", "x" * 214, "~tilde!*'()",
    ]  # fmt: skip
    rows = house.database.rows(
        "SELECT name, name_keys(name) FROM unnest(CAST(:names AS text[])) AS name", names=names
    )
    assert {name: sorted(found) for name, found in rows} == {
        name: sorted(keys(name)) for name in names
    }


def migrate(engine: Engine, revision: str, *, down: bool = False) -> None:
    config = run._config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


BEFORE = """
INSERT INTO users (username, password_hash, role) VALUES ('carol', '!', 'approver');
INSERT INTO packages (ecosystem, name, version, purl)
  SELECT 'npm', name, '1.0.0', 'pkg:npm/' || name FROM unnest('{left,right}'::text[]) name;
INSERT INTO artifacts (package_id, integrity) SELECT id, '' FROM packages ORDER BY id;
INSERT INTO decisions (artifact_id, decision, decided_by, verdict_digest)
  VALUES (1, 'approve', 1, 'seen');
INSERT INTO package_status (artifact_id, status, completed_at, verdict_digest)
  VALUES (1, 'Published', now(), 'seen'), (2, 'Pending Approval', now(), 'seen');
"""


@pytest.fixture
def before(empty_database_url: str) -> Iterator[Engine]:
    """Of the release before, with one package that is published and one that waits."""
    engine = create_engine(empty_database_url, poolclass=NullPool)
    migrate(engine, "0010")
    with engine.begin() as connection:
        connection.execute(text(BEFORE))
    yield engine
    engine.dispose()


@pytest.mark.slow
def test_an_upgrade_knows_the_names_that_are_approved_already(before: Engine) -> None:
    migrate(before, "0011")

    with before.begin() as connection:
        assert connection.scalars(text("SELECT name FROM approved_names")).all() == ["left"]
    migrate(before, "0010", down=True)
    migrate(before, "0011")
