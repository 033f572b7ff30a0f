"""What may be waived: one package, one matter, for a while; each refusal has its code."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.problems import Problem
from backend.workloads.packages.waivers.wishes import Wish, wish

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def wished(**changes: Any) -> Wish:
    given: dict[str, Any] = {
        "purl": "pkg:npm/left-pad@>=1.2.0 <1.4.0", "finding": "GHSA-aaaa-bbbb-cccc",
        "component": None, "licence": None, "reason": "never called",
        "expires_at": NOW + timedelta(days=180), "now": NOW,
    }  # fmt: skip
    return wish(**{**given, **changes})


def test_a_wish_names_package_range_and_finding() -> None:
    one = wished()
    assert (one.name, one.range, one.finding) == (
        "left-pad", ">=1.2.0 <1.4.0", "GHSA-aaaa-bbbb-cccc"
    )  # fmt: skip
    assert (one.component, one.licence) == (None, None)
    encoded = wished(purl="pkg:npm/%40acme%2Fleft@%3C2", component="minimist")
    assert (encoded.name, encoded.range, encoded.component) == ("@acme/left", "<2", "minimist")
    assert wished(component="left-pad").component is None
    secret = "secret:aws-key:package/integrity.js:3"
    assert wished(finding=secret).finding == secret


def test_a_licence_is_spelt_as_spdx_does() -> None:
    assert wished(finding=None, licence="agpl-3.0-only").licence == "AGPL-3.0-only"
    with_exception = wished(finding=None, licence="GPL-2.0-only WITH Classpath-exception-2.0")
    assert with_exception.licence == "GPL-2.0-only WITH Classpath-exception-2.0"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"purl": ""}, "waiver-covers-everything"),
        ({"purl": "*"}, "waiver-covers-everything"),
        ({"purl": "pkg:npm/left-pad"}, "waiver-covers-everything"),
        ({"purl": "pkg:npm/left-pad@"}, "waiver-covers-everything"),
        ({"purl": "pkg:npm/left-pad@*"}, "waiver-covers-everything"),
        ({"purl": "pkg:npm/left-pad@<1 || >=1"}, "waiver-covers-everything"),
        ({"purl": "pkg:npm/*@1.0.0"}, "waiver-covers-everything"),
        ({"purl": "pkg:npm/@acme/*@1.0.0"}, "waiver-covers-everything"),
        ({"finding": "*"}, "waiver-covers-everything"),
        ({"finding": None, "licence": "*"}, "waiver-covers-everything"),
        ({"purl": "", "finding": None, "licence": "GPL-3.0-only"}, "waiver-covers-everything"),
        ({"purl": "left-pad@1.0.0"}, "malformed-purl"),
        ({"purl": "pkg:npm/.left@1.0.0"}, "malformed-purl"),
        ({"purl": "pkg:npm/left-pad@not a range"}, "malformed-range"),
        ({"purl": "pkg:pypi/left-pad@1.0.0"}, "unsupported"),
        ({"finding": None}, "waiver-matter"),
        ({"licence": "MIT"}, "waiver-matter"),
        ({"finding": "GHSA-a GHSA-b"}, "waiver-matter"),
        ({"finding": "GHSA-*"}, "waiver-matter"),
        ({"finding": None, "licence": "GPL-3.0-only OR MIT"}, "waiver-matter"),
        ({"finding": None, "licence": "MIT", "component": "x"}, "waiver-matter"),
        ({"component": "../x"}, "waiver-matter"),
        ({"component": "*"}, "waiver-matter"),
        ({"finding": "MAL-2026-1"}, "waiver-not-waivable"),
        ({"finding": "mal-2026-1"}, "waiver-not-waivable"),
        ({"finding": "integrity-mismatch"}, "waiver-not-waivable"),
        ({"finding": "required_integrity"}, "waiver-not-waivable"),
        ({"expires_at": NOW}, "waiver-expiry"),
        ({"expires_at": NOW + timedelta(days=180, seconds=1)}, "waiver-expiry"),
    ],
)  # fmt: skip
def test_what_covers_everything_is_malware_or_lasts_too_long_is_refused(
    changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Problem) as refused:
        wished(**changes)
    assert refused.value.code == code
    assert refused.value.detail.endswith(".")
