"""Changing the licence tiers; workers read them for each package, so a change acts at once.

What lets more through needs two admins: the first one's wish is kept, and acts once another admin
asks for the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, NotFound
from backend.workloads.packages.licences import Tier, identity_of, names_of
from backend.workloads.packages.licences.expression import single_licence
from backend.workloads.packages.model import PackageStatus, SupportedLicense
from backend.workloads.packages.policies.current import in_force, one_at_a_time, tiers_of
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.enforcement import judge_again
from backend.workloads.packages.policies.loosening import tier_change
from backend.workloads.packages.policies.model import LicenceProposal
from backend.workloads.packages.policies.versions import admin_still

KEPT: Final = timedelta(days=30)
"""How long a proposal waits for another admin."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A change of the table: ``before`` becomes ``after``, each (identifier, tier) or None."""

    before: tuple[str, str] | None
    after: tuple[str, str] | None


def listed(session: Session) -> Sequence[SupportedLicense]:
    return session.scalars(select(SupportedLicense).order_by(SupportedLicense.identifier)).all()


def one(session: Session, licence_id: int, *, lock: bool = False) -> SupportedLicense:
    """Raises NotFound."""
    wanted = select(SupportedLicense).where(SupportedLicense.id == licence_id)
    found = session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        raise NotFound(f"There is no licence {licence_id}.")
    return found


def proposals(session: Session) -> Sequence[LicenceProposal]:
    """What waits for another admin, oldest first."""
    return session.scalars(_open().order_by(LicenceProposal.id)).all()


def add(
    session: Session, *, name: str, identifier: str, status: str, by: Principal
) -> SupportedLicense | LicenceProposal:
    """The licence, or the proposal that another admin is to make as well.

    Raises:
        Conflict: the identifier is listed already, or the policy in force names it.
    """
    one_at_a_time(session)
    known = select(SupportedLicense.id).where(SupportedLicense.identifier == identifier)
    if session.scalar(known) is not None:
        raise _exists(identifier)
    if waits := _waits(session, Wish(None, (identifier, status)), by):
        return waits
    licence = SupportedLicense(name=name, identifier=identifier, status=status)
    session.add(licence)
    _flush(session, identifier)
    audit.record(session, by, "licence.added", f"licence:{identifier}", status=status)
    _judge_again(session)
    return licence


def change(
    session: Session, licence_id: int, *, name: str, identifier: str, status: str, by: Principal
) -> SupportedLicense | LicenceProposal:
    """As :func:`add`.

    Raises:
        NotFound: there is no such licence.
        Conflict: the new identifier is listed, the old one is used, or the policy names one.
    """
    one_at_a_time(session)
    licence = one(session, licence_id, lock=True)
    before = licence.status
    if identifier != licence.identifier:
        _refuse_used(session, licence.identifier)
    if waits := _waits(session, Wish((licence.identifier, before), (identifier, status)), by):
        return waits
    licence.name, licence.identifier, licence.status = name, identifier, status
    licence.updated_at = func.now()
    _flush(session, identifier)
    session.refresh(licence)
    audit.record(
        session, by, "licence.changed", f"licence:{identifier}", before=before, after=status
    )
    _judge_again(session)
    return licence


def remove(session: Session, licence_id: int, *, by: Principal) -> LicenceProposal | None:
    """None, or the proposal that another admin is to make as well.

    Raises:
        NotFound: there is no such licence.
        Conflict: a package's verdict rests on it, or the policy names it.
    """
    one_at_a_time(session)
    licence = one(session, licence_id, lock=True)
    _refuse_used(session, licence.identifier)
    if waits := _waits(session, Wish((licence.identifier, licence.status), None), by):
        return waits
    session.delete(licence)
    session.flush()
    audit.record(session, by, "licence.removed", f"licence:{licence.identifier}")
    _judge_again(session)
    return None


def _waits(session: Session, wish: Wish, by: Principal) -> LicenceProposal | None:
    """The stored proposal where another admin has still to want it; None where it may be done.

    Raises:
        Conflict: ``licence-in-policy``, the policy in force has its own tier for it.
    """
    named = [pair[0] for pair in (wish.before, wish.after) if pair]
    _refuse_in_policy(session, named, changes_tier=wish.before != wish.after)
    tiers = tiers_of(session)
    after = {k: v for k, v in tiers.items() if wish.before is None or k != wish.before[0]}
    if wish.after:
        after[wish.after[0]] = Tier(wish.after[1])
    if not any(found.loosens for found in tier_change(tiers, after, named)):
        return None
    asked = {
        "replaces": wish.before and wish.before[0],
        "was": wish.before and wish.before[1],
        "identifier": wish.after and wish.after[0],
        "status": wish.after and wish.after[1],
    }
    same = [*session.scalars(_open().filter_by(**asked).with_for_update())]
    for proposal in same:
        if proposal.proposed_by != by.id and admin_still(session, proposal.proposed_by):
            proposal.seconded_by, proposal.seconded_at = by.id, func.now()
            return None
    mine = next((proposal for proposal in same if proposal.proposed_by == by.id), None)
    return mine or _proposed(session, LicenceProposal(**asked, proposed_by=by.id), by)


def _proposed(session: Session, proposal: LicenceProposal, by: Principal) -> LicenceProposal:
    session.add(proposal)
    session.flush()
    audit.record(
        session, by, "licence.proposed", f"licence:{proposal.identifier or proposal.replaces}",
        proposal=proposal.id, before=proposal.was, after=proposal.status,
    )  # fmt: skip
    return proposal


def _judge_again(session: Session) -> None:
    policy = PolicyDocument.model_validate(in_force(session).document)
    judge_again(session, policy, own_registry=True)  # no tier makes a name an internal one


def _open() -> Select[LicenceProposal]:
    return select(LicenceProposal).where(
        LicenceProposal.seconded_by.is_(None), LicenceProposal.proposed_at > func.now() - KEPT
    )


def _refuse_in_policy(session: Session, named: Sequence[str], *, changes_tier: bool) -> None:
    policy = PolicyDocument.model_validate(in_force(session).document)
    own = {identity_of(identifier) for identifier in policy.licences.tiers}
    for identifier in named:
        if changes_tier and identity_of(identifier) in own:
            raise Conflict(
                f"The policy in force has its own tier for {identifier}: change it there.",
                code="licence-in-policy",
            )


def _refuse_used(session: Session, identifier: str) -> None:
    """Raises Conflict while a package's verdict names the licence, or falls back to it."""
    counted = (
        select(PackageStatus.license_identifier, func.count().label("packages"))
        .where(PackageStatus.license_identifier.is_not(None))
        .group_by(PackageStatus.license_identifier)
    )
    read = single_licence(" ".join(identifier.split()))
    key = (read.text if read else identifier).casefold()
    used = sum(
        row.packages for row in session.execute(counted) if key in names_of(row.license_identifier)
    )
    if used:
        raise Conflict(f"{identifier} is used by {used} packages.", code="licence-in-use")


def _flush(session: Session, identifier: str) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise _exists(identifier) from None


def _exists(identifier: str) -> Conflict:
    return Conflict(f"{identifier} is listed already.", code="licence-exists")
