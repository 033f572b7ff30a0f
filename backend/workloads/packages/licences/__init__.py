"""Licence judgement: an SPDX expression and the policy's tiers in, a verdict out."""

from backend.workloads.packages.licences.defaults import LicenceEntry, load_default_licences
from backend.workloads.packages.licences.expression import differ, member_of, names_of
from backend.workloads.packages.licences.policy import (
    LicencePolicy,
    LicenceVerdict,
    Tier,
    identity_of,
    looser,
    stricter,
)

__all__ = [
    "LicenceEntry",
    "LicencePolicy",
    "LicenceVerdict",
    "Tier",
    "differ",
    "identity_of",
    "load_default_licences",
    "looser",
    "member_of",
    "names_of",
    "stricter",
]
