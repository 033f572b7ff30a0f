"""Flags of imported advisories in an evidence bundle, those of withdrawn ones among them."""

import json
from io import BytesIO
from typing import Any
from zipfile import ZipFile

from backend.workloads.packages.advisories import importing, reading
from backend.workloads.packages.evidence.verification import verify
from tests.integration.packages.deciding import approved, publish
from tests.integration.packages.house import House, lock_of


def import_into(house: House, *identifiers: str, component: str, **fields: Any) -> None:
    feed = house.folder / "feed"
    feed.mkdir(exist_ok=True)
    for identifier in identifiers:
        ranges = [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "2.0.0"}]}]
        affected = [{"package": {"ecosystem": "npm", "name": component}, "ranges": ranges}]
        record = {"id": identifier, "modified": "2026-01-02T03:04:05Z", "affected": affected}
        (feed / f"{identifier}.json").write_text(json.dumps({**record, **fields}))
    with reading.from_path(feed) as records, house.sessions.begin() as session:
        importing.store(session, records)


def test_a_bundle_tells_of_every_flag_and_can_be_verified(house: House) -> None:
    inner = json.dumps({"name": "@scope/deep", "version": "0.9.0", "license": "MIT"})
    host = house.publish("host", files={"node_modules/@scope/deep/package.json": inner})
    request = house.vet(lock_of({"host": house.entry("host", tarball=host)}))
    (package,) = request["packages"]
    approved(house, package)
    publish(house, package["id"])
    import_into(house, "GHSA-own", "GHSA-gone", component="host")
    import_into(house, "GHSA-inner", component="@scope/deep")
    gone = {"modified": "2026-02-02T03:04:05Z", "withdrawn": "2026-02-02T03:04:05Z"}
    import_into(house, "GHSA-gone", component="host", **gone)

    answer = house.people.user("GET", f"/api/packages/requests/{request['request']['id']}/evidence")

    file = house.folder / "evidence.zip"
    file.write_bytes(answer.data)
    assert verify(file).packages == 1
    with ZipFile(BytesIO(answer.data)) as archive:
        (found,) = json.loads(archive.read("findings.json"))
        bom = json.loads(archive.read("sbom.cdx.json"))
    told = {flag["advisory"]: flag for flag in found["flags"]}
    assert {name: (it["stands"], it["lifted_because"]) for name, it in told.items()} == {
        "GHSA-own": (True, None), "GHSA-inner": (True, None), "GHSA-gone": (False, "withdrawn"),
    }  # fmt: skip
    assert told["GHSA-gone"]["withdrawn"]
    assert told["GHSA-gone"]["lifted_at"].endswith("Z")
    assert told["GHSA-own"]["fixed"] == ["2.0.0"]
    affected = {it["id"]: it["affects"][0]["ref"] for it in bom["vulnerabilities"]}
    at = f"package-{package['id']}"
    assert affected == {"GHSA-own": at, "GHSA-inner": f"{at}-bundled-1"}
