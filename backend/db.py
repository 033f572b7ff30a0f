"""The declarative base, the engine and the session factory."""

from datetime import timedelta
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    ExceptionContext,
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
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeEngine

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


IN_FAILED_TRANSACTION = "25P02"  # the server's code for whatever is asked of one


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


def make_engine(url: str, *, pool_size: int = 10, application_name: str = "lockkeeper") -> Engine:
    """An engine for ``url`` (driver named, see ``settings.psycopg2_url``); connects lazily."""
    connect_args: dict[str, Any] = {**KEEPALIVES, "application_name": application_name}
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,  # seconds
        pool_pre_ping=True,
        connect_args=connect_args,
    )
    event.listen(engine, "handle_error", _replace_if_left_in_failure)
    return engine


def _replace_if_left_in_failure(context: ExceptionContext) -> None:
    """A COMMIT that times out may leave its transaction open; the driver takes it for ended."""
    code = getattr(context.original_exception, "pgcode", None)
    if context.is_pre_ping and code == IN_FAILED_TRANSACTION:
        context.is_disconnect = True


def make_sessions(engine: Engine, *, limit: timedelta | None = None) -> Sessions:
    """A factory of sessions on ``engine``.

    Args:
        limit: of a moment in which a transaction does nothing; half of it, of one statement. The
            server ends either then: a process that is frozen, or cut off, in the middle of a
            transaction would otherwise keep its locks for ever. Half, so that a lease outlives
            a commit that waits for somebody's lock.
    """
    sessions = sessionmaker(engine, expire_on_commit=False)
    if limit is not None:
        milliseconds = max(1, int(limit.total_seconds() * 1000))
        # In the transaction itself: a pooler may give each one another connection.
        limits = (
            f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds};"
            f" SET LOCAL statement_timeout = {max(1, milliseconds // 2)}"
        )

        @event.listens_for(sessions, "after_begin")
        def _limit(_session: Session, _transaction: Any, connection: Connection) -> None:
            connection.exec_driver_sql(limits)

    return sessions
