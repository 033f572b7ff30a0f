"""The declarative base, the engine and the session factory."""

from datetime import timedelta
from typing import Any, ClassVar

import psycopg2
from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    MetaData,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    cast,
    column,
    create_engine,
    event,
    func,
)
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeEngine

from backend import database_url, driver

Sessions = sessionmaker[Session]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# Both ends of a silent network must notice within seconds, or a lease outlives its holder's link.
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
    "connect_timeout": 5,  # seconds
}
SEVERAL_SERVERS = {"connect_timeout": 3}  # each: a dead one that is named first costs so much

SINGLE = "single"


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {str: Text()}


def table_of(model: type[Base]) -> Table:
    """The table of a model, for statements that SQLAlchemy's ORM would rewrite."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


def unnest(name: str, /, **columns: TypeEngine[Any]) -> TableValuedAlias:
    """``unnest(:name_column::type[], …)``: parallel array parameters as a table of rows."""
    arrays = [cast(bindparam(f"{name}_{c}"), ARRAY(type_)) for c, type_ in columns.items()]
    shape = [column(c, type_) for c, type_ in columns.items()]
    return func.unnest(*arrays).table_valued(*shape, name=name).render_derived()


def network_limits(url: str) -> dict[str, int]:
    """What libpq is told beside ``url`` (see ``settings.psycopg2_url``), which overrules it."""
    parsed = make_url(url)
    limits = KEEPALIVES | (SEVERAL_SERVERS if database_url.several(parsed) else {})
    return {name: value for name, value in limits.items() if name not in parsed.query}


def make_engine(url: str, *, pool_size: int = 10, application_name: str = "lockkeeper") -> Engine:
    """An engine for ``url`` (driver named, see ``settings.psycopg2_url``); connects lazily."""
    connect_args: dict[str, Any] = {
        **network_limits(url),
        "application_name": application_name,
        "connection_factory": driver.Connection,
    }
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,  # seconds
        connect_args=connect_args,
        use_native_hstore=False,  # else each new connection asks for its types
    )

    @event.listens_for(engine, "checkout")
    def _examine(connection: Any, _record: object, _proxy: object) -> None:
        """Replace what was left in a transaction, and all where a server went away."""
        if connection.left_open:
            raise DisconnectionError
        if not connection.trusted:
            try:
                engine.dialect.do_ping(connection)
            except psycopg2.Error as error:
                raise InvalidatePoolError from error

    @event.listens_for(engine, "handle_error")
    def _leave_a_standby(context: ExceptionContext) -> None:
        """Its other connections may lead there too: the next ones may find who writes."""
        if getattr(context.original_exception, "pgcode", None) == driver.WRITES_REFUSED:
            context.is_disconnect = True

    return engine


def make_sessions(engine: Engine | Connection, *, limit: timedelta | None = None) -> Sessions:
    """A factory of sessions on ``engine``.

    Args:
        engine: or one connection, for one session at a time.
        limit: of a moment in which a transaction does nothing; half of it, of one statement. The
            server ends either then: a process that is frozen, or cut off, in the middle of a
            transaction would otherwise keep its locks for ever. Half, so that a lease outlives
            a commit that waits for somebody's lock.
    """
    sessions = sessionmaker(engine, expire_on_commit=False)
    idle = statement = ""
    if limit is not None:
        milliseconds = max(1, int(limit.total_seconds() * 1000))
        # In the transaction itself: a pooler may give each one another connection.
        idle = f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}; "
        statement = f"SET LOCAL statement_timeout = {max(1, milliseconds // 2)}; "

    @event.listens_for(sessions, "after_begin")
    def _limit(session: Session, _transaction: Any, connection: Connection) -> None:
        alone = SINGLE in session.info
        limits = statement if alone else idle + statement
        if limits or alone:
            driver_connection = connection.connection.driver_connection
            assert isinstance(driver_connection, driver.Connection)
            driver_connection.limits, driver_connection.single = limits, alone

    return sessions


def single(sessions: Sessions) -> Session:
    """A session whose every statement is a transaction of its own, sent in one message.

    It holds nothing open between two of them, and costs no COMMIT.
    """
    return sessions(info={SINGLE: True})
