"""PostgreSQL connections that wait so long for an answer and no longer.

A line can be dead while TCP still stands.
"""

import math
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout

from agent import stop_watch


class BoundedConnection(psycopg.Connection[Any]):
    """Closes itself and raises OperationalError after `patience` seconds without an answer."""

    patience: float | None = None

    def wait(self, *arguments: Any, **named: Any) -> Any:
        """See psycopg.Connection.wait."""
        try:
            return super().wait(*arguments, **{"timeout": self.patience} | named)
        except _WaitTimeout:
            # Else a rollback would wait as long
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer for {self.patience:.0f} s") from None

    def shut(self) -> None:
        """See agent.stop_watch.Line."""
        shut(self)


def bounded(patience: float, *arguments: Any, **named: Any) -> BoundedConnection:
    """Connects as psycopg.connect does; a process that is asked to stop shuts the connection.

    Such a process waits for no new connection either: that raises OperationalError.
    """
    seconds = stop_watch.seconds_to_connect()
    if not seconds:
        raise psycopg.OperationalError("the process is to stop")

    # psycopg takes whole seconds, and gives at least 2
    timeout = math.ceil(seconds)
    connection = BoundedConnection.connect(*arguments, **named, connect_timeout=timeout)
    connection.patience = patience
    stop_watch.register(connection)
    return connection


def shut(connection: psycopg.Connection[Any]) -> None:
    """Ends the line, so that whoever waits for an answer meets an error at once.

    From any thread; never waits and never raises.
    """
    with suppress(psycopg.Error):
        stop_watch.shut_socket(connection.fileno())
