"""Evidence, why and lock of a request, over REST: what a house really leaves behind."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backend.audit.sealing import seal
from backend.audit.signing import Signer
from backend.workloads.packages.evidence.verification import Verified, verify
from tests.callers import Caller
from tests.integration.packages.deciding import approve
from tests.integration.packages.house import House, Lock, lock_of
from tests.registry_server import integrity

BASE = "/api/packages/requests"

Shop = tuple[House, Lock, dict[str, Any]]


def shop(house: House) -> Lock:
    """left (by deep, and directly under another hash), inner inside deep, a blocked one, git."""
    inner = {"name": "inner", "version": "2.0.0", "license": "ISC"}
    deep = house.publish("deep", files={"node_modules/inner/package.json": json.dumps(inner)})
    left = house.publish("left")
    blocked = house.publish("blocked", licence="AGPL-3.0-only")
    house.advise("left", severity="HIGH")
    lock = lock_of(
        {
            "deep": house.entry("deep", tarball=deep, dependencies={"left": "^1.0.0"}),
            "node_modules/deep/node_modules/left": house.entry("left", tarball=left),
            "left": {**house.entry("left"), "integrity": integrity(left, "sha1")},
            "blocked": house.entry("blocked", tarball=blocked, dev=True),
            "git": {"version": "1.0.0", "resolved": "git+ssh://git@example.test/a/git.git#1"},
        }
    )
    lock["packages"][""] |= {
        "dependencies": {"deep": "^1", "left": "^1", "git": "*"},
        "devDependencies": {"blocked": "^1"},
    }
    return lock


@pytest.fixture(scope="module")
def vetted(busy_house: House) -> Shop:
    """A house with an internal registry, a lock, and the detail of its vetted request."""
    busy_house.changes["TARGET_REPOSITORY_URL"] = "https://npm.example.test/internal"
    lock = shop(busy_house)
    return busy_house, lock, busy_house.vet(lock)


def bundle_of(house: House, request_id: int, folder: Path) -> tuple[dict[str, Any], Verified]:
    """The documents of a bundle that passes, by name."""
    answer = house.people.user("GET", f"{BASE}/{request_id}/evidence")
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/zip"
    file = folder / "evidence.zip"
    file.write_bytes(answer.data)
    with ZipFile(BytesIO(answer.data)) as archive:
        documents = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    return documents, verify(file)


def test_a_bundle_holds_what_the_house_knows_and_can_be_verified(
    vetted: Shop, tmp_path: Path
) -> None:
    house, _, request = vetted
    seen = next(package for package in request["packages"] if package["name"] == "left")
    assert approve(house, seen, reason="fixed in our fork")["approved_count"] == 1
    with house.sessions.begin() as session:
        seal(session, None)

    documents, verified = bundle_of(house, request["request"]["id"], tmp_path)

    by_name = {it["name"]: it for it in documents["packages.json"]}
    assert by_name.keys() == {"deep", "left", "blocked"}
    assert len(by_name["left"]["asked"]) == 2  # two hashes, the same bytes
    assert by_name["blocked"]["status"] == "Rejected"
    assert by_name["blocked"]["inspection"] is None
    assert {it["name"]: it["tier"] for it in documents["licences.json"]} == {
        "deep": "always_allowed", "left": "always_allowed", "blocked": "blocked",
    }  # fmt: skip
    (found,) = (it["scan"]["findings"] for it in documents["findings.json"] if it["name"] == "left")
    assert [it["advisory"] for it in found] == ["GHSA-test"]
    (decision,) = documents["decisions.json"]
    assert (decision["id"], decision["decided_by"]) == (seen["id"], "carol")
    assert decision["verdict_digest"] == by_name["left"]["verdict"]["verdict_digest"]
    assert documents["policy.json"]["version"]["source"].startswith("# The policy")
    assert documents["policy.json"]["digest"] in documents["policy.json"]["judged_by"]
    assert [it["entry"] for it in documents["request.json"]["excluded"]] == ["node_modules/git"]
    assert verified.seal is not None
    assert documents["audit.json"]["seal"]["head"] == verified.seal.head
    left = next(it for it in documents["sbom.cdx.json"]["components"] if it["name"] == "left")
    assert left["hashes"][0]["content"] == by_name["left"]["bytes"]["sha512"]
    assert [it["id"] for it in documents["sbom.cdx.json"]["vulnerabilities"]] == ["GHSA-test"]


def test_a_bundle_is_signed_with_the_key_of_the_audit_log_and_noted_in_it(
    vetted: Shop, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    key.write_bytes(pem)
    house = vetted[0].reopened(AUDIT_SIGNING_KEY_FILE=key)
    request_id = vetted[2]["request"]["id"]

    _, verified = bundle_of(house, request_id, tmp_path)

    assert verified.key == Signer.of(pem).public_key.hex()
    (noted,) = house.database.rows(
        "SELECT actor_id, subject, detail FROM audit_log WHERE action = 'evidence.exported'"
        " ORDER BY id DESC LIMIT 1"
    )
    assert noted == (
        house.people.user.id,
        f"request:{request_id}",
        {"manifest_sha256": verified.manifest_sha256},
    )


def test_a_key_that_cannot_be_read_makes_no_unsigned_bundle(vetted: Shop, tmp_path: Path) -> None:
    house = vetted[0].reopened(AUDIT_SIGNING_KEY_FILE=tmp_path / "missing.pem")
    request_id = vetted[2]["request"]["id"]

    answer = house.people.user("GET", f"{BASE}/{request_id}/evidence")

    assert answer.status_code == 503
    assert "AUDIT_SIGNING_KEY_FILE" in answer.get_json()["error"]


def test_a_request_of_which_nothing_is_vetted_yet_has_evidence_too(
    house: House, tmp_path: Path
) -> None:
    documents, verified = bundle_of(house, house.submit(shop(house)), tmp_path)

    assert verified.packages == 4  # what are the same bytes is not known yet
    assert documents["sbom.cdx.json"]["compositions"][0]["aggregate"] == "incomplete"


def test_why_answers_every_way_to_the_package(vetted: Shop) -> None:
    house, _, request = vetted
    left, blocked = (
        next(it["id"] for it in request["packages"] if it["name"] == name)
        for name in ("left", "blocked")
    )
    base = f"{BASE}/{request['request']['id']}/why"

    answer = house.people.user("GET", f"{base}/{left}").get_json()
    cut = house.people.user("GET", f"{base}/{left}?limit=1").get_json()
    dev = house.people.user("GET", f"{base}/{blocked}").get_json()

    ways = [[(hop["entry"], hop["spec"]) for hop in way] for way in answer["ways"]]
    assert ways == [
        [("node_modules/left", "^1")],
        [("node_modules/deep", "^1"), ("node_modules/deep/node_modules/left", "^1.0.0")],
    ]
    assert answer["complete"]
    assert (cut["ways"], cut["complete"]) == (answer["ways"][:1], False)
    assert [hop["kind"] for hop in dev["ways"][0]] == ["dev"]


def test_the_lock_leads_to_the_internal_registry_and_to_the_vetted_bytes(vetted: Shop) -> None:
    house, lock, _ = vetted
    entries = {key: it for key, it in lock["packages"].items() if key != "node_modules/git"}
    request_id = house.vet({**lock, "packages": entries})["request"]["id"]

    made = house.people.user("GET", f"{BASE}/{request_id}/lock").get_json()["packages"]

    assert made.keys() == entries.keys()
    left, nested = made["node_modules/left"], made["node_modules/deep/node_modules/left"]
    assert left["resolved"] == "https://npm.example.test/internal/left/-/left-1.0.0.tgz"
    assert left["integrity"] == nested["integrity"]
    assert nested["integrity"] == entries["node_modules/deep/node_modules/left"]["integrity"]


def test_a_lock_that_does_not_pin_what_it_would_install_is_not_made(vetted: Shop) -> None:
    house, _, request = vetted

    answer = house.people.user("GET", f"{BASE}/{request['request']['id']}/lock")

    assert (answer.status_code, answer.get_json()["code"]) == (409, "unpinned-entry")
    assert "node_modules/git" in answer.get_json()["error"]


def test_without_an_internal_registry_there_is_no_lock_for_it(vetted: Shop) -> None:
    house = vetted[0].reopened(TARGET_REPOSITORY_URL=None)

    answer = house.people.user("GET", f"{BASE}/{vetted[2]['request']['id']}/lock")

    assert (answer.status_code, answer.get_json()["code"]) == (409, "no-target-registry")


@pytest.mark.parametrize(("what", "good"), [("evidence", 200), ("lock", 409), ("why/1", 200)])
def test_a_request_is_its_owners_and_the_approvers(vetted: Shop, what: str, good: int) -> None:
    house, _, request = vetted
    path = f"{BASE}/{request['request']['id']}/{what}"

    def status(caller: Caller) -> int:
        return caller("GET", path).status_code

    assert [status(it) for it in (house.people.user, house.people.approver)] == [good, good]
    assert status(house.people.other) == 404
    for odd in ("0", "99", "9" * 400, "x"):
        answer = house.people.admin("GET", path.replace("requests/1/", f"requests/{odd}/"))
        assert answer.status_code in {400, 404}


def test_a_package_of_another_request_is_not_found(vetted: Shop) -> None:
    house, _, request = vetted
    foreign = house.detail(house.submit(house.lock("right")))["packages"][0]["id"]
    path = f"{BASE}/{request['request']['id']}/why/{foreign}"

    assert house.people.user("GET", path).status_code == 404
