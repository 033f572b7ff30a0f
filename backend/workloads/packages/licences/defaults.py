"""The list of licences that a new installation starts with; an admin changes it afterwards."""

import csv
from dataclasses import dataclass
from importlib.resources import files

from backend.workloads.packages.licences.policy import Tier


@dataclass(frozen=True, slots=True)
class LicenceEntry:
    """One row of ``supported_licenses``: an SPDX identifier, its name for people, its status."""

    identifier: str
    name: str
    status: Tier


def load_default_licences() -> list[LicenceEntry]:
    """Read ``default_licences.csv``, in the file's order.

    The lines drawn: no duty but a notice is always allowed; duties that stay with the file or the
    work itself (advertising, naming, weak copyleft by file, attribution of data) are allowed;
    copyleft that reaches the product is avoided; copyleft of the AGPL's kind, which reaches network
    services, and terms that forbid commercial or competing use are blocked. Deprecated identifiers
    are listed beside their successors. What is not listed is unknown.
    """
    text = files("backend.workloads.packages").joinpath("default_licences.csv").read_text("utf-8")
    return [
        LicenceEntry(row["identifier"], row["name"], Tier(row["status"]))
        for row in csv.DictReader(text.splitlines())
    ]
