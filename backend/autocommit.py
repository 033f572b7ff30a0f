"""Statements that are transactions by themselves: one round trip each.

A session costs several (BEGIN and the limits, the statement, COMMIT) and a good part of a
millisecond of Python. A statement that stands alone needs none of that: the server ends its
transaction with it. Its limit rides in the same message, in the same transaction, so that it holds
behind a pooler as well.

A statement is prepared on each connection: what joins a few tables takes the server ten times as
long to plan as to run. A pooler may give each transaction another connection, where nothing
is prepared. That is noticed, and from then on statements are sent as they are.
"""

import hashlib
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, NamedTuple

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError

from backend import driver

LIMIT: Final = timedelta(seconds=30)
"""How long one statement may take."""

NOT_DURABLE: Final = "SET LOCAL synchronous_commit = off; "

NOT_PREPARED: Final = ("26000", "42P05", "0A000")
"""The server's codes for a prepared statement that is not there, that another has left there, or
whose columns were given other types since."""


class Statement:
    """One statement in PostgreSQL's words; its parameters are ``%(name)s``, with a cast if need be.

    Its plan may be made for any values of them: a condition that is left out for some of them is
    better a statement of its own.
    """

    def __init__(self, text: str, *, kind: str = "statement", durable: bool = True) -> None:
        """Prepare nothing yet.

        Args:
            kind: stands in its name, which an operator sees in ``pg_stat_activity``.
            durable: False where the loss of what it wrote last, in a crash of the server, does no
                harm: its commit does not wait for the disk.
        """
        self.durable = durable
        numbers = _Numbers()
        body = text % numbers
        # The name tells a statement from one of another release.
        name = f"lockkeeper_{kind}_{hashlib.sha256(body.encode()).hexdigest()[:16]}"
        self.name = name
        self.parameters = frozenset(numbers)
        values = ", ".join(f"%({parameter})s" for parameter in numbers)
        self.text = text if numbers else body  # without values the driver leaves all % alone
        self.preparation = f"PREPARE {name} AS {body}; "
        self.execution = f"EXECUTE {name} ({values})" if numbers else f"EXECUTE {name}"
        self._rows: tuple[int, Callable[[Any], Any]] = (0, tuple)

    def row_of(self, columns: Sequence[Any]) -> Callable[[Any], Any]:
        """What makes a row of what it answered with these columns.

        A named tuple, as psycopg2 has them, at a tenth of the price: made once, unless it answers
        with other columns since.
        """
        known, made = self._rows
        if known != len(columns):
            names = [column.name for column in columns]
            made = _named(names)._make
            self._rows = len(columns), made
        return made


class Link(NamedTuple):
    """A connection, as the pool and as the driver knows it: from one to the other is a long way."""

    pooled: PoolProxiedConnection
    driver: driver.Connection

    @classmethod
    def out_of(cls, engine: Engine) -> "Link":
        """One whose statements are transactions by themselves."""
        pooled = engine.raw_connection()
        assert isinstance(pooled.driver_connection, driver.Connection)
        pooled.driver_connection.autocommit = True  # a word to the driver, not to the server
        return cls(pooled, pooled.driver_connection)

    def ask(self, message: str, params: Any) -> tuple[list[Any], Sequence[Any]]:
        """Send a message; answers the rows of its last statement, and their columns.

        Raises:
            psycopg2.Error: as the driver does; see :func:`wrapped`.
        """
        with self.driver.cursor(cursor_factory=extensions.cursor) as cursor:
            cursor.execute(message, params)
            return cursor.fetchall(), cursor.description or ()

    def give_up(self) -> None:
        """In whatever state it is, nobody else gets it."""
        self.pooled.invalidate()
        self.pooled.close()


def leave_a_standby(engine: Engine, error: BaseException) -> None:
    """Where ``error`` says that no writes are taken: other connections may lead there, too."""
    if getattr(error, "pgcode", None) == driver.WRITES_REFUSED:
        engine.dispose()


