"""The SBOMs: valid by their schemas, and true to the request."""

import json
from collections.abc import Callable
from datetime import datetime
from importlib import resources
from typing import Any
from uuid import UUID

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema_rs import Draft7Validator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from backend.workloads.packages.evidence.cyclonedx import cyclonedx
from backend.workloads.packages.evidence.inventory import Stamp, inventory
from backend.workloads.packages.evidence.spdx import spdx
from backend.workloads.packages.evidence.spdx_licences import spdx_expression
from tests.benchmark.upload_lock import lock
from tests.evidence_example import HOST, example

Json = dict[str, Any]
Make = Callable[[bytes], tuple[Json, Json]]

LICENCES = (
    "MIT", "(MIT OR Apache-2.0) AND ISC", "GPL-2.0-only WITH Classpath-exception-2.0", "MPL-2.0+",
    "SEE LICENSE IN LICENSE.md", "LicenseRef-Acme", "GPL", "UNLICENSED", "nonsense (", "", None,
)  # fmt: skip
SMALL = json.dumps(
    {
        "name": "shop",
        "version": "1.2.3",
        "lockfileVersion": 3,
        "packages": {
            "": {"name": "shop", "version": "1.2.3", "dependencies": {"left": "1", "git": "1"},
                 "devDependencies": {"@acme/right": "2"}, "workspaces": ["lib"]},
            "lib": {"name": "lib", "version": "0.1.0", "dependencies": {"left": "1"}},
            "node_modules/lib": {"resolved": "lib", "link": True},
            "node_modules/left": {"version": "1.0.0", "dependencies": {"inner": "1"}},
            "node_modules/left/node_modules/inner": {"version": "2.0.0", "inBundle": True,
                                                     "dependencies": {"@acme/right": "2"}},
            "node_modules/@acme/right": {"version": "2.0.0", "dev": True, "optional": True},
            "node_modules/git": {"version": "1.0.0",
                                 "resolved": f"git+ssh://git@{HOST}/acme/git.git#1"},
        },
    }
).encode()  # fmt: skip


def boms(data: bytes) -> tuple[Json, Json]:
    """CycloneDX and SPDX, as they are read back."""
    evidence = example(data, licences=LICENCES)
    stamp = Stamp(UUID(int=7), evidence.taken_at, "0.1.0")
    parts = inventory(evidence)
    one, other = cyclonedx(parts, stamp), spdx(parts, stamp)
    return json.loads(json.dumps(one)), json.loads(json.dumps(other))


@pytest.fixture(scope="module")
def small() -> tuple[Json, Json]:
    return boms(SMALL)


@pytest.fixture(scope="module", params=["small", "large", "empty"])
def both(request: pytest.FixtureRequest) -> tuple[Json, Json]:
    empty = b'{"name": "shop", "lockfileVersion": 3, "packages": {}}'
    locks = {"small": SMALL, "large": lock(120, tag="bom"), "empty": empty}
    return boms(locks[request.param])


def test_the_cyclonedx_document_is_valid_by_the_schema_of_1_6(both: tuple[Json, Json]) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(both[0]))

    assert error is None, error


def test_the_spdx_document_is_valid_by_the_schema_of_2_3(both: tuple[Json, Json]) -> None:
    schemas = resources.files("lib4sbom") / "schemas" / "spdx"
    schema = json.loads((schemas / "2.3-schema.json").read_text())
    errors = Draft7Validator(schema).iter_errors(both[1])

    assert [error.message for error in errors] == []


def test_the_spdx_document_keeps_the_rules_that_no_schema_can_say(both: tuple[Json, Json]) -> None:
    document = JsonLikeDictParser().parse(both[1])  # type: ignore[no-untyped-call]  # the library's
    # MPL-2.0+ is right by SPDX 2.3, annex D; the library's list of names does not know the plus.
    complaints = [
        message.validation_message
        for message in validate_full_spdx_document(document)
        if "MPL-2.0+" not in message.validation_message
    ]

    assert complaints == []


def test_both_are_valid_in_their_own_times(small: tuple[Json, Json]) -> None:
    assert datetime.fromisoformat(small[0]["metadata"]["timestamp"]).tzinfo
    assert small[1]["creationInfo"]["created"] == "2026-01-02T03:04:06Z"


