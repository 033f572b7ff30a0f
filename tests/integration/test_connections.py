"""What the pool does with connections that were left in a bad state."""

from sqlalchemy import text

from backend.db import make_engine


def test_a_connection_whose_transaction_failed_unseen_by_the_driver_is_replaced(
    database_url: str,
) -> None:
    engine = make_engine(database_url, pool_size=1)
    pid = text("SELECT pg_backend_pid()")
    with engine.connect() as connection:
        used = connection.scalar(pid)
        driver = connection.connection.driver_connection
        assert driver is not None
        connection.rollback()
        # As a COMMIT may leave it that the statement_timeout ended: the driver thinks it idle.
        driver.autocommit = True
        with driver.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                cursor.execute("SELECT 1 / 0")
            except driver.DataError:
                driver.autocommit = False

    with engine.connect() as connection:
        assert connection.scalar(pid) != used
    engine.dispose()
