"""How long rows stay with a worker, or a server, that is gone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.fleet import HeldRow

DEFINITION: Final = (
    "from the fault, or the server's last return from an outage, until the last row that the"
    " victim held then was done, ready, or held by another; a fault that found nothing held is"
    " not counted"
)


@dataclass(slots=True)
class _Loss:
    victim: str
    held: set[HeldRow]
    since: float | None
    last: set[HeldRow] = field(default_factory=set)


class Recoveries:
    """Times in seconds on one monotonic clock."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self._open: list[_Loss] = []

    def lost(self, victim: str, held: Collection[HeldRow], since: float | None) -> None:
        """Rows whose holder is gone; ``since`` is None until :meth:`server_is_back`."""
        if held:
            self._open.append(_Loss(victim, set(held), since))

    def server_is_back(self, now: float) -> None:
        """Whatever was lost before, nobody could have taken it back while the server was away."""
        for loss in self._open:
            loss.since = now

    def look(self, held: Collection[HeldRow], now: float) -> list[str]:
        """What has recovered since the last look, in words.

        ``held`` are the leases of this moment; a row that changed hands has another token.
        """
        present, said = set(held), []
        for loss in list(self._open):
            left = loss.held & present
            if loss.since is not None and not left:
                self.took.append(now - loss.since)
                self._open.remove(loss)
                said.append(f"{loss.victim} recovered after {now - loss.since:.1f} s: {loss.last}")
            loss.last = left
        return said


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of all do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
