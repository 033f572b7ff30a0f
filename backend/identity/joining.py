"""A view that writes may do so in the statement that says who calls and counts the use.

That saves a round trip and a commit, and yet nobody is served who was not asked for: the deed is
part of the statement, and is done for a caller who may do it now, with a use that could be taken,
or not at all. Only what comes before, the reading of the body, rests on what was known before. So
the body is short, and the same bearer was admitted to such a view a moment ago. Whatever goes
wrong on the way, the caller is asked for by itself before anything is answered.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

from backend.identity.callers import Called
from backend.identity.roles import Principal

SHORT: Final = 64 * 1024  # bytes of a body
MOMENT: Final = 60.0  # seconds
BEARERS: Final = 4096  # that a process remembers


class Recent:
    """Bearers that were admitted a moment ago, and who they were; for any number of threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[Principal, float]] = {}

    def get(self, bearer: str) -> Principal | None:
        principal, until = self._known.get(bearer, (None, 0.0))
        return principal if self._clock() < until else None

    def note(self, bearer: str, principal: Principal) -> None:
        if len(self._known) >= BEARERS:
            self._known.clear()
        self._known[bearer] = principal, self._clock() + MOMENT

    def forget(self, bearer: str) -> None:
        self._known.pop(bearer, None)


class Joint:
    """An admission that is still to come, at the latest with :meth:`settle`."""

    def __init__(
        self,
        expected: Principal,
        settle: Callable[[], Principal],
        ask: Callable[[Mapping[str, Any]], Called],
    ) -> None:
        """``ask`` does the deed, where it may be done; both raise what refuses the caller."""
        self.expected = expected
        """Who had this bearer a moment ago. A bearer never becomes another's."""
        self._settle, self._ask = settle, ask
        self._principal: Principal | None = None

    def settle(self) -> Principal:
        """Ask now, unless that was done: who calls.

        Raises:
            Unauthorized, Forbidden, TooManyRequests: as for any other view.
        """
        if self._principal is None:
            self._principal = self._settle()
        return self._principal

    def do(self, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """The deed, done with these values.

        Returns:
            What it answered; None where nothing was done, but the caller was admitted.

        Raises:
            Unauthorized, Forbidden, TooManyRequests: nothing was done.
            DBAPIError: the deed failed. Its use was taken nevertheless, as it is before any deed.
        """
        try:
            called = self._ask(values)
        except DBAPIError:
            self.settle()
            raise
        taken, *answered = called.rest
        if not taken:
            self.settle()
            return None
        self._principal = called.principal
        return answered
