"""Who may waive what: refused over REST with a code, and by the database itself."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy.exc import IntegrityError
from werkzeug.serving import make_server

from backend import cli
from backend.workloads.packages.evidence import verification
from backend.workloads.packages.evidence.bundle import PACKAGES
from tests.integration.packages.house import House
from tests.integration.packages.waiving import (
    PATH,
    agreed,
    expire,
    propose,
    revoke,
    second,
    second_admin,
)


def test_a_waiver_needs_two_admins_one_package_one_matter_and_an_end(house: House) -> None:
    people = house.people
    for by, role in ((people.approver, "approver"), (people.user, "user")):
        assert propose(house, by=by, status=403) == "forbidden", role
    assert people.user("GET", PATH).status_code == 403
    assert propose(house, purl="pkg:npm/left", status=400) == "waiver-covers-everything"
    assert propose(house, purl="", status=400) == "waiver-covers-everything"
    assert propose(house, purl="pkg:pypi/left@1.0.0", status=422) == "unsupported"
    assert propose(house, finding="MAL-2026-1", status=400) == "waiver-not-waivable"
    far = (datetime.now(UTC) + timedelta(days=181)).isoformat()
    assert propose(house, expires_at=far, status=400) == "waiver-expiry"
    assert propose(house, expires_at="2026-01-01T00:00:00", status=400) == "invalid"
    assert propose(house, licence="MIT", status=400) == "waiver-matter"
    assert propose(house, reason="  ", status=400) == "invalid"
    house.database.run(
        "INSERT INTO advisories (id, source, aliases, severity, withdrawn, digest)"
        " VALUES ('MAL-2026-9', 'osv', '{GHSA-evil}', 'critical', false, 'd');"
        " INSERT INTO advisory_packages VALUES ('left', 'MAL-2026-9', '[]')"
    )
    assert propose(house, finding="ghsa-EVIL", status=400) == "waiver-not-waivable"
    assert house.database.one("SELECT count(*) FROM waivers") == 0

    waiver = propose(house)
    assert second(house, 99, status=404) == "not-found"
    expire(house, waiver)
    assert second(house, waiver, status=409) == "waiver-ended"
    withdrawn = propose(house)
    revoke(house, withdrawn, by=second_admin(house))
    assert second(house, withdrawn, status=409) == "waiver-ended"
    force = agreed(house)
    assert second(house, force, status=409) == "waiver-in-force"
    gone = propose(house)
    house.database.run("UPDATE users SET role = 'approver' WHERE username = 'root'")
    assert second(house, gone, status=409) == "waiver-proposer-gone"

    page = people.approver("GET", f"{PATH}?limit=2").get_json()
    assert [(w["id"], w["state"]) for w in page["waivers"]] == [
        (gone, "proposed"), (force, "in force")
    ]  # fmt: skip
    rest = people.approver("GET", f"{PATH}?before={page['next']}&name=left").get_json()
    assert [(w["id"], w["state"]) for w in rest["waivers"]] == [
        (withdrawn, "revoked"), (waiver, "lapsed")
    ]  # fmt: skip
    assert people.approver("GET", f"{PATH}?name=right").get_json()["waivers"] == []
    assert people.approver("GET", f"{PATH}/99").status_code == 404


def test_the_database_itself_holds_waivers_to_their_rules(house: House) -> None:
    root, toor, ada = house.people.admin.id, second_admin(house).id, house.people.user.id
    given = {
        "ecosystem": "'npm'", "name": "'left'", "range": "'<2'", "finding": "'GHSA-1'",
        "reason": "'why'", "proposed_by": root, "expires_at": "now() + interval '10 days'",
    }  # fmt: skip

    def insert(**changes: Any) -> None:
        row = {**given, **changes}
        values = ", ".join(map(str, row.values()))
        house.database.run(f"INSERT INTO waivers ({', '.join(row)}) VALUES ({values})")

    for changes in (
        {"range": "'*'"}, {"range": "'  '"}, {"name": "''"}, {"finding": "'mal-2026-1'"},
        {"finding": "NULL"}, {"licence": "'MIT'"}, {"finding": "NULL", "component": "'x'"},
        {"expires_at": "now() + interval '181 days'"}, {"expires_at": "now()"},
        {"proposed_by": ada}, {"seconded_by": root, "seconded_at": "now()"},
        {"seconded_by": toor}, {"seconded_by": ada, "seconded_at": "now()"},
        {"revoked_by": toor, "revoked_at": "now()"}, {"ended_at": "now()"},
    ):  # fmt: skip
        with pytest.raises(IntegrityError):
            insert(**changes)

    insert()
    seconded = f"seconded_by = {toor}, seconded_at = now()"
    revoked = "revoked_at = now(), revoked_because = 'why'"
    for change in (
        "expires_at = expires_at + interval '1 day'", "range = '<3'", "finding = 'GHSA-2'",
        "component = 'x'", f"seconded_by = {root}, seconded_at = now()",
        f"seconded_by = {ada}, seconded_at = now()", f"revoked_by = {ada}, {revoked}",
    ):  # fmt: skip
        with pytest.raises(IntegrityError):
            house.database.run(f"UPDATE waivers SET {change}")
    house.database.run(f"UPDATE waivers SET {seconded}")
    for statement in (
        "UPDATE waivers SET seconded_at = now()", "UPDATE waivers SET seconded_by = NULL",
        "DELETE FROM waivers",
    ):  # fmt: skip
        with pytest.raises(IntegrityError):
            house.database.run(statement)
    house.database.run(f"UPDATE waivers SET revoked_by = {root}, {revoked}")
    insert()
    house.database.run(
        f"UPDATE waivers SET revoked_by = {root}, {revoked} WHERE revoked_at IS NULL"
    )
    with pytest.raises(IntegrityError):
        house.database.run(f"UPDATE waivers SET {seconded} WHERE seconded_at IS NULL")


@pytest.fixture
def served(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    house.advise("left", severity="CRITICAL")
    server = make_server("127.0.0.1", 0, house.app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    monkeypatch.setenv("LOCKKEEPER_URL", f"http://127.0.0.1:{server.port}")
    yield house
    server.shutdown()
    serving.join()
    server.server_close()


def test_waivers_on_the_command_line_and_in_evidence(
    served: House,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def run(*arguments: str, by: Any = served.people.admin) -> tuple[int, str]:
        monkeypatch.setenv("LOCKKEEPER_TOKEN", by.token)
        capsys.readouterr()
        code = cli.main(["waivers", *arguments])
        said = capsys.readouterr()
        shown = [line for line in said.out.splitlines() if "request.served" not in line]
        return code, "\n".join([*shown, *said.err.splitlines()])

    why = ("--days", "180", "--reason", "never called")
    left = ("propose", "pkg:npm/left@<2", *why)
    assert run("list") == (0, "there is no waiver")
    assert run(*left)[0] == 2
    assert run("propose", "pkg:npm/left", "--finding", "GHSA-test", *why) == (
        1, "lockkeeper: It covers everything: * takes every version: say from which to which."
    )  # fmt: skip
    assert run(*left, "--finding", "GHSA-test") == (
        0, "Waiver 1 is proposed: another admin must second it."
    )  # fmt: skip
    assert run("second", "1")[0] == 1
    assert run("second", "1", by=second_admin(served)) == (
        0, "Waiver 1 is in force; 0 packages are judged again."
    )  # fmt: skip
    code, line = run("list", "--name", "left")
    assert code == 0
    assert line.startswith("1 in force until 20")
    assert line.endswith(": left@<2 GHSA-test: never called")

    package = served.vet_one(served.lock("left"))
    detail = served.people.approver("GET", f"{PATH}/1").get_json()
    assert [p["id"] for p in detail["packages"]] == [package["id"]]
    answer = served.people.user("GET", "/api/packages/requests/1/evidence")
    file = tmp_path / "evidence.zip"
    file.write_bytes(answer.data)
    assert verification.verify(file).packages == 1
    with ZipFile(file) as bundle:
        (told,) = json.loads(bundle.read(PACKAGES))
    (waiver,) = told["verdict"]["waivers"]
    assert (waiver["id"], waiver["reason"], waiver["seconded_by"]) == (1, "never called", "toor")
    without = {**told, "verdict": {**told["verdict"], "waivers": []}}
    with pytest.raises(verification.Altered, match="verdict digest"):
        verification._check_verdict(without, _scan(file))
    report = f"/api/packages/{package['id']}/security-scan/report"
    assert [w["id"] for w in served.people.user("GET", report).get_json()["waivers"]] == [1]

    assert run("flags") == (0, "nothing published rests on a waiver that has ended")
    assert run("revoke", "1", "--reason", "called after all") == (
        0, "Waiver 1 is revoked; 1 packages are judged again."
    )  # fmt: skip
    assert json.loads(run("list", "--json")[1])["waivers"][0]["state"] == "revoked"


def _scan(file: Path) -> Any:
    with ZipFile(file) as bundle:
        (found,) = json.loads(bundle.read("findings.json"))
    return found["scan"]