def wrapped(error: psycopg2.Error, sent: str) -> BaseException:
    """What a session would have raised; without the parameters, which no log needs."""
    return DBAPIError.instance(sent, None, error, psycopg2.Error)


class Autocommit:
    """Runs statements on connections of ``engine``'s pool; for any number of threads."""

    def __init__(self, engine: Engine, limit: timedelta = LIMIT, *, keep: int = 0) -> None:
        """``keep`` is how many connections stay out of the pool between two statements.

        To take one out and put it back is a good part of what a statement costs here. The pool
        counts them as in use: leave it enough for sessions.
        """
        self._engine = engine
        self._keep = keep
        self._kept: list[Link] = []
        milliseconds = int(limit.total_seconds() * 1000)
        self._limit = f"SET LOCAL statement_timeout = {milliseconds}; "
        self._plain = False
        if keep:
            event.listen(engine, "engine_disposed", self._let_go)

    def rows(self, statement: Statement, params: Mapping[str, Any]) -> list[Any]:
        """Run one statement and commit it.

        Returns:
            Its rows as named tuples.

        Raises:
            DBAPIError: as a session would, with the driver's error in ``orig``.
        """
        return self.together((statement,), params)

    def together(self, statements: Sequence[Statement], params: Mapping[str, Any]) -> list[Any]:
        """Run several in one message, which is one transaction; answers the last one's rows.

        Each sees what those before it wrote. Raises as :meth:`rows` does.
        """
        try:
            return self._rows(statements, params, plain=self._plain)
        except psycopg2.Error as error:
            sent = "; ".join(statement.text for statement in statements)
            raise wrapped(error, sent) from error

    def _rows(
        self, statements: Sequence[Statement], params: Mapping[str, Any], *, plain: bool
    ) -> list[Any]:
        link = self._take()
        try:
            sent = [s.text if plain else _message(s, link.driver, params) for s in statements]
            durable = any([statement.durable for statement in statements])  # noqa: C419 - of one
            settings = self._limit if durable else self._limit + NOT_DURABLE
            found, columns = link.ask(settings + "; ".join(sent), params or None)
            self._give_back(link)
            return [*map(statements[-1].row_of(columns), found)]
        except BaseException as error:
            link.give_up()
            leave_a_standby(self._engine, error)
            if plain or getattr(error, "pgcode", None) not in NOT_PREPARED:
                raise
        self._plain = True  # nothing was done yet
        return self._rows(statements, params, plain=True)

    def _take(self) -> Link:
        with suppress(IndexError):
            link = self._kept.pop()
            if link.driver.trusted:
                return link
            link.pooled.invalidate()
        return Link.out_of(self._engine)

    def _give_back(self, link: Link) -> None:
        if len(self._kept) < self._keep:
            link.driver.answered()
            self._kept.append(link)
        else:
            link.driver.autocommit = False
            link.pooled.close()

    def _let_go(self, _engine: Engine) -> None:
        """A pool that is disposed of does not know those that are kept."""
        with suppress(IndexError):
            while True:
                self._kept.pop().pooled.invalidate()


def _message(statement: Statement, link: driver.Connection, params: Mapping[str, Any]) -> str:
    # By name: two threads that need one for the first time may each make theirs.
    if statement.name in link.prepared:
        return statement.execution
    link.prepared.add(statement.name)
    # Where there are values, the driver takes a single % for the place of one.
    preparation = statement.preparation.replace("%", "%%") if params else statement.preparation
    return preparation + statement.execution


def _named(columns: Sequence[str]) -> Any:
    return namedtuple("Row", columns, rename=True)  # noqa: PYI024 - the statement's own names


class _Numbers(dict[str, str]):
    """Gives each parameter that is asked for its number."""

    def __missing__(self, parameter: str) -> str:
        return self.setdefault(parameter, f"${len(self) + 1}")
