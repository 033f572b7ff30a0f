"""What a predecessor's words for the state of a package become here."""

from typing import Final, NamedTuple

PENDING: Final = "Pending Approval"
APPROVED: Final = ("Approved", "Published")
"""Words that rest on somebody's approval."""


class Standing(NamedTuple):
    """A status of ours; ``failure`` is set for what was refused."""

    status: str
    failure: str | None = None


_REQUESTED: Final = Standing("Requested")
_FAILED: Final = Standing("Rejected", "permanent")

# Held ones, too: whoever held them is gone, and their bytes were never seen here.
_WORDS: Final = {
    **dict.fromkeys(
        (
            "requested", "submitted", "parsed", "checking licence", "licence checked",
            "downloading", "downloaded", "security scanning", "security scanned", "publishing",
        ),
        _REQUESTED,
    ),
    **dict.fromkeys(
        ("parse failed", "licence check failed", "download failed", "security scan failed"),
        _FAILED,
    ),
    "pending approval": Standing(PENDING),
    "approved": Standing("Approved"),
    "published": Standing("Published"),
    "rejected": Standing("Rejected"),
    "recalled": Standing("Recalled"),
}  # fmt: skip


def known(status: str) -> bool:
    return _key(status) in _WORDS


def standing(status: str, *, failure: str | None, by_person: bool, published: bool) -> Standing:
    """Where a package stands here that stood at ``status`` there.

    A word that nobody knows means that vetting has not ended.

    Args:
        failure: the predecessor's own word for why, where it kept one of ours.
        by_person: somebody is named who refused it.
        published: its registry has it, whatever else was written since.
    """
    found = _WORDS.get(_key(status), _REQUESTED)
    if found.status == "Approved" and published:
        return Standing("Published")
    if found.status != "Rejected":
        return found
    # Of what nobody explained the stricter is believed: it is not retried by itself.
    return Standing("Rejected", failure or ("human" if by_person else found.failure or "policy"))


def _key(status: str) -> str:
    return status.strip().lower().replace("license", "licence")
