"""PostgreSQL through psycopg2, for a unit whose driver that is, and what is built on it."""

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from sqlalchemy import Connection

from agent import stop_watch
from agent.connectors.dialects.postgres import PATIENCE, PostgreSQL, session_settings
from agent.connectors.dialects.transactions import committed

# One that the server lacks is passed over
_SET = """
    SELECT pg_catalog.set_config(name, %s, false)
      FROM pg_catalog.pg_settings WHERE lower(name) = lower(%s)
"""


class PostgresByPsycopg2(PostgreSQL):
    """See Dialect."""

    extra = "psycopg2"
    state = "pgcode"

    # What this server's sessions need besides
    further: ClassVar[Mapping[str, str]] = {}

    # Options of a connection that some build of the driver does not know
    unknown: ClassVar[frozenset[str]] = frozenset()

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect."""
        import psycopg2  # noqa: PLC0415 - only the engine finds out whether it is installed

        return bounded(psycopg2, seconds, named, self.unknown)

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle."""
        connection.autocommit = True
        wanted = {**session_settings(seconds), **self.further}
        with connection.cursor() as cursor:
            for name, value in wanted.items():
                cursor.execute(_SET, (value, name))

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot: the driver reads in parts only in a transaction of its own."""
        raw: Any = connection.connection.dbapi_connection
        raw.set_session("REPEATABLE READ", readonly=True, autocommit=False)
        try:
            connection.exec_driver_sql("SELECT 1")
            yield
        finally:
            raw.rollback()
            raw.set_session("DEFAULT", readonly="DEFAULT", autocommit=True)

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """See Dialect.writing: see `snapshot`."""
        with committed(connection, "autocommit"):
            yield


def bounded(
    driver: Any,
    seconds: float,
    named: Mapping[str, Any],
    unknown: Collection[str] = (),
) -> Any:
    """Connects as `driver.connect` does; a process that is asked to stop shuts the connection.

    A server that does not answer is given up a little later than its longest statement.
    """
    left = stop_watch.seconds_to_connect()
    if not left:
        raise driver.OperationalError("the process is to stop")

    class BoundedConnection(driver.extensions.connection):  # type: ignore[misc]  # no types
        """A connection whose line can be shut from another thread."""

        def shut(self) -> None:
            """See agent.stop_watch.Line."""
            with suppress(driver.Error):
                stop_watch.shut_socket(self.fileno())

    reach = {
        "application_name": "unit-sync-agent",
        "connect_timeout": math.ceil(left),
        "keepalives_idle": math.ceil(seconds + PATIENCE),
        "tcp_user_timeout": math.ceil((seconds + PATIENCE) * 1000),
    }
    known = {name: value for name, value in reach.items() if name not in unknown}
    connection = driver.connect(**named, **known, connection_factory=BoundedConnection)
    stop_watch.register(connection)
    return connection
