"""Licence judgement: an SPDX expression and the policy's tiers in, a verdict out."""

from backend.workloads.packages.licences.defaults import LicenceEntry, load_default_licences
from backend.workloads.packages.licences.expression import differ, names_of
from backend.workloads.packages.licences.policy import (
    LicencePolicy,
    LicenceVerdict,
    Tier,
    stricter,
)

__all__ = [
    "LicenceEntry",
    "LicencePolicy",
    "LicenceVerdict",
    "Tier",
    "differ",
    "load_default_licences",
    "names_of",
    "stricter",
]
