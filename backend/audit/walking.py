"""Follows a chain from seal to seal, wherever it is read from, and keeps what does not fit."""

from collections.abc import Collection
from dataclasses import dataclass, field

from backend.audit import chain
from backend.audit.signing import fingerprint, verifies
from backend.audit.statements import CheckpointStatement, SealStatement, Statement


@dataclass(slots=True)
class Walk:
    """How far the chain was followed. ``trusted`` are raw public keys that its reader knows.

    A fault does not end the walk: it goes on from what the seal states, so that each fault is told
    once, in its place.
    """

    trusted: Collection[bytes] = ()
    witnesses: dict[int, SealStatement | CheckpointStatement] = field(default_factory=dict)
    """By seal: what was stated of it and kept elsewhere; those that were asked are taken out."""
    head: bytes = chain.GENESIS
    total: int = 0
    seal: int = 0
    """The last one that was followed, or archived."""
    entries: int = 0
    seals: int = 0
    attested: int = 0
    """The last seal that a trusted key has signed: it vouches for all before it."""
    signed: int = 0
    """The last seal that any key has signed."""
    keys: set[str] = field(default_factory=set)
    """Fingerprints of those that have signed."""
    faults: list[str] = field(default_factory=list)
    _link: bytes = chain.GENESIS
    _count: int = 0
    """Of the entries taken since the last seal."""

    @property
    def pending(self) -> bool:
        """Whether entries were taken that no seal has followed."""
        return self._count > 0

    def begin(self, checkpoint: CheckpointStatement) -> None:
        """Start after what was archived."""
        self._check_signature(checkpoint, f"The checkpoint of seal {checkpoint.seal}")
        self._ask_witness(checkpoint.seal, checkpoint.head)
        self.begin_at(bytes.fromhex(checkpoint.head), checkpoint.total, checkpoint.seal)

    def begin_at(self, head: bytes, total: int, seal: int) -> None:
        self.head, self.total, self.seal = head, total, seal
        self._link, self._count = head, 0

    def take(self, line: bytes) -> None:
        """The next entry; the seal that is followed next has to be the one that it belongs to."""
        self._link = chain.link(self._link, line)
        self._count += 1

    def follow(self, stated: SealStatement) -> None:
        """Compare what a seal states with the entries that were taken."""
        self._compare(stated)
        self._check_signature(stated, f"Seal {stated.seal}")
        self._ask_witness(stated.seal, stated.head)
        self.entries += self._count
        self.seals += 1
        self.begin_at(bytes.fromhex(stated.head), stated.total, stated.seal)

    def _compare(self, stated: SealStatement) -> None:
        number = stated.seal
        if number != self.seal + 1:
            self._fault(f"Seal {number} stands after seal {self.seal}: seals are missing.")
        elif stated.previous != self.head.hex():
            self._fault(f"Seal {number} does not follow seal {self.seal}.")
        elif self._count != stated.count:
            self._fault(f"Seal {number} is of {stated.count} entries, and {self._count} are there.")
        elif self._link.hex() != stated.head:
            self._fault(f"An entry of seal {number}, or the seal, is not what was sealed.")
        elif stated.total != self.total + self._count:
            self._fault(f"Seal {number} states a total of {stated.total}: it does not add up.")

    def _check_signature(self, stated: SealStatement | CheckpointStatement, what: str) -> None:
        key = _key(stated)
        if key is None:
            return
        if not verifies(stated):
            self._fault(f"{what} has a signature that is not its key's.")
            return
        self.keys.add(fingerprint(key))
        self.signed = stated.seal
        if key in self.trusted:
            self.attested = stated.seal

    def end(self, *, whole: bool) -> None:
        """Nothing follows. ``whole``: nor is there anything that was left out after the last seal.

        Witnesses that could not be asked stay: theirs are seals before the first, or after a part.
        """
        if self.trusted and self.attested < self.seal:
            self._fault(
                f"No key that was given has signed a seal after {self.attested}: nothing vouches"
                f" for what was sealed from there to {self.seal}."
            )
        if not whole:
            return
        for number in sorted(number for number in self.witnesses if number > self.seal):
            del self.witnesses[number]
            self._fault(f"Seal {number}, which was witnessed, is gone: the end is cut off.")

    def _ask_witness(self, number: int, head: str) -> None:
        witness = self.witnesses.pop(number, None)
        if witness is not None and witness.head != head:
            self._fault(f"Seal {number} was another one when it was witnessed.")

    def _fault(self, sentence: str) -> None:
        self.faults.append(sentence)


def _key(stated: Statement) -> bytes | None:
    return None if stated.public_key is None else bytes.fromhex(stated.public_key)
