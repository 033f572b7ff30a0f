"""What a command answers when it cannot do what was asked: one line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

from backend.cli.words import plain

OK, FAILED, WRONG_USAGE, UNREACHABLE = 0, 1, 2, 3

EXIT_CODES = """Exit codes: 0 done; 1 what was asked failed, or packages did; 2 wrong usage or
settings; 3 the server or the database cannot be reached; 4 the port of `lockkeeper api` is
taken; 128 + n stopped by signal n."""


class CommandError(Exception):
    """Shown as one line on standard error, whatever is in it."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(plain(message, limit=1000))
        self.exit_code = exit_code


class Stopped(BaseException):
    """A signal asked us to stop. Passes every ``except Exception``; exit code 128 + ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def database_errors() -> Iterator[None]:
    """What reading settings and using the database may raise, as command errors."""
    from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

    from backend.driver import WRITES_REFUSED
    from backend.embedded import EmbeddedError
    from backend.migrations.run import MigrationError
    from backend.problems import Problem
    from backend.settings import SettingsError

    try:
        yield
    except SettingsError as error:
        raise CommandError(str(error), WRONG_USAGE) from None
    except Problem as error:
        raise CommandError(error.detail) from None
    except EmbeddedError as error:
        raise CommandError(str(error), UNREACHABLE) from None
    except MigrationError as error:
        raise CommandError(str(error)) from None
    except OperationalError as error:
        raise CommandError(f"cannot reach the database: {_reason(error)}", UNREACHABLE) from None
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == WRITES_REFUSED:
            raise CommandError(
                f"the database takes no writes: {_reason(error)}", UNREACHABLE
            ) from None
        raise CommandError(f"the database refused: {_reason(error)}") from None
    except SQLAlchemyError as error:
        raise CommandError(f"the database failed: {type(error).__name__}") from None


def _reason(error: Exception) -> str:
    said = str(getattr(error, "orig", "")).strip() or type(error).__name__
    return said.splitlines()[0]