def test_every_package_stands_in_both_with_its_hash_and_purl(small: tuple[Json, Json]) -> None:
    listed = {
        (it["purl"], it["hashes"][0]["content"]) for it in small[0]["components"] if "purl" in it
    }
    named = {
        (it["externalRefs"][0]["referenceLocator"], it["checksums"][0]["checksumValue"])
        for it in small[1]["packages"]
        if "checksums" in it
    }

    assert listed == named
    assert {purl for purl, _ in listed} == {"pkg:npm/left@1.0.0", "pkg:npm/%40acme/right@2.0.0"}


def test_what_is_not_vetted_is_listed_and_said_to_be_so(small: tuple[Json, Json]) -> None:
    excluded = {it["name"]: it["properties"] for it in small[0]["components"] if "purl" not in it}
    comments = {it["name"]: it.get("comment") for it in small[1]["packages"]}

    assert excluded == {
        "lib": [{"name": "lockkeeper:excluded", "value": "workspace"}],
        "git": [{"name": "lockkeeper:excluded", "value": "git"}],
    }
    assert comments["git"] == "Not vetted: excluded as git."
    assert small[0]["compositions"][0]["aggregate"] == "incomplete"


def test_the_tree_is_the_locks(small: tuple[Json, Json]) -> None:
    names = {it["bom-ref"]: it["name"] for it in small[0]["components"]} | {"application": "shop"}
    tree = {
        names[it["ref"]]: {names[ref] for ref in it["dependsOn"]} for it in small[0]["dependencies"]
    }
    spdx_names = {it["SPDXID"]: it["name"] for it in small[1]["packages"]}
    asked = {
        (spdx_names[it["spdxElementId"]], spdx_names[it["relatedSpdxElement"]])
        for it in small[1]["relationships"]
        if it["relationshipType"] == "DEPENDS_ON"
    }

    assert tree == {
        "shop": {"left", "git", "right", "lib"},
        "lib": {"left"},
        "left": {"right"},  # what is bundled in it asks for that
        "right": set(),
        "git": set(),
    }
    assert {(one, other.rpartition("/")[2]) for one, other in asked} == {
        (one, other) for one, others in tree.items() for other in others
    }


def test_what_is_bundled_is_a_component_of_what_holds_it(small: tuple[Json, Json]) -> None:
    (left,) = (it for it in small[0]["components"] if it["name"] == "left")
    contained = [it for it in small[1]["relationships"] if it["relationshipType"] == "CONTAINS"]

    assert [it["purl"] for it in left["components"]] == ["pkg:npm/inner@2.0.0"]
    assert len(contained) == 1


def test_findings_are_vulnerabilities_of_what_they_affect() -> None:
    document, _ = boms(lock(20, tag="found"))
    refs = {it["bom-ref"] for it in document["components"]}

    late = [it for it in document["vulnerabilities"] if it["id"] == "GHSA-late"]
    assert len(late) == 3  # flags that stand, of every seventh from the second on
    assert len(document["vulnerabilities"]) == 2 + len(late)  # and findings of every seventh
    for found in document["vulnerabilities"]:
        assert found in late or found["id"] == "GHSA-aaaa-bbbb-cccc"
        assert found["ratings"] == [{"severity": "unknown" if found in late else "high"}]
        assert found["recommendation"] == "Fixed in 9.9.9."
        assert {it["ref"] for it in found["affects"]} <= refs


@pytest.mark.parametrize(
    ("said", "expression"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("(MIT OR ISC)", "MIT OR ISC"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("MPL-2.0+", "MPL-2.0+"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("LicenseRef-Acme", None),
        ("MIT AND LicenseRef-Acme", None),
        ("GPL", None),
        ("SEE LICENSE IN x", None),
        ("", None),
        (None, None),
    ],
)
def test_a_licence_is_an_expression_where_spdx_knows_all_of_it(
    said: str | None, expression: str | None
) -> None:
    assert spdx_expression(said) == expression


def test_words_that_are_no_expression_are_told_as_they_are() -> None:
    document, other = boms(lock(11, tag="words"))
    names = {
        licence["license"]["name"]
        for it in document["components"]
        for licence in it.get("licenses", [])
        if "license" in licence
    }
    comments = " ".join(it.get("licenseComments", "") for it in other["packages"])

    for word in ("SEE LICENSE IN LICENSE.md", "LicenseRef-Acme", "nonsense ("):
        assert word in names
        assert word in comments
