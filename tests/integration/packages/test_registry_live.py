"""Opt-in: the real client against a real registry, the twin of the tests with the fake one."""

import os
from pathlib import Path

import pytest

from backend.workloads.packages.cache import ContentStore
from backend.workloads.packages.origins import default_registry
from backend.workloads.packages.registry.download import download
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.npm import fetch_version
from backend.workloads.packages.registry.origin import Origin

pytestmark = pytest.mark.skipif(
    os.environ.get("LIVE_REGISTRY") != "1", reason="LIVE_REGISTRY=1 asks a real registry"
)


@pytest.mark.parametrize(
    ("name", "version", "licence"),
    [("left-pad", "1.3.0", "WTFPL"), ("@types/ms", "0.7.34", "MIT")],
)
def test_a_real_package_is_fetched_and_its_registry_agrees(
    tmp_path: Path, name: str, version: str, licence: str
) -> None:
    cdns = tuple(filter(None, os.environ.get("SOURCE_REPOSITORY_CDNS", "").split(",")))
    base = os.environ.get("SOURCE_REPOSITORY_URL") or default_registry()
    with Origin(base, cdns) as origin:
        try:
            said = fetch_version(origin, name, version)
        except RegistryTransient as error:
            pytest.skip(f"the registry cannot be reached: {error}")
        store = ContentStore(tmp_path)
        found = download(
            origin,
            store,
            name,
            version,
            expected=(said.integrity or "",),
            registry_integrity=said.integrity,
            registry_shasum=said.shasum,
            max_bytes=1_000_000,
        )
        with pytest.raises(RegistryPermanent):
            fetch_version(origin, name, "999.999.999")
    assert said.license_expression == licence
    assert (found.checked, found.registry_agrees) == ("sha512", True)
    assert store.open_verified(found.sha512_hex).read(2) == b"\x1f\x8b"
